import { Readable } from 'node:stream';
import type { Context, Middleware, Next } from 'koa';
import { type PendingAnswer, createPipelining } from './pipelining.ts';
import { type WriteSlices, createSlices } from './slices.ts';
import { createStallWatch } from './stalls.ts';
import type { Held, Unread } from './unread.ts';

export type DeliveryOptions = {
  readonly unread: Unread;
  /** Whoever takes nothing for so long is cut off. */
  readonly stallMs: number;
};

/** Is sent in one go and not counted. */
const SMALL_BYTES = 32_768;

/** Stands around everything else: it sends what the routes, or refusals, have made. Answers to reads are made when it is their turn. */
export function createDelivery({ unread, stallMs }: DeliveryOptions): Middleware {
  const pipelining = createPipelining();
  const watchStalls = createStallWatch(stallMs);
  const writeSlices = createSlices();
  return async function deliver(ctx: Context, next: Next): Promise<void> {
    const answer = pipelining.enter(ctx.req, ctx.res);
    if (answer === undefined) {
      ctx.respond = false;
      return;
    }
    watchStalls(ctx.req.socket);
    if (ctx.method === 'GET' || ctx.method === 'HEAD') await answer.turn();
    await next();
    if (ctx.respond !== false && ctx.status !== 304 && ctx.method !== 'HEAD') {
      sendBody(ctx, answer, unread, writeSlices);
    }
  };
}

/** Sends what is large, or streamed; small bodies are left to Koa. */
function sendBody(ctx: Context, answer: PendingAnswer, unread: Unread, writeSlices: WriteSlices): void {
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
    await writeSlices(res, portion, held.progress);
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
  if (typeof body === 'string') return Buffer.byteLength(body) > SMALL_BYTES ? Buffer.from(body) : undefined;
  return Buffer.isBuffer(body) && body.length > SMALL_BYTES ? body : undefined;
}
