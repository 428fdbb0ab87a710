import type { ParsedUrlQuery } from 'node:querystring';
import type { Context } from 'koa';
import type { SourceName } from '../../access/authorize.ts';
import { Refusal } from '../../core/refusal.ts';
import { MAX_KEY_LENGTH } from '../../core/report-schema.ts';
import { sourceOf } from '../../core/report.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Source } from '../../fleet/source-index.ts';
import type { Detail, Store } from '../../store/store.ts';
import { sourceEtag } from '../etag.ts';
import { beginRead, sendShared, toSharedBody } from '../response.ts';
import { toDetail } from '../source-json.ts';
import { shorten } from '../target.ts';

const MAX_DRIFTS = 50;

export type SourceDetailOptions = {
  readonly store: Store;
  readonly fleet: Fleet;
  /** What ETags begin with. */
  readonly bootId: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/**
 * `GET /api/status/{repo}/{server}` and `GET /api/status?repo=…&server=…`: one source in full.
 */
export function createSourceDetailRoute({
  store,
  fleet,
  bootId,
  now,
}: SourceDetailOptions): (ctx: Context) => Promise<void> {
  return async (ctx) => {
    const { repo, server } = sourceParams(ctx);
    const stored = await store.detail(repo, server, MAX_DRIFTS);
    if (stored === null) throw unknownSource(repo, server);
    const detail = withRejection(stored, fleet.find(repo, server));
    const at = now();
    if (!beginRead(ctx, 'json', sourceEtag(bootId, detail, at))) return;
    await sendShared(ctx, toSharedBody(`${JSON.stringify(toDetail(detail, at))}\n`));
  };
}

/** A rejection may not be on disk yet. */
function withRejection(detail: Detail, source: Source | undefined): Detail {
  const { snapshot, id } = detail;
  // of another version, memory has what came before or after
  if (source?.id !== id || source.snapshot.version !== snapshot.version) return detail;
  return { ...detail, snapshot: { ...snapshot, lastRejectedAt: source.snapshot.lastRejectedAt } };
}

/**
 * The source that the path names; without one in the path, the query.
 * @throws {Refusal} `unknown_source` for names that are too long for any source; `bad_query`
 */
export function sourceParams(ctx: Context): SourceName {
  const { repo, server } = ctx.params as Record<string, string | undefined>;
  if (repo === undefined || server === undefined) return sourceOfQuery(ctx.query);
  if (repo.length > MAX_KEY_LENGTH || server.length > MAX_KEY_LENGTH) throw unknownSource(repo, server);
  return { repo, server };
}

export function unknownSource(repo: string, server: string): Refusal {
  return new Refusal('unknown_source', `No report of server ${shorten(server)} for repo ${shorten(repo)} is known`);
}

/** What would be a filter elsewhere (a list, `*`, nothing) is refused: it would not name one source. */
function sourceOfQuery(query: ParsedUrlQuery): SourceName {
  const source = sourceOf(query);
  if (source === undefined)
    throw new Refusal('bad_query', 'Name one source: repo=NAME&server=NAME, each once, no list and no *');
  return source;
}
