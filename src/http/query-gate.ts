import { Refusal } from '../core/refusal.ts';

/** Lets queries of the past through, a few at a time, in the order in which they come. */
export type QueryGate = {
  /**
   * Runs `query` when it is its turn.
   * @param signal when it is aborted a query that waits is forgotten; one that runs must listen itself
   * @throws {Refusal} `overloaded` when too many wait already
   */
  run<T>(signal: AbortSignal, query: () => Promise<T>): Promise<T>;
};

export type QueryGateOptions = {
  readonly maxRunning: number;
  readonly maxWaiting: number;
  readonly maxBusyMs: number;
  /** What waits, in a refusal. */
  readonly what: string;
};

/** Two threads read and serve: more at a time make none of them faster, and each holds its rows. */
const DEFAULTS: QueryGateOptions = {
  maxRunning: 2,
  maxWaiting: 100,
  // as long as queries overlap, the write-ahead log cannot be cut back: from time to time there must be none
  maxBusyMs: 30_000,
  what: 'queries of the past',
};

type Waiting = { readonly start: () => void };

export function createQueryGate(options: Partial<QueryGateOptions> = {}): QueryGate {
  const { maxRunning, maxWaiting, maxBusyMs, what } = { ...DEFAULTS, ...options };
  const waiting = new Set<Waiting>();
  let running = 0;
  let busySince = 0;

  function startNext(): void {
    for (const next of waiting) {
      if (running >= maxRunning || (running > 0 && performance.now() - busySince > maxBusyMs)) return;
      if (running === 0) busySince = performance.now();
      running += 1;
      waiting.delete(next);
      next.start();
    }
  }

  async function turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const place = { start: resolve };
    const leave = (): void => {
      if (waiting.delete(place)) reject(signal.reason);
    };
    signal.addEventListener('abort', leave);
    waiting.add(place);
    startNext();
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  return {
    async run(signal, query) {
      if (waiting.size >= maxWaiting) throw new Refusal('overloaded', `Too many ${what} are waiting`);
      await turn(signal);
      try {
        return await query();
      } finally {
        running -= 1;
        startNext();
      }
    },
  };
}
