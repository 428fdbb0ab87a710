import type { ParsedUrlQuery } from 'node:querystring';
import type { Context } from 'koa';
import { authorizeSource, isForSource } from '../../access/authorize.ts';
import { Refusal } from '../../core/refusal.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Source } from '../../fleet/source-index.ts';
import { tokenOf } from '../authorization.ts';
import { type Filter, isFiltering, isSelected, parseFilter } from '../filter.ts';
import { sourceParams, unknownSource } from './source-detail.ts';

/** `DELETE /api/status/{repo}/{server}` and `DELETE /api/status?…`: sources that are to be forgotten. */
export type RemovalRoutes = {
  deleteOne(ctx: Context): Promise<void>;
  deleteMatching(ctx: Context): Promise<void>;
};

const FILTERS = new Set(['repo', 'server', 'verdict']);

/** @param now milliseconds since the epoch */
export function createRemovalRoutes(fleet: Fleet, now: () => number): RemovalRoutes {
  return {
    async deleteOne(ctx) {
      const { repo, server } = sourceParams(ctx);
      authorizeSource(tokenOf(ctx), 'delete', { repo, server });
      const source = fleet.find(repo, server);
      if (source === undefined || (await fleet.remove([source])) === 0) throw unknownSource(repo, server);
      ctx.status = 204;
    },

    async deleteMatching(ctx) {
      const { filter, isDryRun } = parseSelection(ctx.query);
      const at = now();
      const token = tokenOf(ctx);
      // sources that are not for the token are not there for it: neither their names nor their number is told
      const matching = fleet
        .list()
        .filter((source) => isSelected(filter, source, at) && isForSource(token, 'delete', source.snapshot));
      // whoever reports in time is not deleted for having been stale
      const stillMatches = (source: Source): boolean => isSelected(filter, source, now());
      ctx.body = { deleted: isDryRun ? matching.length : await fleet.remove(matching, stillMatches) };
    },
  };
}

/**
 * What to delete. Anything that leaves that in doubt is refused.
 * @throws {Refusal} `bad_query`
 */
function parseSelection({ dry_run: dryRun, ...selection }: ParsedUrlQuery): { filter: Filter; isDryRun: boolean } {
  const unknown = Object.keys(selection).filter((name) => !FILTERS.has(name));
  if (unknown.length > 0)
    throw badQuery(`${unknown.join(', ')}: not known here. Use repo, server, verdict and dry_run`);
  const texts = Object.values(selection).flat();
  if (texts.some((text) => text?.includes('${'))) {
    throw badQuery('A variable was not filled in ("${"), so it is not clear what to delete');
  }
  if (dryRun !== undefined && dryRun !== 'true' && dryRun !== 'false') throw badQuery('dry_run must be true or false');
  const filter = parseFilter(selection);
  if (!isFiltering(filter)) throw badQuery('Name what to delete: at least one of repo, server and verdict');
  return { filter, isDryRun: dryRun === 'true' };
}

function badQuery(detail: string): Refusal {
  return new Refusal('bad_query', detail);
}
