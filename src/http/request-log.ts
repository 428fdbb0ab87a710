import type { Context } from 'koa';
import type { Logger } from 'pino';
import type { Refusal } from '../core/refusal.ts';
import { tokenOf } from './authorization.ts';
import { statusOf } from './problem.ts';
import { shorten } from './target.ts';

/** One request that has been answered. */
export type Answered = {
  readonly ctx: Context;
  /** Undefined: it was served. */
  readonly refusal: Refusal | undefined;
  readonly requestId: string;
  /** Milliseconds. */
  readonly ms: number;
};

/** What a deletion has done. */
export type Deletion = {
  /** As the client gave them. */
  readonly filters: Readonly<Record<string, string | string[] | undefined>>;
  readonly removed: readonly { readonly repo: string; readonly server: string }[];
  /** How many could not be removed; of some, that may be known too late. */
  readonly failed: number;
};

const MAX_POINTERS = 5;
/** Further names of sources, and further values of a filter, are left out. */
const MAX_NAMES = 100;
const MAX_FILTER_CHARS = 1000;

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
    path: shorten(hideSecrets(ctx.path)),
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

/** Who has deleted what: one line for each deletion, the ones of nothing and the ones that broke off too. */
export function logDeletion(log: Logger, ctx: Context, { filters, removed, failed }: Deletion): void {
  const token = tokenOf(ctx)?.name;
  log.info(
    {
      ...(token === undefined ? { client_address: ctx.ip } : { token }),
      filters: Object.fromEntries(Object.entries(filters).map(([name, value]) => [name, showFilter(value)])),
      deleted: removed.length,
      sources: removed.slice(0, MAX_NAMES).map(({ repo, server }) => hideSecrets(`${repo} ${server}`)),
      failed: failed === 0 ? undefined : failed,
      request_id: ctx.response.get('X-Request-Id'),
    },
    'deleted sources',
  );
}

function showFilter(value: string | string[] | undefined): string | string[] | undefined {
  if (value === undefined) return undefined;
  if (Array.isArray(value))
    return value.slice(0, MAX_NAMES).map((text) => shorten(hideSecrets(text), MAX_FILTER_CHARS));
  return shorten(hideSecrets(value), MAX_FILTER_CHARS);
}

/**
 * Names and paths are what clients make them. A password in a URL (`user:secret@host`), and a query or fragment that was encoded by
 * mistake, stay out of the log, however often they were encoded.
 */
function hideSecrets(text: string): string {
  const onceEncoded = text.replace(/%(?:25)+/g, '%');
  const parts = onceEncoded.replace(/([?#;=]|%3f|%23|%3b|%3d).*$/is, '$1***').split(/(\/|%2f| )/i);
  const hidden = parts.map(hidePassword).join('');
  return hidden === onceEncoded ? text : hidden;
}

/** By hand, because a regular expression for it would take time for the square of the length. */
function hidePassword(part: string): string {
  const start = part.search(/:|%3a/i);
  const end = Math.max(part.lastIndexOf('@'), part.lastIndexOf('%40'));
  return start === -1 || start > end ? part : `${part.slice(0, start)}:***${part.slice(end)}`;
}

/** Where rules are broken, not what broke them: values of the body stay out of the log. */
export function pointersOf({ errors }: Refusal): readonly string[] | undefined {
  return errors && [...new Set(errors.map(({ pointer }) => pointer))].slice(0, MAX_POINTERS);
}

/** The only trace of a client whose token is not known. */
function addressOf(ctx: Context, { reason }: Refusal): { client_address?: string } {
  return reason === 'unauthorized' ? { client_address: ctx.ip } : {};
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
