import type { Context } from 'koa';
import { Refusal } from '../../core/refusal.ts';
import type { Store } from '../../store/store.ts';
import { beginRead, sendShared, toSharedBody } from '../response.ts';
import { toDetail } from '../source-json.ts';

const MAX_DRIFTS = 50;

/**
 * `GET /api/status/{repo}/{server}`: one source in full.
 * @param bootId what ETags begin with
 * @param now milliseconds since the epoch
 */
export function createSourceDetailRoute(
  store: Store,
  bootId: string,
  now: () => number,
): (ctx: Context) => Promise<void> {
  return async (ctx) => {
    const { repo, server } = sourceParams(ctx);
    const detail = await store.detail(repo, server, MAX_DRIFTS);
    if (detail === null) throw unknownSource(repo, server);
    const at = now();
    // other states of the same version are those that time makes: it becomes STALE, and open drifts grow
    const { version, files, staleAt } = detail.snapshot;
    const state = files.length > 0 ? at : at >= staleAt;
    if (!beginRead(ctx, 'json', `${bootId}.${detail.id}.${version}.${state}`)) return;
    await sendShared(ctx, toSharedBody(`${JSON.stringify(toDetail(detail, at))}\n`));
  };
}

/** What the path names. */
export function sourceParams(ctx: Context): { readonly repo: string; readonly server: string } {
  const { repo = '', server = '' } = ctx.params as Record<string, string>;
  return { repo, server };
}

export function unknownSource(repo: string, server: string): Refusal {
  return new Refusal('unknown_source', `No report of server ${server} for repo ${repo} is known`);
}
