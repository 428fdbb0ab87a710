import type { Logger } from 'pino';

export type Shutdown = {
  /** True from the first signal on. */
  isStopping(): boolean;
  /** What the first signal waits for before the process ends; until this is called there is nothing to wait for. */
  closeWith(close: () => Promise<void>): void;
};

/** Less than what is promised: after it the process ends, whatever still hangs. */
const STOP_TIMEOUT_MS = 9_500;
const SIGNAL_NUMBERS = { SIGINT: 2, SIGTERM: 15 };

/**
 * Handles SIGTERM and SIGINT from now on, in the place of `early-signals.ts`: the first one ends the process in good order, a second
 * one at once.
 * @param flush writes out what the log still holds
 */
export function handleSignals(log: Logger, flush: () => void): Shutdown {
  let isStopping = false;
  // until the service listens nothing is under way, and what is on disk is whole
  let close = async (): Promise<void> => {};

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.removeAllListeners(signal).on(signal, () => stop(signal));
  }

  function stop(signal: keyof typeof SIGNAL_NUMBERS): void {
    if (isStopping) process.exit(128 + SIGNAL_NUMBERS[signal]);
    isStopping = true;
    log.info({ signal }, 'stopping');
    setTimeout(() => finish(1, 'stopped before everything had finished'), STOP_TIMEOUT_MS).unref();
    void close().then(() => finish(0, 'stopped'));
  }

  function finish(code: number, message: string): void {
    log.info(message);
    flush();
    process.exit(code);
  }

  return {
    isStopping: () => isStopping,
    closeWith(closeAll) {
      close = closeAll;
    },
  };
}
