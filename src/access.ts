import type { Context, Middleware } from 'koa';
import { toIso } from './instant.ts';
import { Problem } from './problem.ts';
import type { Scope, Token, Tokens } from './tokens.ts';

/** Whether a request may do what it asks for. */
export type Access = {
  /** Goes before what a route does. @throws {Problem} 401 without a valid token, 403 when the token is for other things (RFC 6750) */
  may(scope: Scope): Middleware;
};

const CHALLENGE = 'Bearer realm="gitops-status-server"';

/**
 * @param tokens what may be done by whom, asked anew for each request; undefined: access control is off, and all may do all
 * @param now milliseconds since the epoch
 */
export function createAccess(tokens: (() => Tokens) | undefined, now: () => number): Access {
  if (tokens === undefined) return { may: () => (_ctx, next) => next() };
  return {
    may: (scope) => (ctx, next) => {
      admit(ctx, scope, tokens(), now());
      return next();
    },
  };
}

/** Who sent the request, whether it was let in or not; undefined when that is not known, or was not asked for. */
export function tokenOf(ctx: Context): Token | undefined {
  return ctx.state.token as Token | undefined;
}

/** @throws {Problem} 403 when the request's token is not for this source */
export function requireSource(ctx: Context, scope: Scope, { repo, server }: { repo: string; server: string }): void {
  const token = tokenOf(ctx);
  if (token === undefined || token.isFor(repo, server)) return;
  throw forbidden(`The token ${token.name} may not ${scope} server ${server} of repo ${repo}`, scope);
}

function admit(ctx: Context, scope: Scope, { anonymous, find }: Tokens, now: number): void {
  const header = ctx.get('Authorization');
  if (header === '') {
    if (anonymous.has(scope)) return;
    throw unauthorized('A token is needed: send the header Authorization: Bearer TOKEN');
  }
  const [, sent] = /^Bearer +([!-~]+) *$/i.exec(header) ?? [];
  if (sent === undefined) throw unauthorized('The header Authorization must be: Bearer TOKEN');
  const token = find(sent);
  // also where none is needed: whoever sends a token expects it to count
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

function forbidden(detail: string, scope: Scope): Problem {
  const challenge = `${CHALLENGE}, error="insufficient_scope", scope="${scope}"`;
  return new Problem(403, 'Forbidden', detail, { reason: 'forbidden', headers: { 'WWW-Authenticate': challenge } });
}
