import type { Router } from '@koa/router';
import type { Context, Middleware, Next } from 'koa';
import { Refusal } from '../core/refusal.ts';
import { shorten } from './target.ts';

/** A route as it would be with other letters. */
type LooseRoute = { readonly pattern: RegExp; readonly path: string };

const SOURCE_PATH = '/api/status/{repo}/{server}';
/** The path of a source with a slash too many: a client or a proxy has decoded a `%2F`. */
const TOO_MANY_PARTS = /^\/api\/status(\/[^/]+){3,}$/;

/**
 * Stands around the router and answers what it has no route for: 404 with a hint where only the spelling is wrong, 405, and
 * `OPTIONS *`, which asks about the server as a whole.
 * @throws {Refusal} `not_found`, `method_not_allowed`
 */
export function createUnroutedMiddleware(routes: Router['stack']): Middleware {
  const methods = [...new Set(routes.flatMap((route) => route.methods))].join(', ');
  const looseRoutes = routes.map(({ regexp, path }) => ({
    pattern: new RegExp(regexp.source, 'i'),
    path: String(path).replace(/:(\w+)/g, '{$1}'),
  }));
  return async (ctx: Context, next: Next) => {
    if (ctx.method === 'OPTIONS' && ctx.originalUrl === '*') {
      ctx.status = 200;
      ctx.set('Allow', methods);
      ctx.body = '';
      return;
    }
    await next();
    if (ctx.status >= 400 && ctx.body === undefined)
      throw ctx.status === 405 ? wrongMethod(ctx) : notFound(ctx, looseRoutes);
  };
}

function wrongMethod(ctx: Context): Refusal {
  const allowed = ctx.response.get('Allow');
  return new Refusal('method_not_allowed', `${shorten(ctx.path)} takes ${allowed}, not ${ctx.method}`);
}

function notFound(ctx: Context, routes: readonly LooseRoute[]): Refusal {
  const hint = hintFor(ctx.path, routes) ?? 'See /openapi.json for what there is';
  return new Refusal('not_found', `There is nothing at ${shorten(ctx.path)}. ${hint}`);
}

function hintFor(path: string, routes: readonly LooseRoute[]): string | undefined {
  const trimmed = path.replace(/\/$/, '');
  const meant = routeLike(trimmed, routes) ?? routeLike(decode(trimmed), routes);
  if (meant !== undefined) return `Paths are exact: did you mean ${meant}?`;
  if (!TOO_MANY_PARTS.test(trimmed)) return undefined;
  return (
    `A / in the name of a repo or server is written %2F here, as in /api/status/acme%2Fweb/web-1 for ${SOURCE_PATH}. ` +
    'Where a proxy decodes it, use /api/status?repo=acme/web&server=web-1'
  );
}

function routeLike(path: string, routes: readonly LooseRoute[]): string | undefined {
  return routes.find(({ pattern }) => pattern.test(path))?.path;
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
