import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasBody, waitsToSend } from './expectation.ts';

/** So much of a body that nobody wants is read, for so long, and not from a sender that pauses; then the connection is closed. */
const MAX_DRAINED_BYTES = 8 * 1_048_576;
const MAX_DRAIN_MS = 10_000;
const MAX_PAUSE_MS = 1000;
/** A client that asks before it sends a body, and was not told to go on, has begun with it by then if it does not wait. */
const UNASKED_MS = 50;

/** Whether there is a body that nobody has read to its end. */
export function isUnread(request: IncomingMessage): boolean {
  return hasBody(request) && !request.readableEnded && !request.destroyed;
}

/**
 * Reads and throws away the rest of a request's body. Without it, the next request on the connection would never be read, and a client
 * that sends everything before it reads would find the connection broken instead of its answer.
 * @returns whether the body has ended, or is not sent: if not, the connection must be closed
 */
export async function drain(request: IncomingMessage): Promise<boolean> {
  return (await isHeldBack(request)) || readRest(request);
}

/** Whether its client sends its body only when it is told to, and nobody has told it. */
async function isHeldBack(request: IncomingMessage): Promise<boolean> {
  if (request.readableFlowing !== null || !waitsToSend(request)) return false;
  await sleep(UNASKED_MS);
  return request.readableLength === 0;
}

function readRest(request: IncomingMessage): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), MAX_DRAIN_MS);
  const pause = setTimeout(() => resolve(false), MAX_PAUSE_MS);
  let bytes = 0;

  const count = (chunk: Buffer): void => {
    bytes += chunk.length;
    pause.refresh();
    if (bytes > MAX_DRAINED_BYTES) resolve(false);
  };
  const end = (): void => resolve(true);
  const leave = (): void => resolve(request.complete);
  request.unpipe();
  request.on('data', count).on('end', end).on('close', leave).on('error', leave);
  request.resume();
  return promise.finally(() => {
    clearTimeout(timer);
    clearTimeout(pause);
    request.off('data', count).off('end', end).off('close', leave);
  });
}
