/** The reader thread: it reads history and details on its own connections, so that no read waits for a write. See `sqlite.ts`. */
import { workerData } from 'node:worker_threads';
import { compareTexts } from '../../core/compare.ts';
import { type Interval, type StateChange, stateChanges } from '../../core/history.ts';
import type { Verdict } from '../../core/ledger.ts';
import { CHANGE_BYTES, createNewestSources } from '../../core/newest-sources.ts';
import { Refusal } from '../../core/refusal.ts';
import { type TopN, createTopN } from '../../core/top-n.ts';
import type { Selection } from '../store.ts';
import {
  type DriftRow,
  type HistoryQueries,
  type LapseRow,
  type LifeRow,
  ROWS_AT_ONCE,
  openHistoryQueries,
} from './history-queries.ts';
import type { SourceRow } from './rows.ts';
import { livesBySource } from './source-lives.ts';
import { serve } from './worker.ts';

export type ChangeRow = [time: number, repo: string, server: string, verdict: Verdict | null, driftCount: number];
/**
 * A part of a long result, so that no message is large. The caller gets the next page with `next` and the cursor, until there is no cursor.
 * If it wants no more, it calls `drop`.
 */
export type Page<T> = { readonly rows: T[]; readonly isCut: boolean; readonly cursor: number | undefined };

const PAGE_ROWS = 2000;
/** Memory for the rows of one result. Beyond it the oldest rows, or sources, are left out, even if there are fewer rows than `limit`. */
const MAX_ANSWER_BYTES = 33_554_432;
/** Memory for one drift, without its names. */
const DRIFT_BYTES = 150;
/** More rows of one source are never kept. */
const MAX_CHANGES = MAX_ANSWER_BYTES / CHANGE_BYTES;
/** After this long a query is refused: while it runs, the write-ahead log cannot be cut back. */
const MAX_QUERY_MS = 20_000;
/** Queries that run at a time, each with its own connection. Beyond it a query is refused; callers bound how many wait. */
const MAX_RUNNING = 4;

const file = workerData as string;
// details are short: they are read without slices, between those of the queries
const details = openHistoryQueries(file);
const idle: HistoryQueries[] = [];
let running = 0;
const pendingPages = new Map<number, { readonly rows: unknown[]; readonly isCut: boolean }>();
let cursors = 0;

const operations = {
  detail(
    repo: string,
    server: string,
    maxDrifts: number,
  ): { row: SourceRow; diffs: string | null; drifts: DriftRow[] } | null {
    details.begin();
    try {
      const found = details.detail(repo, server);
      if (found === undefined) return null;
      const drifts = details.lastClosed(found[0], maxDrifts);
      return { row: found.slice(0, -1) as SourceRow, diffs: found.at(-1) as string | null, drifts };
    } finally {
      details.end();
    }
  },

  lapses: (from: number, to: number): LapseRow[] => details.lapses(from, to),

  drifts: (from: number, to: number, limit: number, selection: Selection) =>
    inSnapshot(function* readDrifts(queries) {
      const topN = createTopN(limit, compareDrifts, { sizeOf: driftSize, max: MAX_ANSWER_BYTES });
      const isEverything = Object.values(selection).every((list) => list === undefined);
      if (isEverything) yield* pushAll(topN, queries.driftsOfAll(from, to));
      else {
        for (const life of queries.lives(from, to, selection)) {
          yield* pushAll(topN, queries.driftsOf(life, from, to));
          yield;
        }
      }
      return toPage(topN);
    }),

  history: (from: number, to: number, now: number, limit: number, selection: Selection) =>
    inSnapshot(function* readHistory(queries) {
      const newest = createNewestSources(limit, MAX_ANSWER_BYTES);
      // the last row has the state at `to` itself, which includes what begins then
      // a clock that was ahead has left sources that seem to be born later
      const bornBefore = to < now ? to + 1 : Number.MAX_SAFE_INTEGER;
      for (const lives of livesBySource(queries, from, bornBefore, selection)) {
        if (lives !== undefined) newest.push(yield* readSource(queries, lives, from, to, now, limit));
        yield;
      }
      const { rows, isCut } = newest.done();
      return paged(rows.map(toChangeRow), isCut);
    }),

  next(cursor: number): Page<unknown> {
    const { rows, isCut } = pendingPages.get(cursor) ?? { rows: [], isCut: false };
    pendingPages.delete(cursor);
    return paged(rows, isCut);
  },

  drop: (cursor: number): void => void pendingPages.delete(cursor),

  close(): void {
    for (const queries of [details, ...idle]) queries.close();
  },
};
export type ReaderOperations = typeof operations;
serve(operations);

/** Runs `read` in one transaction, however many slices it takes. */
function* inSnapshot<T>(read: (queries: HistoryQueries) => Generator<void, T>): Generator<void, T> {
  if (running >= MAX_RUNNING) throw new Refusal('overloaded', 'Too many queries of the past are running');
  const queries = idle.pop() ?? openHistoryQueries(file);
  const deadline = performance.now() + MAX_QUERY_MS;
  queries.begin();
  running += 1;
  const rows = read(queries);
  try {
    for (;;) {
      const { done, value } = rows.next();
      if (done === true) return value;
      if (performance.now() > deadline) throw tookTooLong();
      yield;
    }
  } finally {
    // if `read` ends early, its statements must end before the transaction
    rows.return(undefined as T);
    queries.end();
    idle.push(queries);
    running -= 1;
  }
}

/**
 * The rows of one source, ascending; of more than `limit`, the newest. A life ends where the next one begins, be that in the millisecond of its
 * removal or, after the clock was set back, before it.
 * @param lives newest first
 */
function* readSource(
  queries: HistoryQueries,
  lives: readonly LifeRow[],
  from: number,
  to: number,
  now: number,
  limit: number,
): Generator<void, StateChange[]> {
  const parts: StateChange[][] = [];
  let count = 0;
  let nextBegins = Number.POSITIVE_INFINITY;
  for (const row of lives) {
    if (count > Math.min(limit, MAX_CHANGES)) break;
    const life = yield* queries.readLife(row, from, to + 1, now);
    const [born, removed] = life.lived;
    const ends = Math.min(removed ?? Number.POSITIVE_INFINITY, nextBegins);
    if (ends <= born) continue;
    const lived: Interval = [born, Number.isFinite(ends) ? ends : null];
    const changes = stateChanges({ ...life, lived }, from, to, now);
    // where the next life begins at once, the source has always existed
    if (changes.at(-1)?.time === parts.at(-1)?.[0]?.time) changes.pop();
    parts.push(changes);
    count += changes.length;
    nextBegins = born;
  }
  return parts.length === 1 ? (parts[0] as StateChange[]) : parts.toReversed().flat();
}

function* pushAll<T>(topN: TopN<T>, rows: Iterable<T>): Generator<void> {
  let count = 0;
  for (const row of rows) {
    topN.push(row);
    count += 1;
    if (count % ROWS_AT_ONCE === 0) yield;
  }
}

function tookTooLong(): Refusal {
  return new Refusal(
    'query_timeout',
    `The query was given up after ${MAX_QUERY_MS / 1000} s: ask for a shorter range, or for single repos or servers`,
  );
}

function toPage<T>(topN: TopN<T>): Page<T> {
  const { items, isCut } = topN.done();
  return paged(items, isCut);
}

function paged<T>(rows: T[], isCut: boolean): Page<T> {
  if (rows.length <= PAGE_ROWS) return { rows, isCut, cursor: undefined };
  cursors += 1;
  pendingPages.set(cursors, { rows: rows.slice(PAGE_ROWS), isCut });
  return { rows: rows.slice(0, PAGE_ROWS), isCut, cursor: cursors };
}

function driftSize([repo, server, name]: DriftRow): number {
  return DRIFT_BYTES + repo.length + server.length + name.length;
}

function toChangeRow({ time, repo, server, verdict, driftCount }: StateChange): ChangeRow {
  return [time, repo, server, verdict, driftCount];
}

/** By the beginning, then repo, server and name. */
function compareDrifts(a: DriftRow, b: DriftRow): number {
  return a[4] - b[4] || compareTexts(a[0], b[0]) || compareTexts(a[1], b[1]) || compareTexts(a[2], b[2]);
}
