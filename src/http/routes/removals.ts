import type { ParsedUrlQuery } from 'node:querystring';
import type { Context } from 'koa';
import type { Logger } from 'pino';
import { authorizeSource, isForSource } from '../../access/authorize.ts';
import { Refusal } from '../../core/refusal.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Source } from '../../fleet/source-index.ts';
import { tokenOf } from '../authorization.ts';
import { type Filter, isFiltering, isSelected, parseFilter } from '../filter.ts';
import { type Deletion, logDeletion } from '../request-log.ts';
import { sourceParams, unknownSource } from './source-detail.ts';

/** `DELETE /api/status/{repo}/{server}` and `DELETE /api/status?…`: sources that are to be forgotten. */
export type RemovalRoutes = {
  deleteOne(ctx: Context): Promise<void>;
  deleteMatching(ctx: Context): Promise<void>;
};

const FILTERS = new Set(['repo', 'server', 'verdict']);

/** @param now milliseconds since the epoch */
export function createRemovalRoutes(fleet: Fleet, now: () => number, log: Logger): RemovalRoutes {
  /** Returns how many it has removed, and logs them, also where it ends with an error. */
  async function removeAll(
    ctx: Context,
    filters: Deletion['filters'],
    sources: readonly Source[],
    isWanted?: (source: Source) => boolean,
  ): Promise<number> {
    // one by one, which tells what was removed of it when something fails; they share commits all the same
    const results = await Promise.allSettled(sources.map((source) => fleet.remove([source], isWanted)));
    const isRemoved = (result: PromiseSettledResult<number>): boolean =>
      result.status === 'fulfilled' && result.value > 0;
    const removed = sources.filter((_, index) => isRemoved(results[index] as PromiseSettledResult<number>));
    const failures = results.filter((result) => result.status === 'rejected');
    logDeletion(log, ctx, { filters, removed: removed.map(({ snapshot }) => snapshot), failed: failures.length });
    if (failures[0] !== undefined) throw failures[0].reason;
    return removed.length;
  }

  return {
    async deleteOne(ctx) {
      const { repo, server } = sourceParams(ctx);
      authorizeSource(tokenOf(ctx), 'delete', { repo, server });
      const source = fleet.find(repo, server);
      const removed = await removeAll(ctx, { repo, server }, source === undefined ? [] : [source]);
      if (removed === 0) throw unknownSource(repo, server);
      ctx.status = 204;
    },

    async deleteMatching(ctx) {
      const { filter, filters, isDryRun } = parseSelection(ctx.query);
      const at = now();
      const token = tokenOf(ctx);
      // sources that are not for the token are not there for it: neither their names nor their number is told
      const matching = fleet
        .list()
        .filter((source) => isSelected(filter, source, at) && isForSource(token, 'delete', source.snapshot));
      // whoever reports in time is not deleted for having been stale
      const stillMatches = (source: Source): boolean => isSelected(filter, source, now());
      ctx.body = { deleted: isDryRun ? matching.length : await removeAll(ctx, filters, matching, stillMatches) };
    },
  };
}

/**
 * What to delete. Anything that leaves that in doubt is refused.
 * @throws {Refusal} `bad_query`
 */
function parseSelection({ dry_run: dryRun, ...filters }: ParsedUrlQuery): {
  filter: Filter;
  filters: ParsedUrlQuery;
  isDryRun: boolean;
} {
  const unknown = Object.keys(filters).filter((name) => !FILTERS.has(name));
  if (unknown.length > 0)
    throw badQuery(`${unknown.join(', ')}: not known here. Use repo, server, verdict and dry_run`);
  const texts = Object.values(filters).flat();
  if (texts.some((text) => text?.includes('${'))) {
    throw badQuery('A variable was not filled in ("${"), so it is not clear what to delete');
  }
  if (dryRun !== undefined && dryRun !== 'true' && dryRun !== 'false') throw badQuery('dry_run must be true or false');
  const filter = parseFilter(filters);
  if (!isFiltering(filter)) throw badQuery('Name what to delete: at least one of repo, server and verdict');
  return { filter, filters, isDryRun: dryRun === 'true' };
}

function badQuery(detail: string): Refusal {
  return new Refusal('bad_query', detail);
}
