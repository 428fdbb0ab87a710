import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Context, Middleware, Next } from 'koa';
import type { Logger } from 'pino';
import { Refusal } from '../core/refusal.ts';
import { mayHoldPassword } from '../core/validation-errors.ts';
import { StoreError } from '../store/store.ts';
import { drain, isUnread } from './drain.ts';
import type { Metrics } from './metrics.ts';
import { headersOf, renderProblem, statusOf } from './problem.ts';
import { logReport, logRequest } from './request-log.ts';
import { checkTarget, normalizeTarget } from './target.ts';

export type RequestOptions = {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly newRequestId: () => string;
  /** True from the signal to stop on: connections are then not kept. */
  readonly isStopping: () => boolean;
  /** Whether the connection broke off in the middle of the request, or of what follows it, and its client was told so or has left. */
  readonly isBroken: (request: IncomingMessage) => boolean;
};

const REQUEST_ID = /^[\w.:/+=@-]{1,128}$/;

/** Stands around every request: gives it an id, turns what was thrown into a problem, logs it and measures it. */
export function createRequestMiddleware(options: RequestOptions): Middleware {
  const { metrics, log, newRequestId, isStopping, isBroken } = options;
  return async function handleRequest(ctx: Context, next: Next): Promise<void> {
    const startedAt = performance.now();
    const requestId = requestIdOf(ctx) ?? newRequestId();
    ctx.set({ 'X-Request-Id': requestId, 'X-Content-Type-Options': 'nosniff' });
    ctx.req.url = normalizeTarget(ctx.originalUrl);
    const refusal = await attempt(ctx, next);
    if (refusal !== undefined) sendProblem(ctx, refusal, requestId);
    // a body that was not read to its end, or not at all
    if (isUnread(ctx.req) && !(await drain(ctx.req))) ctx.set('Connection', 'close');
    // asked when the answer begins: the signal may have come while the request was under way
    if (isStopping()) ctx.set('Connection', 'close');
    if (ctx.body instanceof Readable) ctx.res.once('close', finish);
    else finish();

    function finish(): void {
      // its refusal reaches nobody, and it was no report
      const isLost = refusal !== undefined && isBroken(ctx.req);
      const ms = performance.now() - startedAt;
      const route = routeOf(ctx);
      if (!isLost) metrics.requestDone(ctx.method, route, ctx.status, ms);
      const answered = { ctx, refusal, requestId, ms };
      // a list has told of each report already
      if (ctx.state.isListAnswered === true) return;
      if (ctx.method === 'POST' && route === '/api/status') {
        if (refusal !== undefined && !isLost) metrics.reportRejected(refusal.reason);
        // of one that breaks off nobody else tells which source it was for
        if (!isLost || !ctx.req.complete) logReport(log, answered);
      } else if (!isLost) {
        logRequest(log, answered);
      }
    }
  };
}

/**
 * What Koa calls for errors that no middleware has caught: of a body that breaks off, or of the middleware above itself. Koa's own answer
 * would be text, without any of the headers.
 */
export function answerFailure(ctx: Context, error: Error | null | undefined): void {
  // called for every response that ends
  if (error === null || error === undefined) return;
  ctx.app.emit('error', error, ctx);
  if (ctx.headerSent || !ctx.writable) return;
  sendProblem(ctx, toRefusal(error), ctx.response.get('X-Request-Id'));
  ctx.res.end(ctx.body);
}

/** The client's own id, where it can stand in a header and a log. */
function requestIdOf(ctx: Context): string | undefined {
  const sent = ctx.get('X-Request-Id');
  return REQUEST_ID.test(sent) ? sent : undefined;
}

/** Runs the route. Returns why it was refused; undefined: it was served. */
async function attempt(ctx: Context, next: Next): Promise<Refusal | undefined> {
  try {
    checkTarget(ctx.originalUrl);
    await next();
    return undefined;
  } catch (error) {
    return toRefusal(error);
  }
}

function sendProblem(ctx: Context, refusal: Refusal, requestId: string): void {
  ctx.status = statusOf(refusal);
  // of the answer that had been begun
  for (const name of ['Content-Encoding', 'ETag', 'X-Truncated']) ctx.remove(name);
  ctx.set(headersOf(refusal));
  ctx.type = 'application/problem+json';
  ctx.body = renderProblem(refusal, requestId);
}

/** The one place where whatever was thrown becomes something that a client may see. */
export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof StoreError) {
    return new Refusal('store_unavailable', 'The store could not be read', { cause: error });
  }
  const { status, message } = error as { status?: number; message: string };
  // what the body parser throws; it quotes what stands there
  if (status === 400)
    return new Refusal(
      'malformed',
      `The body is not JSON: ${mayHoldPassword(message) ? 'it cannot be read' : message}`,
    );
  const detail = 'Something went wrong here; the log has it under this request_id';
  return new Refusal('internal', detail, { cause: error });
}

/** The route's pattern, never the path: paths are without number. */
function routeOf(ctx: Context): string {
  const route = ctx._matchedRoute as string | undefined;
  if (route === undefined) return 'unmatched';
  return route.includes(':') ? route.replace(/:(\w+)/g, '{$1}') : route;
}
