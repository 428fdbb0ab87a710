import { Readable } from 'node:stream';
import type { Context, Middleware, Next } from 'koa';
import type { Logger } from 'pino';
import { tokenOf } from '../access/authorize.ts';
import type { Metrics } from './metrics.ts';
import { Problem, type RejectReason, renderProblem } from './problem.ts';
import { StoreError } from '../store/store.ts';

export type BoundaryOptions = {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly newRequestId: () => string;
  readonly isStopping: () => boolean;
};

const REQUEST_ID = /^[\w.:/+=@-]{1,128}$/;
const STATUS_TITLES: Record<number, string> = { 404: 'Not found', 405: 'Method not allowed' };

/** Around every request: gives it an id, turns what was thrown into a problem, logs and measures it. */
export function createBoundary({ metrics, log, newRequestId, isStopping }: BoundaryOptions): Middleware {
  return async function boundary(ctx: Context, next: Next): Promise<void> {
    const startedAt = performance.now();
    const sent = ctx.get('X-Request-Id');
    const requestId = REQUEST_ID.test(sent) ? sent : newRequestId();
    ctx.set('X-Request-Id', requestId);
    let problem: Problem | undefined;
    try {
      await next();
      if (ctx.status >= 400 && ctx.body === undefined) problem = emptyProblem(ctx);
    } catch (error) {
      problem = toProblem(error);
    }
    if (problem !== undefined) send(ctx, problem, requestId);
    // asked when the answer begins: the signal may have come while the request was under way
    if (isStopping()) ctx.set('Connection', 'close');
    if (ctx.body instanceof Readable) ctx.res.once('close', finish);
    else finish();

    function finish(): void {
      const ms = performance.now() - startedAt;
      const route = routeOf(ctx);
      metrics.requestDone(ctx.method, route, ctx.status, ms);
      if (ctx.method === 'POST' && route === '/api/status') logReport(ctx, problem, requestId, ms);
      else logRead(ctx, problem, requestId, ms);
    }
  };

  function logReport(ctx: Context, problem: Problem | undefined, requestId: string, ms: number): void {
    const { repo, server } = (ctx.state.report ?? {}) as { repo?: string; server?: string };
    const line = {
      repo,
      server,
      result: ctx.state.result as string,
      status: ctx.status,
      ms: round(ms),
      token: tokenOf(ctx)?.name,
      request_id: requestId,
    };
    if (problem === undefined) {
      log.info(line, 'report');
      return;
    }
    const reason = problem.reason ?? 'internal';
    metrics.reportRejected(reason);
    // where, not what: values of the body stay out of the log
    const broken = problem.errors && [...new Set(problem.errors.map(({ pointer }) => pointer))].slice(0, 5);
    const refused = { ...line, result: 'rejected', reason, broken, client_address: addressOf(ctx, problem) };
    if (problem.status < 500) log.warn(refused, 'report');
    else log.error({ ...refused, err: problem.cause }, 'report');
  }

  function logRead(ctx: Context, problem: Problem | undefined, requestId: string, ms: number): void {
    const line = {
      method: ctx.method,
      path: ctx.path,
      status: ctx.status,
      ms: round(ms),
      token: tokenOf(ctx)?.name,
      request_id: requestId,
    };
    if (problem !== undefined && problem.status >= 500)
      log.error({ ...line, err: problem.cause ?? problem.message }, 'request');
    else if (problem?.reason === 'unauthorized' || problem?.reason === 'forbidden')
      log.warn({ ...line, reason: problem.reason, client_address: addressOf(ctx, problem) }, 'request');
    else if (ctx.method === 'DELETE') log.info(line, 'request');
    else log.debug(line, 'request');
  }
}

/** The only trace of a client whose token is not known. */
function addressOf(ctx: Context, problem: Problem): string | undefined {
  return problem.reason === 'unauthorized' ? ctx.ip : undefined;
}

function send(ctx: Context, problem: Problem, requestId: string): void {
  ctx.status = problem.status;
  // of the answer that had been begun
  for (const name of ['Content-Encoding', 'ETag', 'X-Truncated']) ctx.remove(name);
  ctx.set(problem.headers);
  ctx.type = 'application/problem+json';
  ctx.body = renderProblem(problem, requestId);
}

function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof StoreError) {
    return new Problem(503, 'Store unavailable', 'The store could not be read', {
      headers: { 'Retry-After': '5' },
      cause: error,
    });
  }
  const { status, message } = error as { status?: number; message: string };
  // what the body parser throws
  if (status === 413)
    return new Problem(413, 'Report too large', 'The body is larger than MAX_BODY_BYTES allows', REASON.tooLarge);
  if (status === 415) return new Problem(415, 'Unsupported media type', message, REASON.mediaType);
  if (status === 400 || isDecompressionError(error)) {
    return new Problem(400, 'Malformed body', `The body is not JSON: ${message}`, REASON.malformed);
  }
  return new Problem(500, 'Internal error', 'Something went wrong here; the log has it under this request_id', {
    reason: 'internal',
    cause: error,
  });
}

/** As zlib names its own and Brotli's. */
function isDecompressionError(error: unknown): boolean {
  return /^(Z_|ERR__ERROR_)/.test((error as NodeJS.ErrnoException).code ?? '');
}

const REASON = {
  tooLarge: { reason: 'too_large' },
  mediaType: { reason: 'unsupported_media_type' },
  malformed: { reason: 'malformed' },
} as const satisfies Record<string, { reason: RejectReason }>;

/** For a status that nobody gave a body: no route, or none for this method. */
function emptyProblem(ctx: Context): Problem {
  const detail =
    ctx.status === 405
      ? `${ctx.path} takes ${ctx.response.get('Allow')}, not ${ctx.method}`
      : `There is nothing at ${ctx.path}. See /openapi.json for what there is`;
  return new Problem(ctx.status, STATUS_TITLES[ctx.status] ?? 'Error', detail);
}

/** The route's pattern, never the path: paths are without number. */
function routeOf(ctx: Context): string {
  const route = ctx._matchedRoute as string | undefined;
  if (route === undefined) return 'unmatched';
  return route.includes(':') ? route.replace(/:(\w+)/g, '{$1}') : route;
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
