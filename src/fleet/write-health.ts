import { storeUnavailable } from './queue.ts';

/** Whether writes succeed, as far as the last one tells. `since` in milliseconds. */
export type WriteFailure = { readonly reason: string; readonly since: number };

export type WriteHealth = {
  /** Set from a failed write to the next one that succeeds. */
  readonly failure: WriteFailure | undefined;
  succeeded(): void;
  failed(operation: string, error: Error): void;
  /**
   * Tries a write, unless one has just succeeded. Calls that come while one is being tried share it.
   * @throws {Refusal} `store_unavailable`, naming the reason
   */
  probe(): Promise<void>;
};

export type WriteHealthOptions = {
  /** Resolves if a write reached the disk just now. */
  readonly tryWrite: () => Promise<void>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  readonly timeoutMs: number;
  readonly onFailure: (operation: string, error: Error) => void;
};

/** A probe that finds a success this recent does not write again. */
const PROBE_AFTER_MS = 5000;
/** Shorter than the probes of an orchestrator are patient. */
const PROBE_TIMEOUT_MS = 2000;

/** Remembers how the last write went, and tries one where nobody has written lately. */
export function createWriteHealth({ tryWrite, now, monotonic, timeoutMs, onFailure }: WriteHealthOptions): WriteHealth {
  let failure: WriteFailure | undefined;
  let lastSuccessAt = monotonic();
  let probing: Promise<void> | undefined;

  function succeeded(): void {
    failure = undefined;
    lastSuccessAt = monotonic();
  }

  function failed(operation: string, error: Error): void {
    failure = { reason: error.message, since: failure?.since ?? now() };
    onFailure(operation, error);
  }

  async function write(): Promise<void> {
    try {
      await within(tryWrite(), Math.min(timeoutMs, PROBE_TIMEOUT_MS));
      succeeded();
    } catch (error) {
      failed('ready', error as Error);
      throw storeUnavailable(`Writing fails: ${(error as Error).message}`, undefined, error);
    } finally {
      probing = undefined;
    }
  }

  return {
    get failure() {
      return failure;
    },
    succeeded,
    failed,
    async probe() {
      if (failure === undefined && monotonic() - lastSuccessAt < PROBE_AFTER_MS) return;
      probing ??= write();
      await probing;
    },
  };
}

function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer from the store within ${ms / 1000} s`)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
