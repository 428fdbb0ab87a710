import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { Context, Middleware, Next } from 'koa';
import { type PendingAnswer, createPipelining } from './pipelining.ts';
import { createStallWatch } from './stalls.ts';
import type { Held, Unread } from './unread.ts';

export type DeliveryOptions = {
  readonly unread: Unread;
  /** Whoever takes nothing for so long is cut off. */
  readonly stallMs: number;
};

/**
 * A reader is given so much at a time, and the next when it has taken that: one that does not read costs no more, though the body is
 * larger. (Over TLS each reader has a copy of its own of what was written.) Smaller bodies are sent in one go.
 */
const SLICE_BYTES = 32_768;

/** Stands around everything else: it sends what the routes, or refusals, have made. Answers to reads are made when it is their turn. */
export function createDelivery({ unread, stallMs }: DeliveryOptions): Middleware {
  const pipelining = createPipelining();
  const watchStalls = createStallWatch(stallMs);
  return async function deliver(ctx: Context, next: Next): Promise<void> {
    const answer = pipelining.enter(ctx.req, ctx.res);
    if (answer === undefined) {
      ctx.respond = false;
      return;
    }
    watchStalls(ctx.req.socket);
    if (ctx.method === 'GET' || ctx.method === 'HEAD') await answer.turn();
    await next();
    if (ctx.respond !== false && ctx.status !== 304 && ctx.method !== 'HEAD') sendBody(ctx, answer, unread);
  };
}

/** Sends what is large, or streamed; small bodies are left to Koa. */
function sendBody(ctx: Context, answer: PendingAnswer, unread: Unread): void {
  const body = toLarge(ctx.body);
  if (body === undefined) return;
  ctx.respond = false;
  const { res } = ctx;
  const cut = (): void => void ctx.req.socket.destroy();
  let held: Held | undefined;
  answer.onClose(() => {
    held?.release();
    // whatever would still be rendered is not
    if (body instanceof Readable) body.destroy();
  });

  async function give(portion: Buffer): Promise<void> {
    held = unread.hold(portion, cut);
    for (let start = 0; start < portion.length; start += SLICE_BYTES) {
      await taken(res, portion.subarray(start, start + SLICE_BYTES));
      held.progress();
    }
    held.release();
  }

  async function giveAll(): Promise<void> {
    if (body instanceof Readable) for await (const portion of body) await give(portion as Buffer);
    else await give(body as Buffer);
    res.end();
  }

  giveAll()
    .catch((error: Error) => {
      if (res.writableEnded) return;
      // the body broke; else the reader has left
      if (!ctx.req.socket.destroyed) ctx.onerror(error);
      // whoever has a part of it must not take that for the whole
      if (!res.writableEnded) cut();
    })
    .finally(() => held?.release());
}

function toLarge(body: unknown): Buffer | Readable | undefined {
  if (body instanceof Readable) return body;
  if (typeof body === 'string') return Buffer.byteLength(body) > SLICE_BYTES ? Buffer.from(body) : undefined;
  return Buffer.isBuffer(body) && body.length > SLICE_BYTES ? body : undefined;
}

/** Resolves when the operating system has taken the slice for the reader. */
function taken(response: ServerResponse, slice: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    response.write(slice, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
