import { constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { promisify } from 'node:util';
import pino, { type Logger } from 'pino';
import { serializeError } from './error-serializer.ts';

export type Output = {
  /** Takes a line, with its line break. Never waits and never throws. */
  write(line: string): void;
  /** Begins to write what has gathered. */
  flush(): void;
  /** Resolves when everything is written or dropped, and after `timeoutMs` at the latest. */
  drain(timeoutMs: number): Promise<void>;
  /** Calls back with the number of lines whenever some are dropped, and at once for those that already were. */
  onDrop(callback: (lines: number) => void): void;
};

const STDOUT = 1;
/** A write costs more than a line, so lines gather until there are so many characters of them, or for so long. */
const GATHERED_LENGTH = 8192;
const GATHERED_MS = 500;
/** Characters that wait for a reader, some 5,000 lines. At the bound new lines are dropped. */
const MAX_WAITING_LENGTH = 1_048_576;
/** How long until the next try while nobody reads; it doubles each time. */
const MIN_RETRY_MS = 1;
const MAX_RETRY_MS = 100;
const LINE_BREAK = Buffer.from('\n');
const NOTHING = Buffer.alloc(0);

/** The log: JSON lines on standard output. */
export function openLog(level: string): { log: Logger; output: Output } {
  const output = createOutput(openTarget());
  const log = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err: serializeError } },
    output,
  );
  // Node would print them on standard error, and wait until they are taken
  process.removeAllListeners('warning').on('warning', (warning) => log.warn({ err: warning }, 'a warning of Node'));
  return { log, output };
}

/**
 * Holds up nobody, whatever becomes of the target. What nobody reads waits, within a bound. What cannot be written (the disk is full,
 * the reader is gone) is dropped at once; the lines after it are tried anew.
 */
function createOutput(target: Target): Output {
  let gathered = '';
  /** What is being written: all that had gathered when the write before was done. */
  let chunk = NOTHING;
  /** The last byte written was in the middle of a line. */
  let isMidLine = false;
  /** The rest of that line was dropped. */
  let isTorn = false;
  let isInFlight = false;
  let isPumping = false;
  let pumped = Promise.resolve();
  let droppedLines = 0;
  let onDrop = (lines: number): void => {
    droppedLines += lines;
  };

  function flush(): void {
    if (!isPumping) pumped = pump();
  }

  /** Writes until nothing is left: there are never two writes at a time. */
  async function pump(): Promise<void> {
    isPumping = true;
    for (let retryMs = MIN_RETRY_MS; hasMore();) {
      try {
        const written = target.write(isTorn ? LINE_BREAK : chunk);
        // no await where it is done: should the process end now, nothing may be written twice
        takeOff(typeof written === 'number' ? written : await inFlight(written));
        retryMs = MIN_RETRY_MS;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') {
          await sleep(retryMs, undefined, { ref: false });
          retryMs = Math.min(2 * retryMs, MAX_RETRY_MS);
        } else drop();
      }
    }
    isPumping = false;
  }

  function hasMore(): boolean {
    if (chunk.length === 0 && gathered !== '') {
      chunk = Buffer.from(gathered);
      gathered = '';
    }
    return chunk.length > 0;
  }

  async function inFlight(writing: Promise<number>): Promise<number> {
    isInFlight = true;
    try {
      return await writing;
    } finally {
      isInFlight = false;
    }
  }

  function takeOff(bytes: number): void {
    if (isTorn) {
      isTorn = false;
      return;
    }
    isMidLine = bytes < chunk.length && chunk[bytes - 1] !== LINE_BREAK[0];
    chunk = chunk.subarray(bytes);
  }

  function drop(): void {
    const lines = countLines(chunk);
    chunk = NOTHING;
    isTorn ||= isMidLine;
    isMidLine = false;
    onDrop(lines);
  }

  setInterval(flush, GATHERED_MS).unref();
  process.on('exit', () => {
    // a write that is in flight is completed by its thread
    writeLast(target.descriptor, isInFlight ? Buffer.from(gathered) : Buffer.concat([chunk, Buffer.from(gathered)]));
  });

  return {
    write(line) {
      if (chunk.length + gathered.length + line.length > MAX_WAITING_LENGTH) {
        onDrop(1);
        return;
      }
      gathered += line;
      if (gathered.length >= GATHERED_LENGTH) flush();
    },
    flush,
    async drain(timeoutMs) {
      flush();
      await Promise.race([pumped, sleep(timeoutMs)]);
    },
    onDrop(callback) {
      onDrop = callback;
      if (droppedLines > 0) callback(droppedLines);
    },
  };
}

/** What can be written without waiting, when there is no time left to wait. */
function writeLast(descriptor: number, bytes: Buffer): void {
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
  } catch {
    // nobody takes it, and nobody is left to be told
  }
}

function countLines(chunk: Buffer): number {
  let lines = 0;
  for (let at = chunk.indexOf(LINE_BREAK); at !== -1; at = chunk.indexOf(LINE_BREAK, at + 1)) lines += 1;
  return lines;
}

type Target = {
  readonly descriptor: number;
  /**
   * @returns how many bytes were taken, which may be fewer
   * @throws, or rejects with, the system's error; `EAGAIN` when nothing can be taken now
   */
  write(bytes: Buffer): number | Promise<number>;
};

function openTarget(): Target {
  const stats = fstatSync(STDOUT);
  const isTerminal = isatty(STDOUT);
  if (!isTerminal && !stats.isFIFO() && !stats.isSocket()) return fileTarget();
  const descriptor = openAgain();
  if (descriptor !== undefined) return immediateTarget(descriptor);
  if (isTerminal) return fileTarget();
  // Node makes it non-blocking when it is first asked for
  void process.stdout;
  return immediateTarget(STDOUT);
}

/** A file takes everything or fails, but its disk may be slow: a thread of Node's pool writes. */
function fileTarget(): Target {
  const writeInThread = promisify(write);
  return {
    descriptor: STDOUT,
    write: async (bytes) => (await writeInThread(STDOUT, bytes)).bytesWritten,
  };
}

/** Pipes, sockets and terminals: whoever writes to one that is full waits, if it blocks, and a thread that waits keeps Node from ending. */
function immediateTarget(descriptor: number): Target {
  return { descriptor, write: (bytes) => writeSync(descriptor, bytes) };
}

/**
 * Standard output as a file of our own, so that other processes that have it, too, do not find it non-blocking, or make it block again.
 * @returns undefined where this does not work: for sockets, without /proc, and for another user's pipe
 */
function openAgain(): number | undefined {
  try {
    return openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
}
