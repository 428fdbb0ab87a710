import type { Context, Middleware } from 'koa';
import { authenticate, authorize } from '../access/authorize.ts';
import type { Scope, Token, Tokens } from '../access/tokens.ts';

/** Makes the middleware that stands before a route: it lets through whoever may do what the scope names. */
export type RequireScope = (scope: Scope) => Middleware;

/**
 * @param tokens who may do what, asked anew for each request; undefined: access control is off, and everybody may do everything
 * @param now milliseconds since the epoch
 */
export function createRequireScope(tokens: (() => Tokens) | undefined, now: () => number): RequireScope {
  if (tokens === undefined) return () => (_ctx, next) => next();
  return (scope) => (ctx, next) => {
    const current = tokens();
    // noted before it is judged, so that the log names also the tokens that are refused
    const token = authenticate(ctx.get('Authorization'), current);
    ctx.state.token = token;
    authorize(token, scope, current, now());
    return next();
  };
}

/** Who sent the request, whether it was let in or not; undefined when that is not known, or was not asked for. */
export function tokenOf(ctx: Context): Token | undefined {
  return ctx.state.token as Token | undefined;
}
