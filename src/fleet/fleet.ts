import type { Snapshot } from '../core/ledger.ts';
import type { ReconcileHistograms } from '../core/reconcile-histogram.ts';
import { Refusal } from '../core/refusal.ts';
import type { Report } from '../core/report.ts';
import { type Outcome, type Store, StoreError } from '../store/store.ts';
import { type Accepted, type BatchContext, type Work, type WritingStep, planBatch, settleBatch } from './batch.ts';
import type { Reporter } from './admission.ts';
import type { FileSpread } from './file-spread.ts';
import { type Queue, type Task, createQueue, storeUnavailable } from './queue.ts';
import { type MarkKeeper, createMarkKeeper } from './marks.ts';
import type { RenderedTexts } from './rendered-text.ts';
import { type Source, createSourceIndex, keyOf } from './source-index.ts';
import type { Limits, Usage } from './usage.ts';
import { type Turns, createTurns } from './turns.ts';
import { readWhole } from './whole-batch.ts';
import { type WriteFailure, type WriteHealth, createWriteHealth } from './write-health.ts';

export type Fleet = MarkKeeper & {
  /**
   * Resolves when the report is on disk and every read shows it.
   * @param bytes the size of its body: only so much goes into one commit
   * @param reporter the token that it came with, if it came with one
   * @throws {Refusal} `too_many_sources`, `too_many_drifts` or `too_much_text` when it would add something beyond a limit, of the
   *   service or of its token; `store_unavailable` when it could not be stored (it then does not appear, unless the disk answered too
   *   late: then it may)
   */
  submit(report: Report, bytes: number, reporter?: Reporter): Promise<Accepted>;
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
  /** Increases with every change of any snapshot. */
  readonly revision: number;
  /** Returns another number than before if a source may have become STALE, or fresh, in between. */
  staleEpoch(now: number): number;
  readonly fileSpread: FileSpread;
  /** How much of the limits the sources use. */
  readonly usage: Usage;
  readonly limits: Limits;
  /** How many sources have drifts that are on disk only, because more is stored than the limits allow. */
  readonly partial: number;
  readonly rendered: RenderedTexts;
  /** Per repo, the durations of drifts that a report has closed. */
  readonly reconcileHistograms: ReconcileHistograms;
  /** Set when a write fails; undefined again when the next one succeeds. */
  readonly failure: WriteFailure | undefined;
  /**
   * Tries a write, unless one has just succeeded.
   * @throws {Refusal} `store_unavailable`, naming the reason
   */
  probe(): Promise<void>;
  /** Refuses further work, and resolves when all waiting work is on disk or has failed. */
  drain(): Promise<void>;
};

export type FleetOptions = {
  readonly store: Store;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets: silence and patience are measured with it. */
  readonly monotonic: () => number;
  readonly staleAfterMs: number;
  readonly limits: Limits;
  /** A report that is not on disk after this long is refused. */
  readonly commitTimeoutMs: number;
  readonly onCommit: (durationMs: number, reports: number) => void;
  readonly onStoreError: (operation: string, error: Error) => void;
  /** Called when a report is stored and every read shows it, though whoever sent it may have been refused for want of patience. */
  readonly onStored: (accepted: Accepted, ignored: readonly string[]) => void;
  /** Called when a source was removed, whoever wanted that, and that is on disk. */
  readonly onRemoved: (snapshot: Snapshot, at: number) => void;
};

/** In the queue at a time, however many sources are to be forgotten: reports wait for no more of them. */
const MAX_REMOVALS_QUEUED = 500;

/**
 * Holds the latest snapshot of every source, and is the only writer. Reports wait in a queue. One commit is in flight at a time; what arrives
 * meanwhile goes into the next batch, one report per source. What a report changes is decided when its batch is planned, from the state that
 * is then on disk. Memory changes only after the commit. Resolves once all stored sources are in memory.
 * @throws {StoreError} when they cannot be read
 */
export async function createFleet(options: FleetOptions): Promise<Fleet> {
  const { store, now, monotonic, staleAfterMs, limits, commitTimeoutMs, onStored, onRemoved } = options;
  const sourceIndex = createSourceIndex(limits);
  for await (const page of store.load()) sourceIndex.load(page);
  const histograms = await store.reconcileHistograms();
  const context: BatchContext = {
    sourceIndex,
    histograms,
    now,
    monotonic,
    staleAfterMs,
    limits,
    onStored,
    onRemoved,
  };
  const health = createWriteHealth({
    tryWrite: store.ready,
    now,
    monotonic,
    timeoutMs: commitTimeoutMs,
    onFailure: options.onStoreError,
  });
  const queue = createQueue<Work, Accepted>({
    timeoutMs: commitTimeoutMs,
    process: (batch) => commitBatch(batch, context, store, health, options.onCommit),
    onTimeout: (error) => health.failed('commit', error),
  });

  const marks = createMarkKeeper({ sourceIndex, queue, health, now, monotonic });
  const removals = createTurns(MAX_REMOVALS_QUEUED);

  return {
    ...marks,
    submit(report, bytes, reporter) {
      const key = keyOf(report.repo, report.server);
      const rejectedAt = sourceIndex.find(key)?.snapshot.lastRejectedAt ?? null;
      return queue.add({ report, reporter, rejectedAt }, key, bytes);
    },
    remove: (sources, isWanted = () => true) => removeAll(queue, removals, sources, isWanted),
    find: (repo, server) => sourceIndex.find(keyOf(repo, server)),
    list: sourceIndex.list,
    listOf: sourceIndex.listOf,
    staleEpoch: sourceIndex.staleEpoch,
    fileSpread: sourceIndex.fileSpread,
    usage: sourceIndex.usage,
    limits,
    rendered: sourceIndex.rendered,
    get partial() {
      return sourceIndex.partial;
    },
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

type Tasks = readonly Task<Work, Accepted>[];

/** Plans a batch, writes it in one commit, and settles it. Returns the tasks to try again. */
async function commitBatch(
  batch: Tasks,
  context: BatchContext,
  store: Store,
  health: WriteHealth,
  onCommit: FleetOptions['onCommit'],
): Promise<Tasks> {
  const { tasks, whole, later } = await readWhole(batch, context.sourceIndex, store);
  const steps = planBatch(tasks, context, whole);
  const writing = steps.filter((step): step is WritingStep => step.change !== null);
  const again = writing.length === 0 ? [] : await writeBatch(writing, context, store, health, onCommit);
  // what changes nothing is answered when everything before it is on disk
  for (const { task, accepted, change } of steps) if (change === null) task.resolve(accepted);
  return [...again, ...later];
}

async function writeBatch(
  steps: readonly WritingStep[],
  context: BatchContext,
  store: Store,
  health: WriteHealth,
  onCommit: FleetOptions['onCommit'],
): Promise<Tasks> {
  const startedAt = performance.now();
  let outcomes: Outcome[];
  try {
    outcomes = await store.commit(steps.map((step) => step.change));
  } catch (error) {
    health.failed('commit', error as Error);
    const refusal = notStored(error);
    for (const { task } of steps) task.reject(refusal);
    return [];
  }
  onCommit(performance.now() - startedAt, steps.length);
  health.succeeded();
  return settleBatch(steps, outcomes, context);
}

function notStored(error: unknown): Refusal {
  return error instanceof StoreError && error.mayBeStored
    ? storeUnavailable('The disk failed while this was being stored: it may still be stored', 'unknown', error)
    : storeUnavailable('This could not be stored', false, error);
}

/** Queues a removal for each source. Those that are gone by then do not count. */
async function removeAll(
  queue: Queue<Work, Accepted>,
  turns: Turns,
  sources: readonly Source[],
  isWanted: (source: Source) => boolean,
): Promise<number> {
  const results = await Promise.allSettled(
    sources.map((source) => turns.run(() => queue.add({ removal: source, isWanted }, source.key, 0))),
  );
  for (const result of results) {
    if (result.status === 'rejected' && !isGone(result.reason)) throw result.reason;
  }
  return results.filter((result) => result.status === 'fulfilled').length;
}

function isGone(error: unknown): boolean {
  return error instanceof Refusal && error.reason === 'unknown_source';
}
