import { Readable, pipeline } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { constants, createGzip, gzip } from 'node:zlib';
import type { Context } from 'koa';
import { namesEtag } from './etag.ts';

const gzipAsync = promisify(gzip);
/** Most of the gain for a fraction of the time: a scrape every few seconds must not cost a core. */
const GZIP = { level: constants.Z_BEST_SPEED };
const MIN_GZIP_BYTES = 1024;
/** Portions that are smaller are put together: many writes cost more than few. */
const MIN_SENT_CHARS = 262_144;
/** Of a stream: in fewer and larger pieces than zlib's own 16 KiB. */
const GZIP_STREAM = { ...GZIP, chunkSize: 131_072 };
const NOTHING_AHEAD = { objectMode: false, highWaterMark: 0 };

/** A body that many readers share, with its gzip twin once somebody has asked for that. */
export type SharedBody = { readonly plain: Buffer; gzipped: Promise<Buffer> | undefined };

export function toSharedBody(body: string | Buffer): SharedBody {
  return { plain: typeof body === 'string' ? Buffer.from(body) : body, gzipped: undefined };
}

/**
 * Begins the answer to a read: 200, its type, its validator.
 * @param etag identifies the state that is shown, without quotes; weak, because gzip and plain text share it
 * @returns false when the client has this state already; then the answer is 304 and complete
 */
export function beginRead(ctx: Context, type: string, etag?: string): boolean {
  ctx.status = 200;
  ctx.type = type;
  ctx.set('Cache-Control', 'no-cache');
  ctx.vary('Accept-Encoding');
  if (etag === undefined) return true;
  ctx.set('ETag', toEtagHeader(etag));
  // Koa's `fresh` would send it again to a request with `Cache-Control: no-cache`, which `fetch` adds to every If-None-Match by itself
  if (!namesEtag(ctx.get('If-None-Match'), etag)) return true;
  ctx.status = 304;
  return false;
}

/** @param etag as `beginRead` takes it */
export function toEtagHeader(etag: string): string {
  return `W/"${etag}"`;
}

export async function sendShared(ctx: Context, body: SharedBody): Promise<void> {
  if (body.plain.length >= MIN_GZIP_BYTES && wantsGzip(ctx)) {
    body.gzipped ??= gzipAsync(body.plain, GZIP);
    ctx.set('Content-Encoding', 'gzip');
    ctx.body = await body.gzipped;
  } else {
    ctx.body = body.plain;
  }
}

/**
 * Sends portions as they are rendered: the next one when the reader has taken the one before. Between two of them the event loop is free
 * for others. When the reader leaves, nothing more is rendered.
 */
export function sendPortions(ctx: Context, portions: AsyncIterable<string> | Iterable<string>): void {
  const isGzip = wantsGzip(ctx);
  if (isGzip) ctx.set('Content-Encoding', 'gzip');
  // without a body there is nothing to render; a stream has no length
  const stream = ctx.method === 'HEAD' ? Readable.from([]) : Readable.from(paced(portions), NOTHING_AHEAD);
  // an error or a reader that goes away ends both; Koa hears of it from the body
  ctx.body = isGzip ? pipeline(stream, createGzip(GZIP_STREAM), () => {}) : stream;
}

async function* paced(portions: AsyncIterable<string> | Iterable<string>): AsyncGenerator<Buffer> {
  let text = '';
  for await (const portion of portions) {
    text += portion;
    if (text.length >= MIN_SENT_CHARS) {
      yield Buffer.from(text);
      text = '';
    }
    await nextTurn();
  }
  if (text !== '') yield Buffer.from(text);
}

function wantsGzip(ctx: Context): boolean {
  return ctx.acceptsEncodings('gzip', 'identity') === 'gzip';
}
