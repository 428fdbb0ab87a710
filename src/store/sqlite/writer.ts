/** The writer thread: the only one that has the database open for writing. See `sqlite.ts`. */
import { dirname, join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { workerData } from 'node:worker_threads';
import { createHistogram, observe } from '../../core/reconcile-histogram.ts';
import { StoreError } from '../store.ts';
import { migrate } from './migrations.ts';
import { watchFiles } from './own-files.ts';
import { parseCounts } from './parse-row.ts';
import {
  SOURCE_COLUMNS,
  type FileTuple,
  type OutcomeTuple,
  type MarksTuple,
  type RemovalTuple,
  type ReportEnd,
  type ReportTuple,
  type SourceRow,
} from './rows.ts';
import { serve } from './worker.ts';

const SQLITE_FULL = 13;
/** A page of sources ends after this many, or with the source whose files exceed this many characters in total. */
const PAGE_ROWS = 5000;
const PAGE_CHARS = 4_194_304;
/** Several database pages (4 KiB each): a probe must need room on the disk, as a report does. */
const PROBE_BYTES = 16_384;
/** Pages in the write-ahead log before a checkpoint copies them into the database. With fewer checkpoints, a page that changes often is copied once. */
const CHECKPOINT_PAGES = 4000;
/** The log is truncated to this size after a long read has delayed the checkpoint. Usually it stays below. */
const MAX_LOG_BYTES = 33_554_432;

const database = workerData as string;
const db = new DatabaseSync(database);
// A commit returns after fsync (synchronous=FULL). Meanwhile readers see the state before it (WAL).
db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
  PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}; PRAGMA journal_size_limit = ${MAX_LOG_BYTES}; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384`);
migrate(db);

const ownFiles = watchFiles(database, join(dirname(database), 'lock.db'), pageSize());

const insertSource =
  prepare(`INSERT INTO sources (version, sync_status, told, unknown_since, message, truncated_count, labels, last_check,
  commit_id, pipeline_url, reported_by, status_since, received_at, stale_at, diffs, first_seen, files, repo, server)
  VALUES (1, coalesce(?1, 'SYNCED'), ?1 IS NOT NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`);
const [updateSource, updateSourceAndFiles] = ['', ', files = ?'].map((files) =>
  prepare(`UPDATE sources SET version = version + 1, last_rejected_at = NULL, doubted_at = NULL, sync_status = coalesce(?1, sync_status), told = ?1 IS NOT NULL,
    unknown_since = ?2, message = ?, truncated_count = ?, labels = ?, last_check = ?, commit_id = ?, pipeline_url = ?, reported_by = ?,
    status_since = ?, received_at = ?, stale_at = ?, diffs = iif(?2 IS NULL, ?, diffs)${files} WHERE id = ? AND version = ? AND removed_at IS NULL`),
) as [StatementSync, StatementSync];
const removeSource = prepare(`UPDATE sources SET removed_at = ?, files = '[]', diffs = NULL, message = NULL
  WHERE id = ? AND version = ? AND removed_at IS NULL`);
const writeMarks = prepare(
  'UPDATE sources SET last_rejected_at = ?, doubted_at = ? WHERE id = ? AND removed_at IS NULL',
);
const insertDrift = prepare('INSERT INTO drifts (source_id, name, times, opened_at, closed_at) VALUES (?, ?, ?, ?, ?)');
// after a clock was set, one may begin where another did
const [insertLapse, insertOutage] = ['lapses', 'outages'].map((table) =>
  prepare(`INSERT INTO ${table} (source_id, began_at, ended_at) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET ended_at = max(ended_at, excluded.ended_at)`),
) as [StatementSync, StatementSync];
const rewindHistory = [
  prepare('UPDATE sources SET first_seen = min(first_seen, :at) WHERE id = :id'),
  prepare(
    'UPDATE drifts SET opened_at = min(opened_at, :at), closed_at = :at WHERE source_id = :id AND closed_at > :at',
  ),
  ...['lapses', 'outages'].flatMap((table) => [
    prepare(`DELETE FROM ${table} WHERE source_id = :id AND began_at >= :at`),
    prepare(`UPDATE ${table} SET ended_at = :at WHERE source_id = :id AND ended_at > :at`),
  ]),
];
const lastTimes = prepare('SELECT max(times) FROM drifts WHERE source_id = ? AND name = ?');
const selectHistogram = prepare('SELECT counts, sum_ms FROM durations WHERE repo = ?');
const writeHistogram = prepare(`INSERT INTO durations (repo, counts, sum_ms) VALUES (?, ?, ?)
  ON CONFLICT DO UPDATE SET counts = excluded.counts, sum_ms = excluded.sum_ms`);
const selectAllHistograms = prepare('SELECT repo, counts, sum_ms FROM durations');
const selectLiving = prepare(
  `SELECT ${SOURCE_COLUMNS} FROM sources WHERE repo = ? AND server = ? AND removed_at IS NULL`,
);
const selectKey = prepare('SELECT repo, server FROM sources WHERE id = ?');
const selectPage = prepare(`SELECT ${SOURCE_COLUMNS} FROM sources
  WHERE removed_at IS NULL AND (repo, server) > (?, ?) ORDER BY repo, server LIMIT ?`);
const begin = prepare('BEGIN IMMEDIATE');
const end = prepare('COMMIT');

const pruneKinds = [
  prepare(`DELETE FROM drifts WHERE (source_id, name, times) IN
    (SELECT source_id, name, times FROM drifts WHERE closed_at < ? ORDER BY closed_at LIMIT ?)`),
  ...['lapses', 'outages'].map((table) =>
    prepare(`DELETE FROM ${table} WHERE (source_id, began_at) IN
      (SELECT source_id, began_at FROM ${table} WHERE ended_at < ? ORDER BY ended_at LIMIT ?)`),
  ),
  prepare('DELETE FROM sources WHERE id IN (SELECT id FROM sources WHERE removed_at < ? ORDER BY removed_at LIMIT ?)'),
];

const operations = {
  /** Living sources that come after the given one, in order. Empty: there are no more. */
  page(repo: string, server: string): SourceRow[] {
    const rows: SourceRow[] = [];
    let chars = 0;
    for (const row of selectPage.iterate(repo, server, PAGE_ROWS) as unknown as Iterable<SourceRow>) {
      rows.push(row);
      chars += (row.at(-1) as string).length;
      if (chars > PAGE_CHARS) break;
    }
    return rows;
  },

  source: (repo: string, server: string): SourceRow | null => living(repo, server),

  reconcileHistograms: (): HistogramRow[] => selectAllHistograms.all() as unknown as HistogramRow[],

  commit(changes: ChangeTuple[]): OutcomeTuple[] {
    checkFiles();
    return inTransaction(() => changes.map(apply));
  },

  prune: (before: number, limit: number): number =>
    inTransaction(() =>
      pruneKinds.reduce((count, kind) => Math.max(count, Number(kind.run(before, limit).changes)), 0),
    ),

  ready: (): void => {
    checkFiles();
    db.exec(`INSERT INTO probe (id, payload) VALUES (1, randomblob(${PROBE_BYTES}))
      ON CONFLICT DO UPDATE SET payload = excluded.payload`);
  },

  close(): void {
    db.close();
    ownFiles.close();
  },
};
type HistogramRow = [repo: string, counts: string, sumMs: number];
export type WriterOperations = typeof operations;
serve(operations);

function pageSize(): number {
  return (db.prepare('PRAGMA page_size').get() as { page_size: number }).page_size;
}

/** Before anything is written that nobody would find again. */
function checkFiles(): void {
  const lost = ownFiles.findLost();
  if (lost !== undefined) throw new StoreError(lost);
}

function prepare(sql: string): StatementSync {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return statement;
}

function inTransaction<T>(work: () => T): T {
  begin.run();
  try {
    const result = work();
    commitTransaction();
    return result;
  } catch (error) {
    // with a full disk, SQLite may have rolled back already
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/**
 * What SQLite has written when it fails to sync stays in the log, whole, until the next commit overwrites it. Should the process end before,
 * the next start takes it for stored. Only where there was no room the log ends before the commit does.
 */
function commitTransaction(): void {
  try {
    end.run();
  } catch (error) {
    const { message, errcode } = error as Error & { errcode?: number };
    throw new StoreError(message, { mayBeStored: errcode !== SQLITE_FULL, cause: error });
  }
}

type ChangeTuple = ReportTuple | RemovalTuple | MarksTuple;

/** They are told apart by their lengths. */
function apply(change: ChangeTuple): OutcomeTuple {
  if (change.length === 7) return remove(change);
  return change.length === 3 ? mark(change) : report(change);
}

function mark([id, lastRejectedAt, doubtedAt]: MarksTuple): OutcomeTuple {
  writeMarks.run(lastRejectedAt, doubtedAt, id);
  return [id, null];
}

function report(change: ReportTuple): OutcomeTuple {
  // as the statements have them
  const columns = change.slice(2, 15) as (string | number | null)[];
  const [id, version] = change;
  const [lapseFrom, outageFrom, files, closed, repo, server, isRewound] = change.slice(15) as ReportEnd;
  const receivedAt = change[12];
  if (repo !== null && server !== null) {
    const { changes, lastInsertRowid } = insertSource.run(...columns, receivedAt, JSON.stringify(files), repo, server);
    return changes === 0 ? { row: living(repo, server) } : [Number(lastInsertRowid), null];
  }
  const times = files === null ? null : countOpened(id, files);
  const { changes } =
    files === null
      ? updateSource.run(...columns, id, version)
      : updateSourceAndFiles.run(...columns, JSON.stringify(files), id, version);
  if (changes === 0) return conflict(id);
  if (isRewound) rewind(id, receivedAt);
  if (closed !== null && repo !== null) {
    closeDrifts(id, closed, receivedAt);
    observeDurations(repo, closed, receivedAt);
  }
  if (lapseFrom !== null) insertLapse.run(id, lapseFrom, receivedAt);
  if (outageFrom !== null) insertOutage.run(id, outageFrom, receivedAt);
  return [id, times];
}

/** Sets `times` of newly opened drifts, and returns these counts. */
function countOpened(id: number, files: FileTuple[]): number[] {
  const counts: number[] = [];
  for (const file of files) {
    if (file[2] !== 0) continue;
    const [last] = lastTimes.get(id, file[0]) as unknown as [number | null];
    file[2] = (last ?? 0) + 1;
    counts.push(file[2]);
  }
  return counts;
}

function remove([id, version, at, lapseFrom, outageFrom, closed, isRewound]: RemovalTuple): OutcomeTuple {
  if (removeSource.run(at, id, version).changes === 0) return conflict(id);
  if (isRewound) rewind(id, at);
  closeDrifts(id, closed, at);
  if (lapseFrom !== null) insertLapse.run(id, lapseFrom, at);
  if (outageFrom !== null) insertOutage.run(id, outageFrom, at);
  return [id, null];
}

/** Brings what a clock has written that was ahead of `at` back to it. */
function rewind(id: number, at: number): void {
  for (const statement of rewindHistory) statement.run({ id, at });
}

function closeDrifts(id: number, closed: readonly FileTuple[], at: number): void {
  for (const [name, since, times] of closed) insertDrift.run(id, name, times, since, at);
}

function observeDurations(repo: string, closed: readonly FileTuple[], at: number): void {
  const row = selectHistogram.get(repo) as unknown as [string, number] | undefined;
  const histogram = row === undefined ? createHistogram() : { counts: parseCounts(row[0], repo), sumMs: row[1] };
  for (const [, since] of closed) observe(histogram, at - since);
  writeHistogram.run(repo, JSON.stringify(histogram.counts), histogram.sumMs);
}

function conflict(id: number): OutcomeTuple {
  const [repo, server] = (selectKey.get(id) ?? ['', '']) as unknown as [string, string];
  return { row: living(repo, server) };
}

function living(repo: string, server: string): SourceRow | null {
  return (selectLiving.get(repo, server) as unknown as SourceRow | undefined) ?? null;
}
