/** The thread that reads history and details, on a connection of its own, so that no read waits for a write; see `sqlite.ts`. */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { workerData } from 'node:worker_threads';
import { type Interval, type Life, stateChanges } from '../../core/history.ts';
import type { Verdict } from '../../core/ledger.ts';
import { createTopN } from '../../core/top-n.ts';
import { compareTexts } from '../../core/compare.ts';
import { type FileTuple, SOURCE_COLUMNS, type SourceRow } from './rows.ts';
import type { Selection } from '../store.ts';
import { serve } from './worker.ts';

export type DriftRow = [repo: string, server: string, name: string, times: number, openedAt: number, closedAt: number];
export type LapseRow = [repo: string, server: string, from: number, to: number];
export type ChangeRow = [time: number, repo: string, server: string, verdict: Verdict, driftCount: number];
/** A part of a long answer, so that no message is a long one; what follows is asked for with `next` and the cursor. */
export type Page<T> = { readonly rows: T[]; readonly cursor: number | undefined };

type LifeRow = [
  id: number,
  repo: string,
  server: string,
  firstSeen: number,
  removedAt: number | null,
  receivedAt: number,
  staleAt: number,
  files: string,
];

const PAGE_ROWS = 2000;
const DRIFT_COLUMNS = 'repo, server, name, times, opened_at, closed_at';
const LIFE_COLUMNS = 'id, repo, server, first_seen, removed_at, received_at, stale_at, files';

const db = new DatabaseSync(workerData as string, { readOnly: true });
db.exec('PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY');

const selectDetail = prepare(
  `SELECT ${SOURCE_COLUMNS}, diffs FROM sources WHERE repo = ? AND server = ? AND removed_at IS NULL`,
);
const selectNewest = prepare(`SELECT ${DRIFT_COLUMNS} FROM drifts JOIN sources ON id = source_id
  WHERE source_id = ? ORDER BY closed_at DESC, name LIMIT ?`);
const selectLapses = prepare(`SELECT repo, server, began_at, ended_at FROM lapses JOIN sources ON id = source_id
  WHERE ended_at > ? AND began_at < ? ORDER BY began_at, repo, server`);
const selectDriftsOfAll = prepare(`SELECT ${DRIFT_COLUMNS} FROM drifts CROSS JOIN sources ON id = source_id
  WHERE closed_at > ? AND opened_at < ?`);
const selectDriftsOf = prepare(`SELECT name, times, opened_at, closed_at FROM drifts
  WHERE source_id = ? AND closed_at > ? AND opened_at < ?`);
const selectLapsesOf = prepare(
  'SELECT began_at, ended_at FROM lapses WHERE source_id = ? AND ended_at > ? AND began_at < ?',
);
const statements = new Map<string, StatementSync>();
const unread = new Map<number, unknown[]>();
let cursors = 0;

const operations = {
  detail: (repo: string, server: string, maxDrifts: number) =>
    inSnapshot((): { row: SourceRow; diffs: string | null; drifts: DriftRow[] } | null => {
      const found = selectDetail.get(repo, server) as unknown as [...SourceRow, string | null] | undefined;
      if (found === undefined) return null;
      const drifts = selectNewest.all(found[0], maxDrifts) as unknown as DriftRow[];
      return { row: found.slice(0, -1) as SourceRow, diffs: found.at(-1) as string | null, drifts };
    }),

  lapses: (from: number, to: number): LapseRow[] => selectLapses.all(from, to) as unknown as LapseRow[],

  drifts: (from: number, to: number, limit: number, selection: Selection): Page<DriftRow> =>
    inSnapshot(() => {
      const newest = createTopN(limit, compareDrifts);
      for (const row of driftsIn(from, to, selection)) newest.push(row);
      return toPage(newest.done());
    }),

  history: (from: number, to: number, now: number, limit: number, selection: Selection): Page<ChangeRow> =>
    inSnapshot(() => {
      const newest = createTopN(limit, compareChanges);
      // the last row says what it was at `to` itself, so what begins then belongs to it
      const end = to + 1;
      for (const life of livesIn(from, end, selection)) {
        for (const { time, repo, server, verdict, driftCount } of stateChanges(
          toLife(life, from, end),
          from,
          to,
          now,
        )) {
          newest.push([time, repo, server, verdict, driftCount]);
        }
      }
      return toPage(newest.done());
    }),

  next(cursor: number): Page<unknown> {
    const rows = unread.get(cursor) ?? [];
    unread.delete(cursor);
    return toPage(rows);
  },

  close: (): void => db.close(),
};
export type ReaderOperations = typeof operations;
serve(operations);

function prepare(sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}

/** All that `read` sees is of one instant. */
function inSnapshot<T>(read: () => T): T {
  db.exec('BEGIN');
  try {
    return read();
  } finally {
    db.exec('COMMIT');
  }
}

function toPage<T>(rows: T[]): Page<T> {
  if (rows.length <= PAGE_ROWS) return { rows, cursor: undefined };
  cursors += 1;
  unread.set(cursors, rows.slice(PAGE_ROWS));
  return { rows: rows.slice(0, PAGE_ROWS), cursor: cursors };
}

/** By the beginning, then repo, server and name. */
function compareDrifts(a: DriftRow, b: DriftRow): number {
  return a[4] - b[4] || compareTexts(a[0], b[0]) || compareTexts(a[1], b[1]) || compareTexts(a[2], b[2]);
}

/** By time, then repo and server. */
function compareChanges(a: ChangeRow, b: ChangeRow): number {
  return a[0] - b[0] || compareTexts(a[1], b[1]) || compareTexts(a[2], b[2]);
}

function* driftsIn(from: number, to: number, selection: Selection): Iterable<DriftRow> {
  if (isEverything(selection)) {
    yield* selectDriftsOfAll.iterate(from, to) as unknown as Iterable<DriftRow>;
    return;
  }
  for (const [id, repo, server] of livesIn(from, to, selection)) {
    for (const row of selectDriftsOf.iterate(id, from, to)) {
      const [name, times, openedAt, closedAt] = row as unknown as [string, number, number, number];
      yield [repo, server, name, times, openedAt, closedAt];
    }
  }
}

/** The lives of the selected sources that have a part in the range. */
function* livesIn(from: number, to: number, { repos, servers, ids }: Selection): Iterable<LifeRow> {
  const chosen = [
    ['repo', repos],
    ['server', servers],
    ['id', ids],
  ].filter(([, values]) => values !== undefined);
  const conditions = chosen.map(([column]) => ` AND ${column as string} IN (SELECT value FROM json_each(?))`).join('');
  const values = chosen.map(([, list]) => JSON.stringify(list));
  const living = `SELECT ${LIFE_COLUMNS} FROM sources WHERE removed_at IS NULL AND first_seen < ?${conditions}`;
  const removed = `SELECT ${LIFE_COLUMNS} FROM sources WHERE removed_at > ? AND first_seen < ?${conditions}`;
  yield* prepareOnce(removed).iterate(from, to, ...values) as unknown as Iterable<LifeRow>;
  yield* prepareOnce(living).iterate(to, ...values) as unknown as Iterable<LifeRow>;
}

function prepareOnce(sql: string): StatementSync {
  const known = statements.get(sql) ?? prepare(sql);
  statements.set(sql, known);
  return known;
}

function isEverything({ repos, servers, ids }: Selection): boolean {
  return repos === undefined && servers === undefined && ids === undefined;
}

function toLife(
  [id, repo, server, firstSeen, removedAt, receivedAt, staleAt, files]: LifeRow,
  from: number,
  to: number,
): Life {
  const drifts: Interval[] = files === '[]' ? [] : (JSON.parse(files) as FileTuple[]).map(([, since]) => [since, null]);
  for (const row of selectDriftsOf.iterate(id, from, to)) {
    const [, , openedAt, closedAt] = row as unknown as [string, number, number, number];
    drifts.push([openedAt, closedAt]);
  }
  const lapses = selectLapsesOf.all(id, from, to) as unknown as [number, number][];
  // what a removed source was by its end stands in its drifts and lapses already
  const present: Interval[] = removedAt === null ? [[Math.max(staleAt, receivedAt), null]] : [];
  return { repo, server, lived: [firstSeen, removedAt], drifts, lapses: [...lapses, ...present] };
}
