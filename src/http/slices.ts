import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * Gives a reader a body, or the next portion of one: a slice, and the next when it has taken that. Resolves when it has taken all; rejects
 * when it has left.
 * @param onProgress is called for each slice that was taken
 */
export type WriteSlices = (response: ServerResponse, body: Buffer, onProgress: () => void) => Promise<void>;

/** The first of a connection. A reader is seen to take something when it has taken a slice. */
const SLICE_BYTES = 131_072;
/** After a slice that was taken at once the next one is larger, since fewer are faster; after one that was not, it is small again. */
const GROWTH = 4;
const MAX_SLICE_BYTES = 1_048_576;
/** With TLS what is written for a reader is a copy for it alone: one that does not read must not cost more. */
const TLS_SLICE_BYTES = 32_768;
/**
 * Written in one turn of the event loop, or a little more: a few milliseconds. The operating system may take megabytes at once, for each of
 * hundreds of readers, and everything else would wait for all of that.
 */
const MAX_BYTES_PER_TURN = 4_194_304;

export function createSlices(): WriteSlices {
  const sizes = new WeakMap<Socket, number>();
  const pace = createPacer();

  async function writeSlice(response: ServerResponse, slice: Buffer): Promise<void> {
    const { socket } = response.req;
    await pace(slice.length);
    let isSameTurn = true;
    setImmediate(() => {
      isSameTurn = false;
    });
    await write(response, slice);
    sizes.set(socket, isSameTurn ? Math.min(sizeFor(socket) * GROWTH, MAX_SLICE_BYTES) : SLICE_BYTES);
  }

  function sizeFor(socket: Socket): number {
    return socket instanceof TLSSocket ? TLS_SLICE_BYTES : (sizes.get(socket) ?? SLICE_BYTES);
  }

  return async (response, body, onProgress) => {
    let start = 0;
    while (start < body.length) {
      const slice = body.subarray(start, start + sizeFor(response.req.socket));
      await writeSlice(response, slice);
      start += slice.length;
      onProgress();
    }
  };
}

/** Resolves when so many bytes may be written, in this turn or a later one. */
function createPacer(): (bytes: number) => Promise<void> | undefined {
  let waiting: (() => void)[] = [];
  let written = 0;

  function beginTurn(): void {
    const next = waiting;
    waiting = [];
    written = 0;
    for (const goOn of next) goOn();
  }

  const hasRoom = (): boolean => written < MAX_BYTES_PER_TURN;

  return async (bytes) => {
    while (!hasRoom()) await new Promise<void>((resolve) => waiting.push(resolve));
    if (written === 0) setImmediate(beginTurn);
    written += bytes;
  };
}

/** Resolves when the operating system has taken the slice for the reader. */
function write(response: ServerResponse, slice: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    response.write(slice, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
