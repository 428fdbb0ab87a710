import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { createBrotliDecompress, createUnzip } from 'node:zlib';
import type { Context, Middleware, Next } from 'koa';
import bodyParser from 'koa-bodyparser';
import { Refusal } from '../core/refusal.ts';
import type { BodyAccount, BodyEntry } from './body-account.ts';

const OPENING_BRACKET = 0x5b;
/** Those of JSON, and the bytes of a byte order mark. */
const BLANKS = new Set([0x20, 0x09, 0x0a, 0x0d, 0xef, 0xbb, 0xbf]);
const DECOMPRESSORS: Readonly<Record<string, typeof createUnzip | typeof createBrotliDecompress>> = {
  gzip: createUnzip,
  'x-gzip': createUnzip,
  deflate: createUnzip,
  br: createBrotliDecompress,
};

/** A list of reports may be so many times as large as one of them. */
export const LIST_FACTOR = 8;

const PARSER_OPTIONS = {
  enableTypes: ['json'],
  // what it gets is bounded already
  jsonLimit: `${Number.MAX_SAFE_INTEGER}b`,
  strict: false,
  // co-body's: a field __proto__ is JSON, and one of those that nobody reads. Nothing here copies fields that it does not know
  onProtoPoisoning: 'ignore',
};

/**
 * Reads the body within the bounds of the account and of `maxBodyBytes` (a JSON array: {@link LIST_FACTOR} times that), checks that it is UTF-8, lets koa-bodyparser make JSON of it,
 * and counts its bytes until the request is answered. Sets `ctx.request.body`, and `ctx.request.length` stays what was announced.
 * @throws {Refusal} `too_large`, `overloaded`, `unsupported_media_type` for its encoding, `malformed`
 */
export function createBodyMiddleware(account: BodyAccount, maxBodyBytes: number): Middleware {
  const parse = bodyParser({ ...PARSER_OPTIONS });
  return async function readBody(ctx: Context, next: Next): Promise<void> {
    const encoding = encodingOf(ctx);
    const announced = announcedBytes(ctx.req);
    if (announced !== undefined && announced > LIST_FACTOR * maxBodyBytes) throw tooLarge(maxBodyBytes);
    const entry = account.open(encoding === 'identity' ? announced : undefined);
    try {
      const bytes = await readAll(ctx.req, encoding, entry, maxBodyBytes);
      ctx.state.bodyBytes = bytes.length;
      await parseAs(ctx, toText(bytes), parse);
      await next();
    } finally {
      entry.close();
    }
  };
}

/** Lower case, as RFC 9110 has it. */
function encodingOf(ctx: Context): string {
  const encoding = ctx.get('Content-Encoding').trim().toLowerCase() || 'identity';
  if (encoding === 'identity' || DECOMPRESSORS[encoding] !== undefined) return encoding;
  throw new Refusal(
    'unsupported_media_type',
    'Content-Encoding must be gzip, deflate, br or identity: that of this body is not known here',
  );
}

function announcedBytes({ headers }: IncomingMessage): number | undefined {
  const header = headers['content-length'];
  return header === undefined ? undefined : Number(header);
}

/** Resolves with the whole body, decompressed. Whatever ends it early also ends the reading: nothing more is kept. */
function readAll(request: IncomingMessage, encoding: string, entry: BodyEntry, maxBytes: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const decompressor = DECOMPRESSORS[encoding]?.({});
  const source = decompressor ?? request;
  const chunks: Buffer[] = [];
  let size = 0;
  /** Undefined: there were blanks only so far. */
  let isList: boolean | undefined;
  let packedSize = 0;

  entry.onEvicted = fail;
  source.on('data', take).on('end', end).on('error', fail);
  if (decompressor !== undefined) request.on('data', countPacked).pipe(decompressor);
  request.on('error', fail).on('close', leave);
  if (request.destroyed) leave();
  return promise.finally(stop);

  function take(chunk: Buffer): void {
    try {
      size += chunk.length;
      isList ??= beginsList(chunk);
      if (size > (isList ? LIST_FACTOR : 1) * maxBytes) throw tooLarge(maxBytes);
      entry.add(chunk.length);
      chunks.push(chunk);
    } catch (error) {
      fail(error as Error);
    }
  }

  /** What unpacks to nothing has no end otherwise. */
  function countPacked(chunk: Buffer): void {
    packedSize += chunk.length;
    if (packedSize > LIST_FACTOR * maxBytes) fail(tooLarge(maxBytes));
  }

  function end(): void {
    entry.complete();
    resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size));
  }

  function leave(): void {
    if (!request.complete) fail(malformed('it broke off'));
  }

  function fail(error: Error): void {
    reject(error instanceof Refusal ? error : malformed(error.message));
    stop();
  }

  function stop(): void {
    source.off('data', take).off('end', end);
    request.off('close', leave);
    if (decompressor === undefined) return;
    request.off('data', countPacked).unpipe(decompressor);
    decompressor.destroy();
  }
}

/** Whether the first character that counts, after a byte order mark and blanks, opens a JSON array; undefined where there is none. */
function beginsList(chunk: Buffer): boolean | undefined {
  const first = chunk.find((byte) => !BLANKS.has(byte));
  return first === undefined ? undefined : first === OPENING_BRACKET;
}

/**
 * The text of a body, without a byte order mark.
 * @throws {Refusal} `malformed` where it is not UTF-8: replaced characters would make two names one
 */
function toText(bytes: Buffer): Buffer {
  if (bytes.length === 0) throw malformed('it is empty');
  if (looksLikeUtf16(bytes)) {
    throw malformed('it looks like UTF-16, which PowerShell writes unless it is told otherwise. Send UTF-8');
  }
  if (!isUtf8(bytes)) throw malformed('it is not valid UTF-8');
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

/** JSON begins with an ASCII character, which has a zero beside it in UTF-16; or there is a byte order mark. */
function looksLikeUtf16(bytes: Buffer): boolean {
  const [first, second] = bytes;
  return first === 0 || second === 0 || (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
}

/** koa-bodyparser reads from `ctx.req`: for it, that is what has been read already. */
async function parseAs(ctx: Context, bytes: Buffer, parse: Middleware): Promise<void> {
  const { req } = ctx;
  const replay = new Readable({
    read() {
      this.push(bytes);
      this.push(null);
    },
  });
  try {
    ctx.req = Object.assign(replay, { headers: {} }) as unknown as IncomingMessage;
    await parse(ctx, async () => {});
  } finally {
    ctx.req = req;
    // the text is as large as the body, and of no use any more
    ctx.request.rawBody = undefined as unknown as string;
  }
}

function tooLarge(maxBytes: number): Refusal {
  return new Refusal(
    'too_large',
    `The body is larger than MAX_BODY_BYTES allows: ${maxBytes} bytes, ${LIST_FACTOR} times that for an array of reports`,
  );
}

function malformed(what: string): Refusal {
  return new Refusal('malformed', `The body is not JSON: ${what}`);
}
