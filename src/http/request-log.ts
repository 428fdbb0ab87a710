import type { Context } from 'koa';
import type { Logger } from 'pino';
import type { Refusal } from '../core/refusal.ts';
import { tokenOf } from './authorization.ts';
import { statusOf } from './problem.ts';

/** One request that has been answered. */
export type Answered = {
  readonly ctx: Context;
  /** Undefined: it was served. */
  readonly refusal: Refusal | undefined;
  readonly requestId: string;
  /** Milliseconds. */
  readonly ms: number;
};

const MAX_POINTERS = 5;

/** The line of a report: which source, what became of it, but nothing else of its content. */
export function logReport(log: Logger, { ctx, refusal, requestId, ms }: Answered): void {
  const { repo, server } = (ctx.state.source ?? {}) as { repo?: string; server?: string };
  const line = {
    repo,
    server,
    result: ctx.state.result as string,
    status: ctx.status,
    ms: round(ms),
    token: tokenOf(ctx)?.name,
    request_id: requestId,
  };
  if (refusal === undefined) {
    log.info(line, 'report');
    return;
  }
  const { reason } = refusal;
  const refused = { ...line, result: 'rejected', reason, broken: pointersOf(refusal), ...addressOf(ctx, refusal) };
  if (statusOf(refusal) < 500) log.warn(refused, 'report');
  else log.error({ ...refused, err: refusal.cause }, 'report');
}

/** The line of any other request; only deletions and what goes wrong are shown at the level `info`. */
export function logRequest(log: Logger, { ctx, refusal, requestId, ms }: Answered): void {
  const line = {
    method: ctx.method,
    path: ctx.path,
    status: ctx.status,
    ms: round(ms),
    token: tokenOf(ctx)?.name,
    request_id: requestId,
  };
  if (refusal !== undefined && statusOf(refusal) >= 500)
    log.error({ ...line, err: refusal.cause ?? refusal.message }, 'request');
  else if (refusal?.reason === 'unauthorized' || refusal?.reason === 'forbidden')
    log.warn({ ...line, reason: refusal.reason, ...addressOf(ctx, refusal) }, 'request');
  else if (ctx.method === 'DELETE') log.info(line, 'request');
  else log.debug(line, 'request');
}

/** Where rules are broken, not what broke them: values of the body stay out of the log. */
function pointersOf({ errors }: Refusal): readonly string[] | undefined {
  return errors && [...new Set(errors.map(({ pointer }) => pointer))].slice(0, MAX_POINTERS);
}

/** The only trace of a client whose token is not known. */
function addressOf(ctx: Context, { reason }: Refusal): { client_address?: string } {
  return reason === 'unauthorized' ? { client_address: ctx.ip } : {};
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
