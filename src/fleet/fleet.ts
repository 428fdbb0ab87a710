import type { ReconcileHistograms } from '../core/reconcile-histogram.ts';
import { Refusal } from '../core/refusal.ts';
import type { Report } from '../core/report.ts';
import type { Outcome, Store } from '../store/store.ts';
import { type Accepted, type BatchContext, type Work, type WritingStep, planBatch, settleBatch } from './batch.ts';
import type { FileSpread } from './file-spread.ts';
import { type Queue, type Task, createQueue, storeUnavailable } from './queue.ts';
import { type Source, createSourceIndex, keyOf } from './source-index.ts';
import { type WriteFailure, type WriteHealth, createWriteHealth } from './write-health.ts';

export type Fleet = {
  /**
   * Resolves when the report is on disk and every read shows it.
   * @param bytes the size of its body, for the limit on what may wait
   * @throws {Refusal} `too_many_sources` for a new source beyond the limit; `store_unavailable` when it could not be stored (it then
   *   does not appear, unless the disk answered too late: then it may)
   */
  submit(report: Report, bytes: number): Promise<Accepted>;
  /**
   * Forgets the sources for which `isWanted` still holds when their turn comes; resolves with how many, when that is on disk.
   * @throws {Refusal} `store_unavailable`; some may be gone by then
   */
  remove(sources: readonly Source[], isWanted?: (source: Source) => boolean): Promise<number>;
  find(repo: string, server: string): Source | undefined;
  /** All sources, sorted by repo, then server. The list is never changed afterwards, the sources in it are. */
  list(): readonly Source[];
  /** As `list`, of one repo only. */
  listOf(repo: string): readonly Source[];
  readonly size: number;
  /** Grows with every change of any snapshot. */
  readonly revision: number;
  /** Is another number whenever a source may have become STALE since it was asked before. */
  staleEpoch(now: number): number;
  readonly fileSpread: FileSpread;
  /** How long drifts have lasted that a report has ended. */
  readonly reconcileHistograms: ReconcileHistograms;
  /** Set from a failed write to the next one that succeeds. */
  readonly failure: WriteFailure | undefined;
  /**
   * Tries a write, unless one has just succeeded.
   * @throws {Refusal} `store_unavailable`, naming the reason
   */
  probe(): Promise<void>;
  /** Refuses further work and resolves when all that waits is on disk (or has failed). */
  drain(): Promise<void>;
};

export type FleetOptions = {
  readonly store: Store;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly staleAfterMs: number;
  readonly maxSources: number;
  /** After this long without being on disk, a report is refused. */
  readonly commitTimeoutMs: number;
  readonly onCommit: (durationMs: number, reports: number) => void;
  readonly onStoreError: (operation: string, error: Error) => void;
};

/**
 * Holds the newest snapshot of every source and is the only one to write. Reports queue; one commit is in flight at a time, and
 * all that has arrived meanwhile goes into the next, one report of a source at a time. What a report means is decided when its
 * batch is made, from what is on disk by then; memory changes only after the commit. Resolves once all stored sources are in memory.
 * @throws {StoreError} when they cannot be read
 */
export async function createFleet(options: FleetOptions): Promise<Fleet> {
  const { store, now, staleAfterMs, maxSources, commitTimeoutMs } = options;
  const sourceIndex = createSourceIndex(await store.load());
  const histograms = await store.reconcileHistograms();
  const context: BatchContext = { sourceIndex, histograms, now, staleAfterMs, maxSources };
  const health = createWriteHealth({
    tryWrite: store.ready,
    now,
    timeoutMs: commitTimeoutMs,
    onFailure: options.onStoreError,
  });
  const queue = createQueue<Work, Accepted>({
    timeoutMs: commitTimeoutMs,
    process: (batch) => commitBatch(batch, context, store, health, options.onCommit),
    onTimeout: (error) => health.failed('commit', error),
  });

  return {
    submit: (report, bytes) => queue.add({ report }, keyOf(report.repo, report.server), bytes),
    remove: (sources, isWanted = () => true) => removeAll(queue, sources, isWanted),
    find: (repo, server) => sourceIndex.find(keyOf(repo, server)),
    list: sourceIndex.list,
    listOf: sourceIndex.listOf,
    staleEpoch: sourceIndex.staleEpoch,
    fileSpread: sourceIndex.fileSpread,
    reconcileHistograms: histograms,
    get size() {
      return sourceIndex.size;
    },
    get revision() {
      return sourceIndex.revision;
    },
    get failure() {
      return health.failure;
    },
    async probe() {
      if (queue.isDraining) throw storeUnavailable('The service is stopping');
      await health.probe();
    },
    drain: () => queue.drain(),
  };
}

/** Plans a batch, writes it in one commit, and settles it. Returns the tasks to try again. */
async function commitBatch(
  batch: readonly Task<Work, Accepted>[],
  context: BatchContext,
  store: Store,
  health: WriteHealth,
  onCommit: FleetOptions['onCommit'],
): Promise<readonly Task<Work, Accepted>[]> {
  const steps = planBatch(batch, context);
  const writing = steps.filter((step): step is WritingStep => step.change !== null);
  const again = writing.length === 0 ? [] : await write();
  // what changes nothing is answered when everything before it is on disk
  for (const { task, accepted, change } of steps) if (change === null) task.resolve(accepted);
  return again;

  async function write(): Promise<readonly Task<Work, Accepted>[]> {
    const startedAt = performance.now();
    let outcomes: Outcome[];
    try {
      outcomes = await store.commit(writing.map((step) => step.change));
    } catch (error) {
      health.failed('commit', error as Error);
      for (const { task } of writing) task.reject(storeUnavailable('The report could not be stored', error));
      return [];
    }
    onCommit(performance.now() - startedAt, writing.length);
    health.succeeded();
    return settleBatch(writing, outcomes, context);
  }
}

/** Queues a removal for each source. Those that are gone by then do not count. */
async function removeAll(
  queue: Queue<Work, Accepted>,
  sources: readonly Source[],
  isWanted: (source: Source) => boolean,
): Promise<number> {
  const results = await Promise.allSettled(
    sources.map((source) => queue.add({ removal: source, isWanted }, source.key, 0)),
  );
  for (const result of results) {
    if (result.status === 'rejected' && !isGone(result.reason)) throw result.reason;
  }
  return results.filter((result) => result.status === 'fulfilled').length;
}

function isGone(error: unknown): boolean {
  return error instanceof Refusal && error.reason === 'unknown_source';
}
