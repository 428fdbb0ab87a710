import type { Logger } from 'pino';

export type Shutdown = {
  /** True from the first signal on. */
  isStopping(): boolean;
  /** What the first signal waits for before the process ends; until this is called there is nothing to wait for. */
  closeWith(close: () => Promise<void>): void;
};

/** Less than what is promised: after it the process ends, whatever still hangs. */
const STOP_TIMEOUT_MS = 9_500;
/** For the last lines of the log, if nobody reads them. */
const DRAIN_TIMEOUT_MS = 300;
/** A signal within this time of the first is the same one again, where it may come twice. */
const REPEAT_MS = 1000;
const SIGNAL_NUMBERS = { SIGINT: 2, SIGTERM: 15 };

type SignalOptions = {
  readonly log: Logger;
  /** Resolves when what the log still holds is written, and after `timeoutMs` at the latest. */
  readonly drainLog: (timeoutMs: number) => Promise<void>;
  /** Under npm: a terminal signals all its processes, and npm passes its own signal on. */
  readonly maySignalTwice: boolean;
};

/**
 * Handles SIGTERM, SIGINT and SIGHUP from now on, in the place of `early-signals.ts`: the first one ends the process in good order, a
 * second one at once. SIGHUP says that the terminal was closed.
 */
export function handleSignals({ log, drainLog, maySignalTwice }: SignalOptions): Shutdown {
  let stoppedAt: number | undefined;
  // until the service listens nothing is under way, and what is on disk is whole
  let close = async (): Promise<void> => {};

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.removeAllListeners(signal).on(signal, () => stop(signal));
  }

  function stop(signal: keyof typeof SIGNAL_NUMBERS | 'SIGHUP'): void {
    if (stoppedAt !== undefined) {
      // of a terminal that is closed both the system and the shell tell, and neither is in a hurry
      if (signal === 'SIGHUP' || (maySignalTwice && performance.now() - stoppedAt < REPEAT_MS)) return;
      process.exit(128 + SIGNAL_NUMBERS[signal]);
    }
    stoppedAt = performance.now();
    log.info({ signal }, 'stopping');
    setTimeout(() => void finish(1, 'stopped before everything had finished'), STOP_TIMEOUT_MS).unref();
    void close().then(() => finish(0, 'stopped'));
  }

  async function finish(code: number, message: string): Promise<void> {
    log.info(message);
    await drainLog(DRAIN_TIMEOUT_MS);
    process.exit(code);
  }

  return {
    isStopping: () => stoppedAt !== undefined,
    closeWith(closeAll) {
      close = closeAll;
    },
  };
}
