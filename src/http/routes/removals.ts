import type { ParsedUrlQuery } from 'node:querystring';
import type { Context } from 'koa';
import type { Logger } from 'pino';
import { authorizeSource, isForSource } from '../../access/authorize.ts';
import type { Snapshot } from '../../core/ledger.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Source } from '../../fleet/source-index.ts';
import { tokenOf } from '../authorization.ts';
import { type Filter, FILTERS, badQuery, isFiltering, isSelected, parseFilter, valuesOf } from '../filter.ts';
import { type Deletion, logDeletion } from '../request-log.ts';
import { sourceParams, unknownSource } from './source-detail.ts';

/** `DELETE /api/status/{repo}/{server}` and `DELETE /api/status?…`: sources that are to be forgotten. */
export type RemovalRoutes = {
  deleteOne(ctx: Context): Promise<void>;
  deleteMatching(ctx: Context): Promise<void>;
};

/** Asked for in one go. */
const SOURCES_AT_ONCE = 1000;

/** @param now milliseconds since the epoch */
export function createRemovalRoutes(fleet: Fleet, now: () => number, log: Logger): RemovalRoutes {
  /** Returns how many it has removed, and logs them, also where it ends with an error. */
  async function removeAll(
    ctx: Context,
    filters: Deletion['filters'],
    sources: readonly Source[],
    isWanted?: (source: Source) => boolean,
  ): Promise<number> {
    const removed: Snapshot[] = [];
    const failures: PromiseRejectedResult[] = [];
    for (let start = 0; start < sources.length; start += SOURCES_AT_ONCE) {
      const slice = sources.slice(start, start + SOURCES_AT_ONCE);
      // one by one, which tells what was removed of it when something fails; they share commits all the same
      const results = await Promise.allSettled(slice.map((source) => fleet.remove([source], isWanted)));
      for (const [index, result] of results.entries()) {
        if (result.status === 'rejected') failures.push(result);
        else if (result.value > 0) removed.push((slice[index] as Source).snapshot);
      }
    }
    logDeletion(log, ctx, { filters, removed, failed: failures.length });
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
function parseSelection(query: ParsedUrlQuery): {
  filter: Filter;
  filters: ParsedUrlQuery;
  isDryRun: boolean;
} {
  const { dry_run: dryRun, ...filters } = query;
  const filter = parseFilter(query, ['dry_run']);
  for (const name of FILTERS) {
    for (const text of [filters[name] ?? []].flat()) requireFilledIn(name, text);
  }
  if (dryRun !== undefined && dryRun !== 'true' && dryRun !== 'false') throw badQuery('dry_run must be true or false');
  if (!isFiltering(filter)) throw badQuery('Name what to delete: at least one of repo, server and verdict');
  return { filter, filters, isDryRun: dryRun === 'true' };
}

/** A variable that was not set must not delete more. */
function requireFilledIn(name: string, text: string): void {
  if (text.includes('${')) {
    throw badQuery(`${name}: a variable was not filled in ("\${"), so it is not clear what to delete`);
  }
  if (valuesOf(text).length === 0) {
    throw badQuery(`${name} is empty, as where a variable is not set: leave it out, or send * for all`);
  }
}
