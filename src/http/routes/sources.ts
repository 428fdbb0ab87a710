import type { Context } from 'koa';
import { driftCountOf, oldestDriftOf, verdictOf } from '../../core/ledger.ts';
import { toIso } from '../../core/timestamp.ts';
import type { FileSpread } from '../../fleet/file-spread.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { RenderedTexts } from '../../fleet/rendered-text.ts';
import type { Source } from '../../fleet/source-index.ts';
import type { FleetEtag } from '../etag.ts';
import { type Filter, isFiltering, isSelected, parseFilter } from '../filter.ts';
import { joinPortions, renderArray, renderBeginning } from '../json-list.ts';
import { type SharedBody, beginRead, sendPortions, sendShared, toSharedBody } from '../response.ts';
import { renderRow } from '../source-json.ts';

/** `/status.json`, `/files.json` and `/summary.json`: what is now. */
export type SourceRoutes = {
  getSources(ctx: Context): Promise<void>;
  getFiles(ctx: Context): Promise<void>;
  getSummary(ctx: Context): Promise<void>;
};

/** Where a list's rows come from: JSON texts, in order. */
type Rows = (sources: readonly Source[], now: number) => Iterable<string>;

/** A list that is no longer is kept for the next reader. */
const MAX_KEPT_CHARS = 2_097_152;

export function createSourceRoutes(fleet: Fleet, etagAt: FleetEtag, now: () => number): SourceRoutes {
  function select(filter: Filter, at: number): readonly Source[] {
    if (!isFiltering(filter)) return fleet.list();
    const candidates = filter.repo ? [...filter.repo].toSorted().flatMap(fleet.listOf) : fleet.list();
    return candidates.filter((source) => isSelected(filter, source, at));
  }

  function createList(rows: Rows): SourceRoutes['getSources'] {
    let kept: { readonly etag: string; readonly body: SharedBody } | undefined;
    return async (ctx) => {
      const at = now();
      const filter = parseFilter(ctx.query);
      const etag = etagAt(at);
      if (!beginRead(ctx, 'json', etag)) return;
      if (!isFiltering(filter) && kept?.etag === etag) {
        await sendShared(ctx, kept.body);
        return;
      }
      const portions = renderArray(rows(select(filter, at), at));
      const { begun, isWhole } = await renderBeginning(portions, MAX_KEPT_CHARS);
      if (!isWhole) {
        sendPortions(ctx, joinPortions(begun, portions));
        return;
      }
      const body = toSharedBody(begun.join(''));
      if (!isFiltering(filter)) kept = { etag, body };
      await sendShared(ctx, body);
    };
  }

  return {
    getSources: createList((sources, at) => sourceRows(sources, fleet.rendered, at)),
    getFiles: createList((sources) => fileRows(sources, fleet.fileSpread)),
    async getSummary(ctx) {
      const at = now();
      const filter = parseFilter(ctx.query);
      if (!beginRead(ctx, 'json', etagAt(at))) return;
      await sendShared(ctx, toSharedBody(`${JSON.stringify(toSummary(select(filter, at), at))}\n`));
    },
  };
}

function* sourceRows(sources: readonly Source[], rendered: RenderedTexts, now: number): Generator<string> {
  for (const source of sources) yield renderRow(source, rendered, now);
}

/** One row per file that differs now. */
function* fileRows(sources: readonly Source[], fileSpread: FileSpread): Generator<string> {
  for (const { snapshot } of sources) {
    const { repo, server, lastCheck, commit, pipelineUrl } = snapshot;
    for (const { name, since, times } of snapshot.files.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      yield JSON.stringify({
        repo,
        server,
        name,
        since: toIso(since),
        last_check: lastCheck,
        times_drifted: times,
        servers_drifted: fileSpread.drifted(repo, name),
        servers: fileSpread.servers(repo),
        commit,
        pipeline_url: pipelineUrl,
      });
    }
  }
}

function toSummary(sources: readonly Source[], now: number) {
  const counts = { SYNCED: 0, OUT_OF_SYNC: 0, STALE: 0 };
  const repos = new Set<string>();
  const servers = new Set<string>();
  let driftCount = 0;
  let oldest = Number.POSITIVE_INFINITY;
  for (const { snapshot } of sources) {
    counts[verdictOf(snapshot, now)] += 1;
    repos.add(snapshot.repo);
    servers.add(snapshot.server);
    driftCount += driftCountOf(snapshot);
    oldest = Math.min(oldest, oldestDriftOf(snapshot) ?? oldest);
  }
  return {
    sources: sources.length,
    synced: counts.SYNCED,
    out_of_sync: counts.OUT_OF_SYNC,
    stale: counts.STALE,
    drift_count: driftCount,
    repos: repos.size,
    servers: servers.size,
    oldest_drift_since: Number.isFinite(oldest) ? toIso(oldest) : null,
    generated_at: toIso(now),
  };
}
