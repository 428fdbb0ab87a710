import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Context } from 'koa';
import { compareTexts } from '../../core/compare.ts';
import type { StateChange } from '../../core/history.ts';
import type { Verdict } from '../../core/ledger.ts';
import { toIso } from '../../core/timestamp.ts';
import { createTopN } from '../../core/top-n.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { ClosedDrift, Range, Selection, Store } from '../../store/store.ts';
import type { FleetEtag } from '../etag.ts';
import { type Filter, isSelected, parseFilter } from '../filter.ts';
import { renderArray } from '../json-list.ts';
import { beginRead, sendPortions } from '../response.ts';
import { parseRange } from '../time-range.ts';

/** `/history.json` and `/drifts.json`: what was. */
export type HistoryRoutes = {
  getHistory(ctx: Context): Promise<void>;
  getDrifts(ctx: Context): Promise<void>;
};

/** A drift of a list; open ones have no end. */
type Drift = Omit<ClosedDrift, 'closedAt'> & { readonly closedAt: number | null };

/** Between portions of sources the event loop is free for others. */
const SOURCES_AT_ONCE = 5000;
/** What Grafana's state timelines colour. */
const STATES: Record<Verdict, number> = { SYNCED: 0, OUT_OF_SYNC: 1, STALE: 2 };

/** @param historyRetentionMs what ended longer ago may be forgotten: a source must not look in sync for that */
export function createHistoryRoutes(
  fleet: Fleet,
  store: Store,
  etagAt: FleetEtag,
  now: () => number,
  historyRetentionMs: number,
): HistoryRoutes {
  return {
    async getHistory(ctx) {
      const at = now();
      const filter = parseFilter(ctx.query);
      const { to, limit, ...asked } = parseRange(ctx.query, at);
      const from = Math.max(asked.from, at - historyRetentionMs);
      // an answer about the past does not change without the state
      if (!beginRead(ctx, 'json', `${etagAt(at)}.${from}.${Math.min(to, at)}`)) return;
      // one more than asked for tells whether there is more
      const read = () => store.history({ from, to }, at, limit + 1, selectionOf(filter, fleet, at));
      const shown = cut(ctx, from < to ? await read() : [], limit);
      sendPortions(ctx, renderArray(mapped(shown, renderChange)));
    },

    async getDrifts(ctx) {
      const at = now();
      const filter = parseFilter(ctx.query);
      const range = parseRange(ctx.query, at);
      // open ones grow with time
      if (!beginRead(ctx, 'json', `${etagAt(at)}.${at}`)) return;
      // open ones before closed ones: what closes in between is in both, not in neither
      const open = await openDrifts(fleet, filter, range, range.limit, at);
      const closed = await store.drifts(range, range.limit + 1, selectionOf(filter, fleet, at));
      const known = new Set(closed.map(keyOf));
      const drifts = [...closed, ...open.filter((drift) => !known.has(keyOf(drift)))];
      const newest = drifts.toSorted((a, b) => a.openedAt - b.openedAt).slice(-range.limit - 1);
      const shown = cut(ctx, newest, range.limit).toSorted(compareDrifts);
      sendPortions(ctx, renderArray(mapped(shown, (drift) => renderDrift(drift, at))));
    },
  };
}

/** Sources of the past are chosen by name; by verdict, those that have it now. */
function selectionOf(filter: Filter, fleet: Fleet, now: number): Selection {
  const matching = filter.verdict && fleet.list().filter((source) => isSelected(filter, source, now));
  return {
    repos: filter.repo && [...filter.repo],
    servers: filter.server && [...filter.server],
    ids: matching?.map(({ id }) => id),
  };
}

/** At most the `limit` + 1 that opened last. */
async function openDrifts(
  fleet: Fleet,
  filter: Filter,
  { from, to }: Range,
  limit: number,
  now: number,
): Promise<Drift[]> {
  const newest = createTopN<Drift>(limit + 1, (a, b) => a.openedAt - b.openedAt);
  for (const [index, source] of fleet.list().entries()) {
    if (index % SOURCES_AT_ONCE === SOURCES_AT_ONCE - 1) await nextTurn();
    const { repo, server, files } = source.snapshot;
    if (files.length === 0 || now < from || !isSelected(filter, source, now)) continue;
    for (const { name, times, since } of files) {
      if (since < to) newest.push({ repo, server, name, times, openedAt: since, closedAt: null });
    }
  }
  return newest.done();
}

/** The newest `limit` of rows that ascend in time; where there are more, a header says so. */
function cut<T>(ctx: Context, rows: readonly T[], limit: number): readonly T[] {
  if (rows.length <= limit) return rows;
  ctx.set('X-Truncated', 'true');
  return rows.slice(-limit);
}

function* mapped<T>(items: readonly T[], render: (item: T) => string): Generator<string> {
  for (const item of items) yield render(item);
}

function renderChange({ time, repo, server, verdict, driftCount }: StateChange): string {
  return JSON.stringify({
    time: toIso(time),
    time_ms: time,
    repo,
    server,
    source: `${repo}/${server}`,
    verdict,
    state: STATES[verdict],
    drift_count: driftCount,
  });
}

/** `time` … `tags` are what a Grafana annotation query reads; an open drift reaches to now. */
function renderDrift({ repo, server, name, openedAt, closedAt }: Drift, now: number): string {
  const end = closedAt ?? now;
  return JSON.stringify({
    repo,
    server,
    name,
    opened_at: toIso(openedAt),
    closed_at: closedAt === null ? null : toIso(closedAt),
    duration_seconds: (end - openedAt) / 1000,
    time: openedAt,
    timeEnd: end,
    text: `${name} differs on ${server} (${repo})`,
    tags: `${repo},${server}`,
  });
}

function keyOf({ repo, server, name, times, openedAt }: Drift): string {
  return `${repo}\n${server}\n${openedAt}\n${times}\n${name}`;
}

function compareDrifts(a: Drift, b: Drift): number {
  return (
    compareTexts(a.repo, b.repo) ||
    compareTexts(a.server, b.server) ||
    compareTexts(a.name, b.name) ||
    a.openedAt - b.openedAt
  );
}
