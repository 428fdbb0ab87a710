import type { Context, Middleware } from 'koa';
import { toIso } from '../core/timestamp.ts';
import { Problem } from '../http/problem.ts';
import type { Scope, Token, Tokens } from './tokens.ts';

/**
 * Goes before what a route does, and lets through whoever may do it.
 * @throws {Problem} 401 without a valid token, 403 when the token is for other things (RFC 6750)
 */
export type May = (scope: Scope) => Middleware;

const CHALLENGE = 'Bearer realm="gitops-status-server"';

/**
 * @param tokens what may be done by whom, asked anew for each request; undefined: access control is off, and all may do all
 * @param now milliseconds since the epoch
 */
export function createMay(tokens: (() => Tokens) | undefined, now: () => number): May {
  if (tokens === undefined) return () => (_ctx, next) => next();
  return (scope) => (ctx, next) => {
    admit(ctx, scope, tokens(), now());
    return next();
  };
}

/** Who sent the request, whether it was let in or not; undefined when that is not known, or was not asked for. */
export function tokenOf(ctx: Context): Token | undefined {
  return ctx.state.token as Token | undefined;
}

/** Whether the limits of the request's token, if it has one and needs it for this, leave the source to it. */
export function isForSource(ctx: Context, scope: Scope, { repo, server }: { repo: string; server: string }): boolean {
  const token = tokenOf(ctx);
  return token === undefined || !token.scopes.has(scope) || token.isFor(repo, server);
}

/** @throws {Problem} 403 unless {@link isForSource} */
export function requireSource(ctx: Context, scope: Scope, source: { repo: string; server: string }): void {
  if (isForSource(ctx, scope, source)) return;
  throw forbidden(`The token ${tokenOf(ctx)?.name} may not ${scope} server ${source.server} of repo ${source.repo}`);
}

function admit(ctx: Context, scope: Scope, { anonymous, find }: Tokens, now: number): void {
  const header = ctx.get('Authorization');
  if (header === '') {
    if (anonymous.has(scope)) return;
    throw unauthorized('A token is needed: send the header Authorization: Bearer TOKEN');
  }
  // a wrong token is refused also where none is needed: whoever sends one expects it to count
  const [, sent] = /^Bearer +([!-~]+) *$/i.exec(header) ?? [];
  if (sent === undefined) throw unauthorized('The header Authorization must be: Bearer TOKEN');
  const token = find(sent);
  if (token === undefined) throw unauthorized('The token is not known here', true);
  ctx.state.token = token;
  if (token.expiresAt <= now) throw unauthorized(`The token ${token.name} expired at ${toIso(token.expiresAt)}`, true);
  if (token.scopes.has(scope) || anonymous.has(scope)) return;
  throw forbidden(`The token ${token.name} may ${[...token.scopes].join(' and ')}, but not ${scope}`, scope);
}

function unauthorized(detail: string, isInvalid = false): Problem {
  const challenge = isInvalid ? `${CHALLENGE}, error="invalid_token", error_description="${detail}"` : CHALLENGE;
  return new Problem(401, 'Unauthorized', detail, {
    reason: 'unauthorized',
    headers: { 'WWW-Authenticate': challenge },
  });
}

/** @param scope that the token would need, where it is that what is missing */
function forbidden(detail: string, scope?: Scope): Problem {
  const needed = scope === undefined ? '' : `, scope="${scope}"`;
  return new Problem(403, 'Forbidden', detail, {
    reason: 'forbidden',
    headers: { 'WWW-Authenticate': `${CHALLENGE}, error="insufficient_scope"${needed}` },
  });
}
