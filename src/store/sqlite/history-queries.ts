/** The SQL that reads history: closed drifts, and the lifetimes of sources. Long results are read in slices. */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Interval, Life } from '../../core/history.ts';
import { Refusal } from '../../core/refusal.ts';
import { MAX_AHEAD_MS, parseTimestamp } from '../../core/timestamp.ts';
import type { Selection } from '../store.ts';
import { parseFiles } from './parse-row.ts';
import { SOURCE_COLUMNS, type SourceRow } from './rows.ts';

export type DriftRow = [repo: string, server: string, name: string, times: number, openedAt: number, closedAt: number];
export type LapseRow = [repo: string, server: string, from: number, to: number];
export type LifeRow = [
  id: number,
  repo: string,
  server: string,
  firstSeen: number,
  removedAt: number | null,
  receivedAt: number,
  staleAt: number,
  unknownSince: number | null,
  doubtedAt: number | null,
  lastCheck: string,
  files: string,
];

/** One database connection. Everything read between `begin` and `end` belongs to one transaction. */
export type HistoryQueries = {
  begin(): void;
  end(): void;
  detail(repo: string, server: string): [...SourceRow, diffs: string | null] | undefined;
  /** The drifts of one lifetime that were closed last, newest first. */
  lastClosed(id: number, limit: number): DriftRow[];
  lapses(from: number, to: number): LapseRow[];
  driftsOfAll(from: number, to: number): Iterable<DriftRow>;
  driftsOf(life: LifeRow, from: number, to: number): Iterable<DriftRow>;
  /** The lifetimes of the selected sources that overlap the range. */
  lives(from: number, to: number, selection: Selection): Iterable<LifeRow>;
  /**
   * What is known about a lifetime within the range. Yields wherever it can be interrupted.
   * @param now what a clock that was ahead has stored as later counts as now
   */
  readLife(life: LifeRow, from: number, to: number, now: number): Generator<void, Life>;
  close(): void;
};

const DRIFT_COLUMNS = 'repo, server, name, times, opened_at, closed_at';
const LIFE_COLUMNS =
  'id, repo, server, first_seen, removed_at, received_at, stale_at, unknown_since, doubted_at, last_check, files';
/** Rows read before a query can be interrupted. */
export const ROWS_AT_ONCE = 200;
/** Drifts of one source that a query reads. Beyond it the query is refused: its memory would have no bound. */
const MAX_INTERVALS = 500_000;

export function openHistoryQueries(file: string): HistoryQueries {
  const db = new DatabaseSync(file, { readOnly: true });
  db.exec('PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY');
  const statements = new Map<string, StatementSync>();

  function prepare(sql: string): StatementSync {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const statement = db.prepare(sql);
    statement.setReturnArrays(true);
    statements.set(sql, statement);
    return statement;
  }

  function driftsOfLife(id: number, from: number, to: number) {
    const sql = `SELECT name, times, opened_at, closed_at FROM drifts
      WHERE source_id = ? AND closed_at > ? AND opened_at < ?`;
    return prepare(sql).iterate(id, from, to) as unknown as Iterable<[string, number, number, number]>;
  }

  function intervalsOf(table: 'lapses' | 'outages', id: number, from: number, to: number): [number, number][] {
    const sql = `SELECT began_at, ended_at FROM ${table} WHERE source_id = ? AND ended_at > ? AND began_at < ?`;
    return prepare(sql).all(id, from, to) as unknown as [number, number][];
  }

  return {
    begin: () => db.exec('BEGIN'),
    end: () => db.exec('COMMIT'),
    close: () => db.close(),

    detail(repo, server) {
      const sql = `SELECT ${SOURCE_COLUMNS}, diffs FROM sources WHERE repo = ? AND server = ? AND removed_at IS NULL`;
      return prepare(sql).get(repo, server) as unknown as [...SourceRow, string | null] | undefined;
    },

    lastClosed(id, limit) {
      const sql = `SELECT ${DRIFT_COLUMNS} FROM drifts JOIN sources ON id = source_id
        WHERE source_id = ? ORDER BY closed_at DESC, name LIMIT ?`;
      return prepare(sql).all(id, limit) as unknown as DriftRow[];
    },

    lapses(from, to) {
      const sql = `SELECT repo, server, began_at, ended_at FROM lapses JOIN sources ON id = source_id
        WHERE ended_at > ? AND began_at < ? ORDER BY began_at, repo, server`;
      return prepare(sql).all(from, to) as unknown as LapseRow[];
    },

    driftsOfAll(from, to) {
      const sql = `SELECT ${DRIFT_COLUMNS} FROM drifts CROSS JOIN sources ON id = source_id
        WHERE closed_at > ? AND opened_at < ?`;
      return prepare(sql).iterate(from, to) as unknown as Iterable<DriftRow>;
    },

    *driftsOf([id, repo, server], from, to) {
      for (const [name, times, openedAt, closedAt] of driftsOfLife(id, from, to)) {
        yield [repo, server, name, times, openedAt, closedAt];
      }
    },

    *lives(from, to, { repos, servers, ids }) {
      const chosen = [
        ['repo', repos],
        ['server', servers],
        ['id', ids],
      ].filter(([, values]) => values !== undefined);
      const conditions = chosen
        .map(([column]) => ` AND ${column as string} IN (SELECT value FROM json_each(?))`)
        .join('');
      const values = chosen.map(([, list]) => JSON.stringify(list));
      const living = `SELECT ${LIFE_COLUMNS} FROM sources WHERE removed_at IS NULL AND first_seen < ?${conditions}`;
      const removed = `SELECT ${LIFE_COLUMNS} FROM sources WHERE removed_at > ? AND first_seen < ?${conditions}`;
      yield* prepare(removed).iterate(from, to, ...values) as unknown as Iterable<LifeRow>;
      yield* prepare(living).iterate(to, ...values) as unknown as Iterable<LifeRow>;
    },

    *readLife(
      [id, repo, server, firstSeen, removedAt, receivedAt, staleAt, unknownSince, doubtedAt, lastCheck, files],
      from,
      to,
      now,
    ) {
      const open = parseFiles(files, repo, server);
      const drifts: Interval[] = open.map(([, since]) => [Math.min(since, now), null]);
      for (const [, , openedAt, closedAt] of driftsOfLife(id, from, to)) {
        drifts.push([openedAt, closedAt]);
        if (drifts.length % ROWS_AT_ONCE === 0) yield;
        if (drifts.length > MAX_INTERVALS) throw tooMany(repo, server);
      }
      const lapses = intervalsOf('lapses', id, from, to);
      const outages = intervalsOf('outages', id, from, to);
      // a removal has closed and stored the last lapse; that of a living source follows from its stale_at
      const currentLapse: Interval[] =
        removedAt === null ? [[lapsedFrom(staleAt, receivedAt, doubtedAt, lastCheck, now), null]] : [];
      const currentOutage: Interval[] =
        removedAt === null && unknownSince !== null ? [[Math.min(unknownSince, now), null]] : [];
      const lived: Interval = [Math.min(firstSeen, now), removedAt === null ? null : Math.min(removedAt, now)];
      return {
        repo,
        server,
        lived,
        drifts,
        lapses: [...lapses, ...currentLapse],
        outages: [...outages, ...currentOutage],
      };
    },
  };
}

/** Since when the living source is STALE, or from when on it will be. */
function lapsedFrom(
  staleAt: number,
  receivedAt: number,
  doubtedAt: number | null,
  lastCheck: string,
  now: number,
): number {
  if (doubtedAt !== null) return Math.min(doubtedAt, now);
  const isAhead = receivedAt > now && parseTimestamp(lastCheck) > now + MAX_AHEAD_MS;
  return isAhead ? now : Math.max(staleAt, receivedAt);
}

function tooMany(repo: string, server: string): Refusal {
  return new Refusal(
    'query_timeout',
    `More than ${MAX_INTERVALS} drifts of server ${server} of repo ${repo} lie in this range: ask for a shorter one`,
  );
}
