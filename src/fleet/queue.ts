import { setImmediate as nextTurn } from 'node:timers/promises';
import { Refusal } from '../core/refusal.ts';

/** A piece of work that waits, and how to answer whoever waits for it. */
export type Task<Work, Result> = {
  readonly work: Work;
  /** Works of the same key are done one after another, in their order. */
  readonly key: string;
  resolve(result: Result): void;
  reject(error: Error): void;
};

export type Queue<Work, Result> = {
  /**
   * Whoever adds bounds what waits: here it is taken.
   * @param bytes the size of the work: a batch has only so much
   * @throws {Refusal} `store_unavailable` when it has waited too long, or when the queue is draining
   */
  add(work: Work, key: string, bytes: number): Promise<Result>;
  readonly isDraining: boolean;
  /** Refuses further work and resolves when all that waits is done. */
  drain(): Promise<void>;
};

export type QueueOptions<Work, Result> = {
  readonly timeoutMs: number;
  /** Answers every task, save those it returns: they go first into the next batch. At most one batch is under way. */
  readonly process: (batch: readonly Task<Work, Result>[]) => Promise<readonly Task<Work, Result>[]>;
  /** Some have waited longer than `timeoutMs`, and have been refused. */
  readonly onTimeout: (error: Error) => void;
};

type Waiting<Work, Result> = Task<Work, Result> & { readonly bytes: number; readonly since: number; isLate: boolean };

const MAX_BATCH = 1000;
/** Fewer are not worth two batches. */
const MIN_TO_HALVE = 16;
const FAST_MS = 4;
const GATHER_MS = 2;
/** A batch ends with the work that reaches this: it is copied to the thread that writes. */
const MAX_BATCH_BYTES = 8 * 1_048_576;
const WATCH_MS = 250;

/** What has arrived while a batch was under way goes into the next, one task of a key at a time. */
export function createQueue<Work, Result>(options: QueueOptions<Work, Result>): Queue<Work, Result> {
  const { timeoutMs, process, onTimeout } = options;
  let waiting: Waiting<Work, Result>[] = [];
  let underWay: readonly Waiting<Work, Result>[] = [];
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
      underWay = takeBatch(size);
      const again = new Set(await process(underWay));
      lastMs = performance.now() - startedAt;
      inHand = underWay.length + waiting.length;
      waiting.unshift(...underWay.filter((task) => again.has(task) && !task.isLate));
      underWay = [];
    }
    loop = undefined;
  }

  /**
   * Waits a moment at most, for as long as every turn of the event loop brings more, and returns how many to take. Where a batch is
   * done fast, that is half of all that are in hand: while one half is on its way to the disk, the clients of the other are answered.
   * Where it is slow, as few batches as possible are best: all.
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

  /** What waits is taken out; what is under way may still be done. */
  function answerLate(): void {
    const limit = performance.now() - timeoutMs;
    const isNewlyLate = (task: Waiting<Work, Result>): boolean => task.since < limit && !task.isLate;
    const late = waiting.filter(isNewlyLate);
    const stuck = underWay.filter(isNewlyLate);
    if (late.length === 0 && stuck.length === 0) return;
    const error = new Error(`no answer from the store within ${timeoutMs / 1000} s`);
    waiting = waiting.filter((task) => !isNewlyLate(task));
    for (const task of late) {
      task.reject(storeUnavailable('The store did not answer in time; the report was not stored', error));
    }
    for (const task of stuck) {
      task.isLate = true;
      task.reject(storeUnavailable('The store did not answer in time; the report may still be stored', error));
    }
    onTimeout(error);
  }

  return {
    add(wanted, key, bytes) {
      if (isDraining) return Promise.reject(storeUnavailable('The service is stopping'));
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

/** @param cause for the log only */
export function storeUnavailable(detail: string, cause?: unknown): Refusal {
  return new Refusal('store_unavailable', detail, { cause });
}
