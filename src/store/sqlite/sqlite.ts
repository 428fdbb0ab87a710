import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parseTimestamp } from '../../core/timestamp.ts';
import type { OpenDrift } from '../../core/ledger.ts';
import { lockFolder } from './lock.ts';
import { APPLICATION_ID, MIGRATIONS } from './migrations.ts';
import { makePrivate } from './private.ts';
import type { StateChange } from '../../core/history.ts';
import type { DriftRow } from './history-queries.ts';
import type { ChangeRow, Page, ReaderOperations } from './reader.ts';
import type { FileTuple, OutcomeTuple, RejectionTuple, RemovalTuple, ReportTuple } from './rows.ts';
import { parseCounts, parseDiffs, toStoredSource } from './parse-row.ts';
import type { WriterOperations } from './writer.ts';
import {
  type Change,
  type ClosedDrift,
  type Listed,
  type Outcome,
  type RemovalChange,
  type ReportChange,
  type Store,
  StoreError,
  type StoredSource,
} from '../store.ts';
import { type Call, startWorker } from './worker.ts';

/**
 * The embedded store: SQLite in `dataDir/gitops-status.db`, with one thread that writes and one that reads. Creates the folder if needed and
 * locks it until `close`.
 * @throws {StoreError} when the folder cannot be used, or when the database is damaged, belongs to another program or is of a newer version.
 *   Existing files are then left unchanged.
 */
export async function openSqlite(dataDir: string): Promise<Store> {
  const file = join(dataDir, 'gitops-status.db');
  const unlock = takeFolder(dataDir);
  try {
    if (existsSync(file)) check(file);
    const write = await startWriter(file);
    const startReader = () =>
      startWorker<ReaderOperations>(new URL('./reader.ts', import.meta.url), file, (value) => void dropPages(value));
    // a query may end just as its reader leaves: its other pages must not stay in memory
    const dropPages = async (value: unknown): Promise<void> => {
      const { cursor } = (value ?? {}) as Partial<Page<unknown>>;
      if (cursor !== undefined) await (await read())('drop', [cursor]);
    };
    let started: ReturnType<typeof startReader> | undefined;
    // started with the first read: a thread costs memory
    const read = () =>
      (started ??= startReader().catch((error: unknown) => {
        started = undefined;
        throw error;
      }));

    return {
      name: `sqlite ${process.versions.sqlite}`,

      async *load() {
        let last = { repo: '', server: '' };
        for (;;) {
          const rows = await write('page', [last.repo, last.server]);
          if (rows.length === 0) return;
          const page = rows.map((row) => toStoredSource(row, parseTimestamp));
          yield page;
          last = (page.at(-1) as StoredSource).snapshot;
        }
      },

      async source(repo, server) {
        const row = await write('source', [repo, server]);
        return row === null ? null : toStoredSource(row, parseTimestamp);
      },

      async commit(changes) {
        const outcomes = await write('commit', [changes.map(toTuple)]);
        return outcomes.map(toOutcome);
      },

      async detail(repo, server, maxDrifts, signal) {
        const found = await (await read())('detail', [repo, server, maxDrifts], signal);
        if (found === null) return null;
        const diffs = parseDiffs(found.diffs, repo, server);
        return { ...toStoredSource(found.row, parseTimestamp), diffs, drifts: found.drifts.map(toClosedDrift) };
      },

      async drifts({ from, to }, limit = Number.POSITIVE_INFINITY, selection = {}, signal) {
        const reader = await read();
        return readAll(reader, reader('drifts', [from, to, limit, selection], signal), toClosedDrift, signal);
      },

      async history({ from, to }, now, limit = Number.POSITIVE_INFINITY, selection = {}, signal) {
        const reader = await read();
        return readAll(reader, reader('history', [from, to, now, limit, selection], signal), toChange, signal);
      },

      async reconcileHistograms() {
        const rows = await write('reconcileHistograms', []);
        return new Map(rows.map(([repo, counts, sumMs]) => [repo, { counts: parseCounts(counts, repo), sumMs }]));
      },

      lapses: async (range) =>
        (await (await read())('lapses', [range.from, range.to])).map(([repo, server, from, to]) => ({
          repo,
          server,
          from,
          to,
        })),
      prune: (before, limit) => write('prune', [before, limit]),
      ready: () => write('ready', []),

      async close() {
        if (started !== undefined) await (await started)('close', []);
        await write('close', []);
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

function takeFolder(dataDir: string): () => void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    return lockFolder(dataDir);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw new StoreError(
      `DATA_DIR ${dataDir} cannot be written (${(error as Error).message}). Make it a folder that this user may write to.`,
      { cause: error },
    );
  }
}

/** Checks the database before it is opened for writing, so that a file that is not ours stays unchanged. */
function check(file: string): void {
  // SQLite would apply a write-ahead log that stays behind to the file that takes the place
  const advice = `Nothing was changed. Move the file away (with ${file}-wal, if there is one) to start empty, or put a backup in its place`;
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { readOnly: true });
    const { application_id: application } = db.prepare('PRAGMA application_id').get() as { application_id: number };
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
    const { tables } = db.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as { tables: number };
    if (application !== APPLICATION_ID && tables > 0) {
      throw new StoreError(
        `${file} is another program's database. Nothing was changed. Give the service a DATA_DIR of its own.`,
      );
    }
    if (version > MIGRATIONS.length) {
      throw new StoreError(
        `${file} was written by a newer version of gitops-status-server (schema ${version}, this one knows ${MIGRATIONS.length}). ` +
          `Run that version or a later one. ${advice}.`,
      );
    }
    const [result] = db.prepare('PRAGMA quick_check(1)').all() as { quick_check: string }[];
    if (result?.quick_check !== 'ok') throw new Error(result?.quick_check.replaceAll('\n', ' '));
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw new StoreError(`${file} is damaged (${(error as Error).message}). ${advice}.`, { cause: error });
  } finally {
    db?.close();
  }
}

type Reader = Call<ReaderOperations>;

/** Reads page after page. Between two pages the event loop is free for other requests. */
async function readAll<Row, T>(
  read: Reader,
  first: Promise<Page<Row>>,
  toItem: (row: Row) => T,
  signal: AbortSignal | undefined,
): Promise<Listed<T>> {
  let page = await first;
  const items: T[] = [];
  for (;;) {
    for (const row of page.rows) items.push(toItem(row));
    const { cursor, isCut } = page;
    if (cursor === undefined) return { rows: items, isCut };
    if (signal?.aborted) {
      await read('drop', [cursor]);
      throw signal.reason;
    }
    page = (await read('next', [cursor])) as Page<Row>;
  }
}

async function startWriter(file: string) {
  try {
    // SQLite gives the files beside it the same mode
    makePrivate(file);
    for (const beside of [`${file}-wal`, `${file}-shm`]) if (existsSync(beside)) makePrivate(beside);
    return await startWorker<WriterOperations>(new URL('./writer.ts', import.meta.url), file);
  } catch (error) {
    throw new StoreError(
      `${file} cannot be written (${(error as Error).message}). See that this user may write to it and that the disk has room.`,
      { cause: error },
    );
  }
}

function toTuple(change: Change): ReportTuple | RemovalTuple | RejectionTuple {
  if (change.kind === 'report') return reportTuple(change);
  return change.kind === 'removal' ? removalTuple(change) : [change.id, change.at];
}

function reportTuple({ expected, advance, diffs }: ReportChange): ReportTuple {
  const { next, closed, lapse, outage } = advance;
  return [
    expected?.id ?? 0,
    expected?.version ?? 0,
    next.toldStatus,
    next.unknownSince,
    next.message,
    next.truncatedCount,
    next.labels === null ? null : JSON.stringify(next.labels),
    next.lastCheck,
    next.commit,
    next.pipelineUrl,
    next.reportedBy,
    next.statusSince,
    next.receivedAt,
    next.staleAt,
    diffs === null ? null : JSON.stringify(diffs),
    lapse === null ? null : lapse.from,
    outage === null ? null : outage.from,
    advance.hasSameFiles ? null : next.files.map(toFileTuple),
    closed.length === 0 ? null : closed.map(toFileTuple),
    expected === null || closed.length > 0 ? next.repo : null,
    expected === null ? next.server : null,
    advance.isRewound,
  ];
}

function removalTuple({ expected, at, lapse, outage, closed, isRewound }: RemovalChange): RemovalTuple {
  const [lapseFrom, outageFrom] = [lapse?.from ?? null, outage?.from ?? null];
  return [expected.id, expected.version, at, lapseFrom, outageFrom, closed.map(toFileTuple), isRewound];
}

function toFileTuple({ name, since, times }: OpenDrift): FileTuple {
  return [name, since, times];
}

function toOutcome(outcome: OutcomeTuple): Outcome {
  if (Array.isArray(outcome)) return { id: outcome[0], times: outcome[1] ?? [] };
  return { conflict: outcome.row === null ? null : toStoredSource(outcome.row, parseTimestamp) };
}

function toClosedDrift([repo, server, name, times, openedAt, closedAt]: DriftRow): ClosedDrift {
  return { repo, server, name, times, openedAt, closedAt };
}

function toChange([time, repo, server, verdict, driftCount]: ChangeRow): StateChange {
  return { time, repo, server, verdict, driftCount };
}
