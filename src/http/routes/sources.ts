import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Context } from 'koa';
import { type Filter, isFiltering, isSelected } from '../filter.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import { toIso } from '../../core/timestamp.ts';
import { verdictOf } from '../../core/ledger.ts';
import { beginRead, sendPortions, sendShared, toSharedBody, type SharedBody } from '../response.ts';
import type { Source } from '../../fleet/source-index.ts';
import type { FileSpread } from '../../fleet/file-spread.ts';
import { renderRow } from '../source-json.ts';

/** The reads of what is now: `/status.json`, `/files.json`, `/summary.json`. */
export type Present = {
  sendSources(ctx: Context, filter: Filter, now: number): Promise<void>;
  sendFiles(ctx: Context, filter: Filter, now: number): Promise<void>;
  sendSummary(ctx: Context, filter: Filter, now: number): Promise<void>;
  /** Names the state of the whole fleet at `now`: while it is the same, so is every read of it. */
  etagAt(now: number): string;
};

/** Where a list's rows come from: JSON texts, in order. */
type Rows = (sources: readonly Source[], now: number) => Iterable<string>;

/** What is rendered in one go: a few milliseconds. */
const PORTION_CHARS = 262_144;
/** A list that is no longer is kept for the next reader. */
const MAX_KEPT_CHARS = 2_097_152;

/** @param bootId what validators begin with: revisions begin anew with each start */
export function createPresent(fleet: Fleet, bootId: string): Present {
  /** Rows change with a commit, and when a source becomes STALE. */
  function etagAt(now: number): string {
    return `${bootId}.${fleet.revision}.${fleet.staleEpoch(now)}`;
  }

  function select(filter: Filter, now: number): readonly Source[] {
    if (!isFiltering(filter)) return fleet.list();
    const candidates = filter.repo ? [...filter.repo].toSorted().flatMap(fleet.listOf) : fleet.list();
    return candidates.filter((source) => isSelected(filter, source, now));
  }

  function createList(rows: Rows): Present['sendSources'] {
    let kept: { readonly etag: string; readonly body: SharedBody } | undefined;
    return async (ctx, filter, now) => {
      const etag = etagAt(now);
      if (!beginRead(ctx, 'json', etag)) return;
      if (!isFiltering(filter) && kept?.etag === etag) {
        await sendShared(ctx, kept.body);
        return;
      }
      const portions = renderArray(rows(select(filter, now), now));
      const { begun, isWhole } = await begin(portions);
      if (!isWhole) {
        sendPortions(ctx, chain(begun, portions));
        return;
      }
      const body = toSharedBody(begun.join(''));
      if (!isFiltering(filter)) kept = { etag, body };
      await sendShared(ctx, body);
    };
  }

  return {
    etagAt,
    sendSources: createList(sourceRows),
    sendFiles: createList((sources) => fileRows(sources, fleet.fileSpread)),
    async sendSummary(ctx, filter, now) {
      if (!beginRead(ctx, 'json', etagAt(now))) return;
      await sendShared(ctx, toSharedBody(`${JSON.stringify(toSummary(select(filter, now), now))}\n`));
    },
  };
}

/** Renders until all is there, or more than is kept. */
async function begin(portions: Iterator<string>): Promise<{ begun: string[]; isWhole: boolean }> {
  const begun: string[] = [];
  let chars = 0;
  while (chars <= MAX_KEPT_CHARS) {
    const { done, value } = portions.next() as IteratorResult<string, undefined>;
    if (done === true) return { begun, isWhole: true };
    begun.push(value);
    chars += value.length;
    await nextTurn();
  }
  return { begun, isWhole: false };
}

/** A JSON array, in portions. */
export function* renderArray(rows: Iterable<string>): Generator<string> {
  let text = '[';
  let separator = '';
  for (const row of rows) {
    text += separator + row;
    separator = ',\n';
    if (text.length > PORTION_CHARS) {
      yield text;
      text = '';
    }
  }
  yield `${text}]\n`;
}

function* sourceRows(sources: readonly Source[], now: number): Generator<string> {
  for (const source of sources) yield renderRow(source, now);
}

/** One row per file that differs now. */
function* fileRows(sources: readonly Source[], spread: FileSpread): Generator<string> {
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
        servers_drifted: spread.drifted(repo, name),
        servers: spread.servers(repo),
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
    driftCount += snapshot.files.length;
    for (const { since } of snapshot.files) oldest = Math.min(oldest, since);
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

function* chain(begun: readonly string[], rest: Iterable<string>): Generator<string> {
  yield* begun;
  yield* rest;
}
