import { setImmediate as nextTurn } from 'node:timers/promises';
import { Refusal, type Stored } from '../core/refusal.ts';

/** A piece of work that waits, and the functions that answer whoever waits for it. */
export type Task<Work, Result> = {
  readonly work: Work;
  /** Tasks with the same key are done one after another, in the order in which they were added. */
  readonly key: string;
  resolve(result: Result): void;
  reject(error: Error): void;
};

export type Queue<Work, Result> = {
  /**
   * The queue has no bound of its own: callers bound how much waits.
   * @param bytes the size of the work, for the limit of a batch
   * @throws {Refusal} `store_unavailable` when it has waited too long, or when the queue is draining
   */
  add(work: Work, key: string, bytes: number): Promise<Result>;
  readonly isDraining: boolean;
  /** Refuses further work, and resolves when all waiting work is done. */
  drain(): Promise<void>;
};

export type QueueOptions<Work, Result> = {
  readonly timeoutMs: number;
  /** Answers every task except those that it returns: they come first in the next batch. At most one batch is in flight. */
  readonly process: (batch: readonly Task<Work, Result>[]) => Promise<readonly Task<Work, Result>[]>;
  /** Called when tasks have waited longer than `timeoutMs` and were refused. */
  readonly onTimeout: (error: Error) => void;
};

type Waiting<Work, Result> = Task<Work, Result> & { readonly bytes: number; readonly since: number; isLate: boolean };

const MAX_BATCH = 1000;
/** With fewer tasks, splitting them into two batches gains nothing. */
const MIN_TO_HALVE = 16;
const FAST_MS = 4;
const GATHER_MS = 2;
/** A batch ends with the task that reaches this size, because all of it is copied to the writer thread. */
const MAX_BATCH_BYTES = 8 * 1_048_576;
const WATCH_MS = 250;

/** Tasks that arrive while a batch is in flight go into the next one, at most one task per key. */
export function createQueue<Work, Result>(options: QueueOptions<Work, Result>): Queue<Work, Result> {
  const { timeoutMs, process, onTimeout } = options;
  let waiting: Waiting<Work, Result>[] = [];
  let inFlight: readonly Waiting<Work, Result>[] = [];
  let loop: Promise<void> | undefined;
  let isDraining = false;
  const watchdog = setInterval(answerLate, Math.min(WATCH_MS, timeoutMs));
  watchdog.unref();

  async function work(): Promise<void> {
    let inHand = 0;
    // nothing is known of the disk before the first batch
    let lastMs = Number.POSITIVE_INFINITY;
    while (waiting.length > 0) {
      const size = await gather(inHand, lastMs < FAST_MS);
      const startedAt = performance.now();
      inFlight = takeBatch(size);
      const again = new Set(await process(inFlight));
      lastMs = performance.now() - startedAt;
      inHand = inFlight.length + waiting.length;
      waiting.unshift(...inFlight.filter((task) => again.has(task) && !task.isLate));
      inFlight = [];
    }
    loop = undefined;
  }

  /**
   * Waits for at most {@link GATHER_MS}, as long as every turn of the event loop brings more tasks, and returns how many to take. If batches
   * are fast, it takes half of all tasks: while one half is written, the clients of the other half get their answers. If batches are slow,
   * it takes all, because fewer batches are then faster.
   */
  async function gather(inHand: number, isFast: boolean): Promise<number> {
    const deadline = performance.now() + GATHER_MS;
    let seen: number;
    let wanted: number;
    do {
      seen = waiting.length;
      await nextTurn();
      const all = Math.max(inHand, waiting.length);
      wanted = isFast && all >= MIN_TO_HALVE ? Math.ceil(all / 2) : all;
    } while (waiting.length > seen && waiting.length < wanted && performance.now() < deadline);
    return Math.min(wanted, MAX_BATCH);
  }

  function takeBatch(size: number): Waiting<Work, Result>[] {
    const batch: Waiting<Work, Result>[] = [];
    const later: Waiting<Work, Result>[] = [];
    const keys = new Set<string>();
    let bytes = 0;
    for (const task of waiting) {
      if (batch.length >= size || bytes >= MAX_BATCH_BYTES || keys.has(task.key)) {
        later.push(task);
        continue;
      }
      keys.add(task.key);
      batch.push(task);
      bytes += task.bytes;
    }
    waiting = later;
    return batch;
  }

  /** Refuses late tasks. Those that wait leave the queue; those in flight may still be stored. */
  function answerLate(): void {
    const limit = performance.now() - timeoutMs;
    const isNewlyLate = (task: Waiting<Work, Result>): boolean => task.since < limit && !task.isLate;
    const late = waiting.filter(isNewlyLate);
    const stuck = inFlight.filter(isNewlyLate);
    if (late.length === 0 && stuck.length === 0) return;
    const error = new Error(`no answer from the store within ${timeoutMs / 1000} s`);
    waiting = waiting.filter((task) => !isNewlyLate(task));
    for (const task of late) {
      task.reject(storeUnavailable('The store did not answer in time; the report was not stored', false, error));
    }
    for (const task of stuck) {
      task.isLate = true;
      task.reject(
        storeUnavailable('The store did not answer in time; the report may still be stored', 'unknown', error),
      );
    }
    onTimeout(error);
  }

  return {
    add(wanted, key, bytes) {
      if (isDraining) return Promise.reject(storeUnavailable('The service is stopping', false));
      return new Promise((resolve, reject) => {
        waiting.push({ work: wanted, key, resolve, reject, bytes, since: performance.now(), isLate: false });
        loop ??= work();
      });
    },
    get isDraining() {
      return isDraining;
    },
    async drain() {
      isDraining = true;
      await loop;
      clearInterval(watchdog);
    },
  };
}

/**
 * @param stored of what was to be written, if anything was
 * @param cause for the log only
 */
export function storeUnavailable(detail: string, stored?: Stored, cause?: unknown): Refusal {
  return new Refusal('store_unavailable', detail, { stored, cause });
}
