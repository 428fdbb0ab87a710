import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseTimestamp } from '../../core/timestamp.ts';
import type { OpenDrift } from '../../core/ledger.ts';
import { explainFailure } from './failures.ts';
import { DATABASE, takeFolder, warnOfOtherDatabases } from './folder.ts';
import { makePrivate } from './private.ts';
import type { StateChange } from '../../core/history.ts';
import type { DriftRow } from './history-queries.ts';
import type { ChangeRow, Page, ReaderOperations } from './reader.ts';
import type { FileTuple, OutcomeTuple, MarksTuple, RemovalTuple, ReportTuple } from './rows.ts';
import { parseCounts, parseDiffs, toStoredSource } from './parse-row.ts';
import type { WriterOperations } from './writer.ts';
import type {
  Change,
  ClosedDrift,
  Listed,
  Outcome,
  RemovalChange,
  ReportChange,
  Store,
  StoredSource,
} from '../store.ts';
import { finishRestore } from './restore.ts';
import { checkDatabase } from './start-check.ts';
import { type Call, startWorker } from './worker.ts';

/**
 * The embedded store: SQLite in `dataDir/gitops-status.db`, with one thread that writes and one that reads. Creates the folder if needed and
 * locks it until `close`.
 * @throws {StoreError} when the folder cannot be used, or when the database is damaged, belongs to another program or is of a newer version.
 *   Existing files are then left unchanged.
 * @param warn is told what is no reason to refuse, and most likely not what was meant
 */
export async function openSqlite(dataDir: string, warn: (message: string) => void = () => {}): Promise<Store> {
  const file = join(dataDir, DATABASE);
  const unlock = takeFolder(dataDir);
  try {
    finishRestore(dataDir);
    checkDatabase(file);
    warnOfOtherDatabases(dataDir, warn);
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
    throw explainFailure(
      file,
      error as Error,
      `${file} cannot be written (${(error as Error).message}). See that this user may write to it and that the disk has room.`,
    );
  }
}

function toTuple(change: Change): ReportTuple | RemovalTuple | MarksTuple {
  if (change.kind === 'report') return reportTuple(change);
  return change.kind === 'removal' ? removalTuple(change) : [change.id, change.lastRejectedAt, change.doubtedAt];
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
