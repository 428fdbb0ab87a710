import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Context } from 'koa';
import { compareTexts } from '../../core/compare.ts';
import { driftCountOf, oldestDriftOf, verdictOf } from '../../core/ledger.ts';
import { toIso } from '../../core/timestamp.ts';
import type { FileSpread } from '../../fleet/file-spread.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { RenderedTexts } from '../../fleet/rendered-text.ts';
import type { Source } from '../../fleet/source-index.ts';
import { clientOf } from '../client.ts';
import type { FleetEtag } from '../etag.ts';
import { type Filter, isFiltering, parseFilter, selectSources } from '../filter.ts';
import { joinPortions, renderArray, renderBeginning } from '../json-list.ts';
import type { Places } from '../places.ts';
import { beginRead, sendPortions, sendShared, toSharedBody } from '../response.ts';
import { createSharedList } from '../shared-list.ts';
import { renderRow } from '../source-json.ts';
import type { Unread } from '../unread.ts';

/** `/status.json`, `/files.json`, `/repos.json`, `/servers.json` and `/summary.json`: what is now. */
export type SourceRoutes = {
  getSources(ctx: Context): Promise<void>;
  getFiles(ctx: Context): Promise<void>;
  getRepos(ctx: Context): Promise<void>;
  getServers(ctx: Context): Promise<void>;
  getSummary(ctx: Context): Promise<void>;
};

/** Where a list's rows come from: JSON texts, in order. */
type Rows = (sources: readonly Source[], now: number) => Iterable<string>;

const EVERYTHING = parseFilter({});
/** The whole of a list is kept for all who ask for it, if it is no longer: some 18,000 sources. */
const MAX_KEPT_BYTES = 8_388_608;
/** A part of a list that is no longer is sent at once, else as it is read. */
const MAX_WHOLE_CHARS = 262_144;

export type SourceRoutesOptions = {
  readonly fleet: Fleet;
  readonly etagAt: FleetEtag;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly places: Places;
  readonly unread: Unread;
};

export function createSourceRoutes({ fleet, etagAt, now, places, unread }: SourceRoutesOptions): SourceRoutes {
  const etagNow = (): string => etagAt(now());

  const select = (filter: Filter, at: number): readonly Source[] => selectSources(fleet, filter, at);

  function createList(rows: Rows): SourceRoutes['getSources'] {
    const render = (filter: Filter): Iterator<string> & Iterable<string> => {
      const at = now();
      return renderArray(rows(select(filter, at), at));
    };
    const shared = createSharedList({
      etagNow,
      render: () => render(EVERYTHING),
      maxBytes: MAX_KEPT_BYTES,
      hasRoom: unread.hasRoom,
    });

    return async (ctx) => {
      const filter = parseFilter(ctx.query);
      if (!beginRead(ctx, 'json', etagNow())) return;
      const kept = isFiltering(filter) ? undefined : await shared.read();
      if (kept === undefined) await sendOwn(ctx, () => render(filter));
      else if (beginRead(ctx, 'json', kept.etag)) await sendShared(ctx, kept.body);
    };
  }

  /** Renders for this reader alone, when there is a place for it. */
  async function sendOwn(ctx: Context, render: () => Iterator<string> & Iterable<string>): Promise<void> {
    const giveBack = await places.take(clientOf(ctx), ctx.res);
    if (!beginRead(ctx, 'json', etagNow())) return giveBack();
    const portions = render();
    const { begun, isWhole } = await renderBeginning(portions, MAX_WHOLE_CHARS);
    if (!isWhole) return sendPortions(ctx, joinPortions(begun, portions));
    await sendShared(ctx, toSharedBody(begun.join('')));
    giveBack();
  }

  const sendFiles = createList((sources) => fileRows(sources, fleet.fileSpread));

  return {
    getSources: createList((sources, at) => sourceRows(sources, fleet.rendered, at)),
    getRepos: createList((sources, at) => tallyRows(sources, at, 'repo')),
    getServers: createList((sources, at) => tallyRows(sources, at, 'server')),
    async getFiles(ctx) {
      if (fleet.partial > 0 && select(parseFilter(ctx.query), now()).some(isPartial)) ctx.set('X-Truncated', 'true');
      await sendFiles(ctx);
    },
    async getSummary(ctx) {
      const filter = parseFilter(ctx.query);
      if (!beginRead(ctx, 'json', etagNow())) return;
      const giveBack = await places.take(clientOf(ctx), ctx.res);
      // those who wait would otherwise all be served in one go
      await nextTurn();
      const at = now();
      if (beginRead(ctx, 'json', etagAt(at))) {
        await sendShared(ctx, toSharedBody(`${JSON.stringify(toSummary(select(filter, at), at))}\n`));
      }
      giveBack();
    },
  };
}

/** Whether it has files that differ and are not in memory. */
function isPartial({ snapshot }: Source): boolean {
  return snapshot.hidden !== null;
}

function* sourceRows(sources: readonly Source[], rendered: RenderedTexts, now: number): Generator<string> {
  for (const source of sources) yield renderRow(source, rendered, now);
}

/** One row per repo, or per server over all repos: how many sources it has, and how they stand. */
function* tallyRows(sources: readonly Source[], now: number, by: 'repo' | 'server'): Generator<string> {
  const tallies = new Map<
    string,
    { name: string; sources: number; out_of_sync: number; unknown: number; stale: number }
  >();
  for (const { snapshot } of sources) {
    const name = snapshot[by];
    const tally = tallies.get(name) ?? { name, sources: 0, out_of_sync: 0, unknown: 0, stale: 0 };
    tallies.set(name, tally);
    tally.sources += 1;
    const verdict = verdictOf(snapshot, now);
    if (verdict === 'OUT_OF_SYNC') tally.out_of_sync += 1;
    else if (verdict === 'UNKNOWN') tally.unknown += 1;
    else if (verdict === 'STALE') tally.stale += 1;
  }
  const sorted = [...tallies.values()].toSorted((a, b) => compareTexts(a.name, b.name));
  for (const tally of sorted) yield JSON.stringify(tally);
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
  const counts = { SYNCED: 0, OUT_OF_SYNC: 0, UNKNOWN: 0, STALE: 0 };
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
    unknown: counts.UNKNOWN,
    stale: counts.STALE,
    drift_count: driftCount,
    repos: repos.size,
    servers: servers.size,
    oldest_drift_since: Number.isFinite(oldest) ? toIso(oldest) : null,
    generated_at: toIso(now),
  };
}
