import type { ParsedUrlQuery } from 'node:querystring';
import type { Context } from 'koa';
import type { Logger } from 'pino';
import { authorizeSource, isForSource } from '../../access/authorize.ts';
import type { Snapshot } from '../../core/ledger.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Source } from '../../fleet/source-index.ts';
import { Refusal } from '../../core/refusal.ts';
import { tokenOf } from '../authorization.ts';
import { namesEtag, sourceEtag } from '../etag.ts';
import {
  type Filter,
  FILTERS,
  badQuery,
  isFiltering,
  isLabelFilter,
  isSelected,
  parseFilter,
  valuesOf,
} from '../filter.ts';
import { type Deletion, logDeletion } from '../request-log.ts';
import { shorten } from '../target.ts';
import { sourceParams, unknownSource } from './source-detail.ts';

/** `DELETE /api/status/{repo}/{server}` and `DELETE /api/status?…`: sources that are to be forgotten. */
export type RemovalRoutes = {
  deleteOne(ctx: Context): Promise<void>;
  deleteMatching(ctx: Context): Promise<void>;
};

/** Asked for in one go. */
const SOURCES_AT_ONCE = 1000;

export type RemovalRoutesOptions = {
  readonly fleet: Fleet;
  readonly log: Logger;
  /** What ETags begin with. */
  readonly bootId: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

export function createRemovalRoutes({ fleet, log, bootId, now }: RemovalRoutesOptions): RemovalRoutes {
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
      requireNoQuery(ctx.query);
      const { repo, server } = sourceParams(ctx);
      authorizeSource(tokenOf(ctx), 'delete', { repo, server });
      const source = fleet.find(repo, server);
      const condition = ctx.headers['if-match'];
      let isMet = true;
      // asked when its turn comes: a report that came before has been stored by then
      const isAsRead = (current: Source): boolean => {
        isMet = condition === undefined || namesEtag(condition, sourceEtag(bootId, current, now()));
        return isMet;
      };
      const removed = await removeAll(ctx, { repo, server }, source === undefined ? [] : [source], isAsRead);
      if (!isMet) throw isNotAsRead(repo, server);
      if (removed === 0) throw unknownSource(repo, server);
      ctx.status = 204;
    },

    async deleteMatching(ctx) {
      if (ctx.headers['if-match'] !== undefined) throw noStateOfMany();
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

function isNotAsRead(repo: string, server: string): Refusal {
  const detail = `Server ${server} of repo ${repo} is not as If-Match says: read it again. Nothing was deleted`;
  return new Refusal('precondition_failed', detail);
}

/** Ignored, it would delete what has changed since. */
function noStateOfMany(): Refusal {
  return new Refusal('bad_request', 'If-Match goes with DELETE /api/status/{repo}/{server} only: a filter has no ETag');
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
  for (const name of Object.keys(filters)) {
    if (!FILTERS.includes(name) && !isLabelFilter(name)) continue;
    for (const text of [filters[name] ?? []].flat()) requireFilledIn(name, text);
  }
  if (dryRun !== undefined && dryRun !== 'true' && dryRun !== 'false') throw badQuery('dry_run must be true or false');
  if (!isFiltering(filter)) throw badQuery('Name what to delete: at least one of repo, server, verdict and label.NAME');
  return { filter, filters, isDryRun: dryRun === 'true' };
}

/** The path says all: what is asked beside it would not be heeded. */
function requireNoQuery(query: ParsedUrlQuery): void {
  const names = Object.keys(query).filter((name) => !name.startsWith('_'));
  if (names.length === 0) return;
  throw badQuery(
    `${shorten(names.join(', '))}: not known here. The path names the one source to delete; filters and dry_run are for DELETE /api/status?…`,
  );
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
