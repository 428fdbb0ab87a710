/** Bounds the log lines that strangers can cause: a scanner must not fill the disk. */
export type LineLimit = {
  /** Whether one more may be written now. */
  allows(): boolean;
  /** Tells of those that were held back and not told of yet. */
  close(): void;
};

/**
 * @param maxLines in `windowMs`, which begins with the first of them
 * @param onHeldBack is told at the end of it how many more there would have been, if any
 */
export function createLineLimit(maxLines: number, windowMs: number, onHeldBack: (lines: number) => void): LineLimit {
  let lines = 0;
  let timer: NodeJS.Timeout | undefined;

  function close(): void {
    clearTimeout(timer);
    timer = undefined;
    if (lines > maxLines) onHeldBack(lines - maxLines);
    lines = 0;
  }

  return {
    allows() {
      timer ??= setTimeout(close, windowMs).unref();
      lines += 1;
      return lines <= maxLines;
    },
    close,
  };
}
