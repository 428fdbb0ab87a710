import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Context } from 'koa';
import { compareTexts } from '../../core/compare.ts';
import type { StateChange } from '../../core/history.ts';
import { type Verdict, driftCountOf } from '../../core/ledger.ts';
import { Refusal } from '../../core/refusal.ts';
import { toIso } from '../../core/timestamp.ts';
import { createTopN } from '../../core/top-n.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { ClosedDrift, Listed, Range, Selection, Store } from '../../store/store.ts';
import { clientSignal } from '../client-signal.ts';
import type { FleetEtag } from '../etag.ts';
import { type Filter, isSelected, parseFilter } from '../filter.ts';
import { renderArray } from '../json-list.ts';
import { createQueryGate } from '../query-gate.ts';
import { beginRead, sendPortions } from '../response.ts';
import { RANGE_NAMES, parseRange } from '../time-range.ts';

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
const STATES: Record<Verdict, number> = { SYNCED: 0, OUT_OF_SYNC: 1, STALE: 2, UNKNOWN: 3 };

export type HistoryRoutesOptions = {
  readonly fleet: Fleet;
  readonly store: Store;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** What ended longer ago may be forgotten: a source must not look in sync for that. */
  readonly historyRetentionMs: number;
};

/** Of all answers that are being sent, as they are in memory. */
const MAX_ANSWER_BYTES = 67_108_864;
/** As in memory, without its texts. */
const ROW_BYTES = 150;

export function createHistoryRoutes(
  { fleet, store, now, historyRetentionMs }: HistoryRoutesOptions,
  etagAt: FleetEtag,
): HistoryRoutes {
  const gate = createQueryGate();
  const answers = createAnswerAccount(MAX_ANSWER_BYTES);

  return {
    async getHistory(ctx) {
      const at = now();
      const filter = parseFilter(ctx.query, RANGE_NAMES);
      const { to, limit, ...asked } = parseRange(ctx.query, at);
      const from = Math.max(asked.from, at - historyRetentionMs);
      // an answer about the past does not change without the state
      if (!beginRead(ctx, 'json', `${etagAt(at)}.${from}.${Math.min(to, at)}`)) return;
      const signal = clientSignal(ctx);
      const changes = await gate.run(signal, async () =>
        from < to
          ? store.history({ from, to }, at, limit, selectionOf(filter, fleet, at), signal)
          : { rows: [], isCut: false },
      );
      send(ctx, changes, renderChange);
    },

    async getDrifts(ctx) {
      const at = now();
      const filter = parseFilter(ctx.query, RANGE_NAMES);
      const { limit, ...range } = parseRange(ctx.query, at);
      // open ones grow with time
      if (!beginRead(ctx, 'json', `${etagAt(at)}.${at}`)) return;
      const signal = clientSignal(ctx);
      const drifts = await gate.run(signal, async () => {
        // open ones before closed ones: what closes in between is in both, not in neither
        const open = await openDrifts(fleet, filter, range, limit, at, signal);
        const closed = await store.drifts(range, limit, selectionOf(filter, fleet, at), signal);
        return newestOf(open, closed, limit);
      });
      send(ctx, { ...drifts, rows: drifts.rows.toSorted(compareDrifts) }, (drift) => renderDrift(drift, at));
    },
  };

  function send<T extends StateChange | Drift>(
    ctx: Context,
    { rows, isCut }: Listed<T>,
    render: (row: T) => string,
  ): void {
    answers.hold(
      ctx,
      rows.reduce((bytes, row) => bytes + sizeOf(row), 0),
    );
    if (isCut) ctx.set('X-Truncated', 'true');
    sendPortions(ctx, renderArray(mapped(rows, render)));
  }
}

/** Counts the rows of answers until they are sent, or their readers have left. */
function createAnswerAccount(maxBytes: number): { hold(ctx: Context, bytes: number): void } {
  let total = 0;
  return {
    hold(ctx, bytes) {
      // one alone always fits
      if (total > 0 && total + bytes > maxBytes)
        throw new Refusal('overloaded', 'Too many long lists of the past are being sent');
      total += bytes;
      ctx.res.once('close', () => {
        total -= bytes;
      });
    },
  };
}

function sizeOf({ repo, server, ...row }: StateChange | Drift): number {
  return ROW_BYTES + repo.length + server.length + ('name' in row ? row.name.length : 0);
}

/** Of both the `limit` that opened last, ascending. A drift may be in both. */
function newestOf(open: Listed<Drift>, closed: Listed<ClosedDrift>, limit: number): Listed<Drift> {
  const known = new Set(closed.rows.map(keyOf));
  const all = [...closed.rows, ...open.rows.filter((drift) => !known.has(keyOf(drift)))];
  return {
    rows: all.toSorted((a, b) => a.openedAt - b.openedAt).slice(-limit),
    isCut: open.isCut || closed.isCut || all.length > limit,
  };
}

/** Sources of the past are chosen by name; by verdict and labels, those that have them now. */
function selectionOf(filter: Filter, fleet: Fleet, now: number): Selection {
  const isByPresent = filter.verdict !== undefined || filter.labels !== undefined;
  const matching = isByPresent ? fleet.list().filter((source) => isSelected(filter, source, now)) : undefined;
  return {
    repos: filter.repo && [...filter.repo],
    servers: filter.server && [...filter.server],
    ids: matching?.map(({ id }) => id),
  };
}

/** At most the `limit` that opened last. Of sources that are not whole in memory some are left out. */
async function openDrifts(
  fleet: Fleet,
  filter: Filter,
  { from, to }: Range,
  limit: number,
  now: number,
  signal: AbortSignal,
): Promise<Listed<Drift>> {
  const newest = createTopN<Drift>(limit, (a, b) => a.openedAt - b.openedAt);
  let isPartial = false;
  for (const [index, source] of fleet.list().entries()) {
    if (index % SOURCES_AT_ONCE === SOURCES_AT_ONCE - 1) await nextTurn();
    signal.throwIfAborted();
    const { repo, server, files, hidden } = source.snapshot;
    if (driftCountOf(source.snapshot) === 0 || now < from || !isSelected(filter, source, now)) continue;
    if (hidden !== null) isPartial = true;
    for (const { name, times, since } of files) {
      // what a clock that was ahead has stored as later counts as now
      const openedAt = Math.min(since, now);
      if (since > now ? to >= now : since < to) newest.push({ repo, server, name, times, openedAt, closedAt: null });
    }
  }
  const { items, isCut } = newest.done();
  return { rows: items, isCut: isCut || isPartial };
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
    state: verdict === null ? null : STATES[verdict],
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
