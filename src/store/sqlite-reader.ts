/** The thread that reads history and details, on a connection of its own, so that no read waits for a write; see `sqlite.ts`. */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { workerData } from 'node:worker_threads';
import { SOURCE_COLUMNS, type SourceRow } from './sqlite-rows.ts';
import { serve } from './worker.ts';

export type DriftRow = [repo: string, server: string, name: string, times: number, openedAt: number, closedAt: number];
export type LapseRow = [repo: string, server: string, from: number, to: number];

const db = new DatabaseSync(workerData as string, { readOnly: true });
db.exec('PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY');

const selectDetail = prepare(
  `SELECT ${SOURCE_COLUMNS}, diffs FROM sources WHERE repo = ? AND server = ? AND removed_at IS NULL`,
);
const selectNewest =
  prepare(`SELECT repo, server, name, times, opened_at, closed_at FROM drifts JOIN sources ON id = source_id
  WHERE source_id = ? ORDER BY closed_at DESC, name LIMIT ?`);
const selectDrifts =
  prepare(`SELECT repo, server, name, times, opened_at, closed_at FROM drifts JOIN sources ON id = source_id
  WHERE closed_at > ? AND opened_at < ? ORDER BY opened_at, repo, server, name`);
const selectLapses = prepare(`SELECT repo, server, began_at, ended_at FROM lapses JOIN sources ON id = source_id
  WHERE ended_at > ? AND began_at < ? ORDER BY began_at, repo, server`);

const operations = {
  detail(
    repo: string,
    server: string,
    maxDrifts: number,
  ): { row: SourceRow; diffs: string | null; drifts: DriftRow[] } | null {
    db.exec('BEGIN');
    try {
      const found = selectDetail.get(repo, server) as unknown as [...SourceRow, string | null] | undefined;
      if (found === undefined) return null;
      const drifts = selectNewest.all(found[0], maxDrifts) as unknown as DriftRow[];
      return { row: found.slice(0, -1) as SourceRow, diffs: found.at(-1) as string | null, drifts };
    } finally {
      db.exec('COMMIT');
    }
  },
  drifts: (from: number, to: number): DriftRow[] => selectDrifts.all(from, to) as unknown as DriftRow[],
  lapses: (from: number, to: number): LapseRow[] => selectLapses.all(from, to) as unknown as LapseRow[],
  close: (): void => db.close(),
};
export type ReaderOperations = typeof operations;
serve(operations);

function prepare(sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}
