import { type ReconcileHistograms, createHistogram, observe } from '../core/reconcile-histogram.ts';
import { type Advance, type OpenDrift, type Snapshot, advance, lapseUntil } from '../core/ledger.ts';
import { Problem } from '../http/problem.ts';
import { type Task, createQueue, unavailable } from './queue.ts';
import type { Report } from '../core/report.ts';
import { type Source, createSourceIndex, keyOf } from './source-index.ts';
import type { FileSpread } from './file-spread.ts';
import type { Change, Outcome, Store } from '../store/store.ts';

/** What became of a report, once it is on disk. */
export type Accepted = {
  readonly result: Advance['result'] | 'superseded';
  readonly previous: Snapshot | null;
  /** What the source now is. */
  readonly snapshot: Snapshot;
  readonly opened: readonly string[];
  readonly closed: readonly OpenDrift[];
};

/** Whether writes succeed, as far as the last one tells. `since` in milliseconds. */
export type WriteFailure = { readonly reason: string; readonly since: number };

export type Fleet = {
  /**
   * Resolves when the report is on disk and every read shows it.
   * @param bytes the size of its body, for the limit on what may wait
   * @throws {Problem} 429 for a new source beyond the limit, 503 when it could not be stored (it then does not appear, save when the
   *   disk answered too late: then it may)
   */
  submit(report: Report, bytes: number): Promise<Accepted>;
  /**
   * Forgets the sources for which `isWanted` still holds when their turn comes; resolves with how many, when that is on disk.
   * @throws {Problem} 503 as `submit`; some may be gone by then
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
   * @throws {Problem} 503 naming the reason
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
  /** After this long without being on disk, a report is answered with 503. */
  readonly commitTimeoutMs: number;
  readonly onCommit: (durationMs: number, reports: number) => void;
  readonly onStoreError: (operation: string, error: Error) => void;
};

type Work = { readonly report: Report } | { readonly removal: Source; readonly isWanted: (source: Source) => boolean };

/** A piece of work whose meaning is settled. Without a change there is nothing to write. */
type Step = { readonly task: Task<Work, Accepted>; readonly accepted: Accepted; readonly change: Change | null };
type Writing = Step & { readonly change: Change };

/** A probe that finds a success this recent does not write again. */
const PROBE_AFTER_MS = 5000;
/** Shorter than the probes of an orchestrator are patient. */
const PROBE_TIMEOUT_MS = 2000;

/**
 * Holds the newest snapshot of every source and is the only one to write. Reports queue; one commit is in flight at a time, and
 * all that has arrived meanwhile goes into the next, one report of a source at a time. What a report means is decided when its
 * batch is made, from what is on disk by then; memory changes only after the commit. Resolves once all stored sources are in memory.
 * @throws {StoreError} when they cannot be read
 */
export async function createFleet(options: FleetOptions): Promise<Fleet> {
  const { store, now, staleAfterMs, maxSources, commitTimeoutMs, onCommit, onStoreError } = options;
  const sourceIndex = createSourceIndex(await store.load());
  const reconcileHistograms = await store.reconcileHistograms();

  const queue = createQueue<Work, Accepted>({
    timeoutMs: commitTimeoutMs,
    process: commit,
    onTimeout: (error) => fail('commit', error),
  });
  let failure: WriteFailure | undefined;
  let lastSuccessAt = now();
  let probing: Promise<void> | undefined;

  /** Returns what is to be tried again. */
  async function commit(batch: readonly Task<Work, Accepted>[]): Promise<readonly Task<Work, Accepted>[]> {
    const steps = plan(batch);
    const writing = steps.filter((step): step is Writing => step.change !== null);
    const again = writing.length === 0 ? [] : await write(writing);
    for (const { task, accepted, change } of steps) if (change === null) task.resolve(accepted);
    return again;
  }

  async function write(steps: readonly Writing[]): Promise<readonly Task<Work, Accepted>[]> {
    const startedAt = performance.now();
    let outcomes: Outcome[];
    try {
      outcomes = await store.commit(steps.map((step) => step.change));
    } catch (error) {
      fail('commit', error as Error);
      for (const { task } of steps) task.reject(unavailable('The report could not be stored', error));
      return [];
    }
    onCommit(performance.now() - startedAt, steps.length);
    failure = undefined;
    lastSuccessAt = now();
    return settle(steps, outcomes);
  }

  /** What each task means, now that all before it is on disk. Refuses what cannot be done. */
  function plan(batch: readonly Task<Work, Accepted>[]): Step[] {
    const steps: Step[] = [];
    let newSources = 0;
    for (const task of batch) {
      const source = sourceIndex.find(task.key);
      if ('removal' in task.work) {
        if (source === task.work.removal && task.work.isWanted(source)) steps.push(removalStep(task, source));
        else task.reject(goneAlready());
      } else if (source === undefined && sourceIndex.size + newSources >= maxSources) {
        task.reject(tooManySources(maxSources));
      } else {
        if (source === undefined) newSources += 1;
        steps.push(reportStep(task, task.work.report, source));
      }
    }
    return steps;
  }

  function reportStep(task: Task<Work, Accepted>, report: Report, source: Source | undefined): Step {
    const previous = source?.snapshot ?? null;
    const advanced = advance(previous, report, now(), staleAfterMs);
    if (advanced === null) {
      const snapshot = previous as Snapshot;
      return { task, accepted: { result: 'superseded', previous, snapshot, opened: [], closed: [] }, change: null };
    }
    const { result, next, opened, closed } = advanced;
    const expected = source === undefined ? null : { id: source.id, version: source.snapshot.version };
    return {
      task,
      accepted: { result, previous, snapshot: next, opened, closed },
      change: { kind: 'report', expected, advance: advanced, diffs: report.diffs },
    };
  }

  function removalStep(task: Task<Work, Accepted>, source: Source): Step {
    const { snapshot } = source;
    const at = Math.max(now(), snapshot.receivedAt);
    return {
      task,
      accepted: { result: 'unchanged', previous: snapshot, snapshot, opened: [], closed: snapshot.files },
      change: {
        kind: 'removal',
        expected: { id: source.id, version: snapshot.version },
        at,
        closed: snapshot.files,
        lapse: lapseUntil(snapshot, at),
      },
    };
  }

  function settle(steps: readonly Writing[], outcomes: readonly Outcome[]): readonly Task<Work, Accepted>[] {
    const again: Task<Work, Accepted>[] = [];
    for (const [index, { task, accepted, change }] of steps.entries()) {
      const outcome = outcomes[index] as Outcome;
      if ('conflict' in outcome) {
        // another process was faster: take what it wrote, and see what the report means after that
        sourceIndex.put(task.key, outcome.conflict);
        again.push(task);
      } else if (change.kind === 'removal') {
        sourceIndex.put(task.key, null);
        task.resolve(accepted);
      } else {
        for (const { since } of accepted.closed) countDuration(accepted.snapshot, since);
        const snapshot = counted(accepted.snapshot, outcome.times);
        sourceIndex.put(task.key, { id: outcome.id, snapshot });
        task.resolve(snapshot === accepted.snapshot ? accepted : { ...accepted, snapshot });
      }
    }
    return again;
  }

  /** In memory what the store has counted on disk. */
  function countDuration({ repo, receivedAt }: Snapshot, since: number): void {
    const entry = reconcileHistograms.get(repo) ?? createHistogram();
    reconcileHistograms.set(repo, entry);
    observe(entry, receivedAt - since);
  }

  function fail(operation: string, error: Error): void {
    failure = { reason: error.message, since: failure?.since ?? now() };
    onStoreError(operation, error);
  }

  async function tryWrite(): Promise<void> {
    try {
      await within(store.ready(), Math.min(commitTimeoutMs, PROBE_TIMEOUT_MS));
      failure = undefined;
      lastSuccessAt = now();
    } catch (error) {
      fail('ready', error as Error);
      throw unavailable(`Writing fails: ${(error as Error).message}`, error);
    } finally {
      probing = undefined;
    }
  }

  return {
    submit: (report, bytes) => queue.add({ report }, keyOf(report.repo, report.server), bytes),

    async remove(sources, isWanted = () => true) {
      const results = await Promise.allSettled(
        sources.map((source) => queue.add({ removal: source, isWanted }, source.key, 0)),
      );
      for (const result of results) {
        if (result.status === 'rejected' && !(result.reason instanceof Problem && result.reason.status === 404)) {
          throw result.reason;
        }
      }
      return results.filter((result) => result.status === 'fulfilled').length;
    },

    find: (repo, server) => sourceIndex.find(keyOf(repo, server)),
    list: sourceIndex.list,
    listOf: sourceIndex.listOf,
    staleEpoch: sourceIndex.staleEpoch,
    fileSpread: sourceIndex.fileSpread,
    reconcileHistograms,
    get size() {
      return sourceIndex.size;
    },
    get revision() {
      return sourceIndex.revision;
    },
    get failure() {
      return failure;
    },

    async probe() {
      if (queue.isDraining) throw unavailable('The service is stopping');
      if (failure === undefined && now() - lastSuccessAt < PROBE_AFTER_MS) return;
      probing ??= tryWrite();
      await probing;
    },

    drain: () => queue.drain(),
  };
}

/** Fills in what the store has counted. */
function counted(snapshot: Snapshot, times: readonly number[]): Snapshot {
  if (times.length === 0) return snapshot;
  let next = 0;
  const files = snapshot.files.map((drift) => {
    if (drift.times !== 0) return drift;
    const count = times[next] ?? 1;
    next += 1;
    return { ...drift, times: count };
  });
  return { ...snapshot, files };
}

function goneAlready(): Problem {
  return new Problem(404, 'Not found', 'The source is gone already');
}

function tooManySources(maxSources: number): Problem {
  return new Problem(429, 'Too many sources', `All ${maxSources} sources (MAX_SOURCES) are taken; known ones go on`, {
    reason: 'too_many_sources',
  });
}

function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer from the store within ${ms / 1000} s`)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
