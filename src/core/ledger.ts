import type { Labels, Report } from './report.ts';
import { nextFiles } from './next-files.ts';
import { MAX_AHEAD_MS } from './timestamp.ts';

/** What the service concludes now. */
export const VERDICTS = ['SYNCED', 'OUT_OF_SYNC', 'UNKNOWN', 'STALE'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** One file that differs now. `since` is when this drift was first reported. `times` counts the file's drifts on this source, including this one. */
export type OpenDrift = { readonly name: string; readonly since: number; readonly times: number };

/** Open drifts that are only on disk, because memory may not hold all that is stored. */
export type HiddenDrifts = {
  readonly drifts: number;
  /** When the oldest of them was opened. */
  readonly oldestSince: number;
};

/**
 * The latest accepted report of a source and what the service derived from it. Immutable. All times are milliseconds of the service's
 * clock, except `lastCheckMs`, which comes from the reporter's clock.
 */
export type Snapshot = {
  readonly repo: string;
  readonly server: string;
  /** Counts the accepted reports since the source was created, from 1. */
  readonly version: number;
  /** What was last told. Null: all reports so far were UNKNOWN. */
  readonly toldStatus: 'SYNCED' | 'OUT_OF_SYNC' | null;
  /** Since when the check cannot tell; null: the newest report told. */
  readonly unknownSince: number | null;
  /** Why it cannot tell. */
  readonly message: string | null;
  /** In the order in which they were posted; the first of them, where some are {@link HiddenDrifts}. */
  readonly files: readonly OpenDrift[];
  /** Null: `files` has all that differ. */
  readonly hidden: HiddenDrifts | null;
  /** How many files differ, where the report that told did not name all of them. */
  readonly truncatedCount: number | null;
  readonly labels: Labels | null;
  readonly lastCheck: string;
  readonly lastCheckMs: number;
  readonly commit: string | null;
  readonly pipelineUrl: string | null;
  /** The name of the token that the latest report was sent with; null: it was sent without one. */
  readonly reportedBy: string | null;
  readonly firstSeen: number;
  readonly statusSince: number;
  readonly receivedAt: number;
  readonly staleAt: number;
  /** When a report was last refused, by the service's clock; null: none was since the newest report. */
  readonly lastRejectedAt: number | null;
  /** When the last check was found to lie ahead of the clock: it is no evidence, also not when its time has come. Null: it was not. */
  readonly doubtedAt: number | null;
};

/** A time in which a source was STALE: `from` inclusive, `to` exclusive. */
export type Lapse = { readonly from: number; readonly to: number };

/** A time in which its check could not tell. */
export type Outage = Lapse;

/**
 * What an accepted report changes. An opened drift has `times` 0 until the store has counted its earlier ones; with the first report of a
 * source it is 1 at once.
 */
export type Advance = {
  readonly result: 'created' | 'changed' | 'unchanged';
  readonly next: Snapshot;
  readonly opened: readonly string[];
  readonly closed: readonly OpenDrift[];
  /** The same files, in the same order. */
  readonly hasSameFiles: boolean;
  /** The lapse that this report ends. */
  readonly lapse: Lapse | null;
  /** The outage of the check that this report ends. */
  readonly outage: Outage | null;
  /** The clock was ahead when earlier reports were stored: all times of the source that are still to come become that of this report. */
  readonly isRewound: boolean;
};

/**
 * Computes what a report changes in its source.
 * @param previous the source's snapshot in full, with nothing hidden; null before the first report
 * @param now milliseconds. If the clock was set back a little, to before the previous report, the time of that report counts instead, so
 *   that no interval ends before it begins. If it was set back by more, the clock was wrong before: see `isRewound`.
 * @param reportedBy the name of the token that the report was sent with
 * @returns null if the report is superseded: its `last_check` is older than the known one, and nothing changes. A report with an equal
 *   `last_check` is applied, and so is any other while the known one lies ahead of the clock.
 */
export function advance(
  previous: Snapshot | null,
  report: Report,
  now: number,
  defaultStaleAfterMs: number,
  reportedBy: string | null = null,
): Advance | null {
  if (previous !== null && report.lastCheckMs < previous.lastCheckMs && !isAhead(previous, now)) return null;
  const at = previous === null ? now : timeAfter(previous, now);
  const before = previous === null ? null : rewind(previous, at);
  const told = before === null ? null : before.toldStatus;
  const { files, opened, closed, hasSameFiles } = nextFiles(before === null ? null : before.files, report, at);
  const isUnknown = report.syncStatus === 'UNKNOWN';
  const hasStatus = before !== null && (isUnknown || told === report.syncStatus);
  const next: Snapshot = {
    repo: report.repo,
    server: report.server,
    version: before === null ? 1 : before.version + 1,
    toldStatus: report.syncStatus === 'UNKNOWN' ? told : report.syncStatus,
    unknownSince: isUnknown ? (before?.unknownSince ?? at) : null,
    message: report.message,
    files,
    hidden: null,
    truncatedCount: isUnknown ? (before?.truncatedCount ?? null) : report.truncatedCount,
    labels: report.labels === undefined ? (before?.labels ?? null) : labelsOrNull(report.labels),
    lastCheck: report.lastCheck,
    lastCheckMs: report.lastCheckMs,
    commit: report.commit,
    pipelineUrl: report.pipelineUrl,
    reportedBy,
    firstSeen: before === null ? at : before.firstSeen,
    statusSince: hasStatus ? before.statusSince : at,
    receivedAt: at,
    staleAt: report.lastCheckMs + (report.staleAfterMs ?? defaultStaleAfterMs),
    lastRejectedAt: null,
    doubtedAt: null,
  };
  return {
    result: resultOf(before, report, opened.length + closed.length > 0),
    next,
    opened,
    closed,
    hasSameFiles: hasSameFiles && before === previous,
    lapse: before === null ? null : lapseUntil(before, at),
    outage: before === null || isUnknown ? null : outageUntil(before, at),
    isRewound: before !== previous,
  };
}

/** What the newest report of the source said. */
export function syncStatusOf({ toldStatus, unknownSince }: Snapshot): Report['syncStatus'] {
  return unknownSince === null && toldStatus !== null ? toldStatus : 'UNKNOWN';
}

function resultOf(before: Snapshot | null, report: Report, hasOtherFiles: boolean): Advance['result'] {
  if (before === null) return 'created';
  return hasOtherFiles || syncStatusOf(before) !== report.syncStatus ? 'changed' : 'unchanged';
}

function labelsOrNull(labels: Labels): Labels | null {
  return Object.keys(labels).length === 0 ? null : labels;
}

/** When what happens to the source now happens, in its own time, which does not go back for a clock that was set back a little. */
export function timeAfter({ receivedAt }: Snapshot, now: number): number {
  return receivedAt > now + MAX_AHEAD_MS ? now : Math.max(now, receivedAt);
}

/** The snapshot, with the times that a clock has left which was ahead of `at` brought back to it. */
export function rewind(snapshot: Snapshot, at: number): Snapshot {
  if (snapshot.receivedAt <= at) return snapshot;
  return {
    ...snapshot,
    files: snapshot.files.map((drift) => (drift.since > at ? { ...drift, since: at } : drift)),
    firstSeen: Math.min(snapshot.firstSeen, at),
    statusSince: Math.min(snapshot.statusSince, at),
    unknownSince: snapshot.unknownSince === null ? null : Math.min(snapshot.unknownSince, at),
    receivedAt: at,
    doubtedAt: snapshot.doubtedAt === null ? null : Math.min(snapshot.doubtedAt, at),
  };
}

/** How many files of a source differ: as many as a report has counted, though it did not name all, and those that are known at least. */
export function driftCountOf(snapshot: Snapshot): number {
  return Math.max(snapshot.truncatedCount ?? 0, openDriftsOf(snapshot));
}

/** How many files of a source are known by name to differ, including hidden ones. */
export function openDriftsOf({ files, hidden }: Snapshot): number {
  return files.length + (hidden?.drifts ?? 0);
}

/** When the oldest open drift of a source was opened; null: nothing differs. */
export function oldestDriftOf({ files, hidden }: Snapshot): number | null {
  let oldest = hidden?.oldestSince ?? Number.POSITIVE_INFINITY;
  for (const { since } of files) oldest = Math.min(oldest, since);
  return Number.isFinite(oldest) ? oldest : null;
}

/** The snapshot with the first `count` names only; the others are hidden. */
export function hideDrifts(snapshot: Snapshot, count: number): Snapshot {
  if (snapshot.files.length <= count) return snapshot;
  const hidden = snapshot.files.slice(count);
  let oldestSince = snapshot.hidden?.oldestSince ?? Number.POSITIVE_INFINITY;
  for (const { since } of hidden) oldestSince = Math.min(oldestSince, since);
  return {
    ...snapshot,
    files: snapshot.files.slice(0, count),
    hidden: { drifts: hidden.length + (snapshot.hidden?.drifts ?? 0), oldestSince },
  };
}

/**
 * The only place that decides a verdict. A source is STALE from `staleAt` on, and while its last check is told to have been in the future:
 * that is no evidence of now. Once that was noticed it stays so.
 */
export function verdictOf(snapshot: Snapshot, now: number): Verdict {
  const isFresh = snapshot.doubtedAt === null && now < snapshot.staleAt && !isAhead(snapshot, now);
  return isFresh ? syncStatusOf(snapshot) : 'STALE';
}

/** When the verdict changes while time passes: the source is fresh from the first of these times until the second. */
export function freshness({ lastCheckMs, staleAt }: Snapshot): readonly [from: number, until: number] {
  return [lastCheckMs - MAX_AHEAD_MS, staleAt];
}

/** Whether the last check of the source lies ahead of the clock. */
export function isAhead({ lastCheckMs }: Snapshot, now: number): boolean {
  return lastCheckMs > now + MAX_AHEAD_MS;
}

/**
 * The lapse that ends at `at`, the time of the source's next report or its removal; null if the source was not STALE by then.
 * If a report is stale on arrival, the lapse begins with its arrival.
 */
export function lapseUntil(snapshot: Snapshot, at: number): Lapse | null {
  const from = snapshot.doubtedAt ?? Math.max(snapshot.staleAt, snapshot.receivedAt);
  return from < at ? { from, to: at } : null;
}

/** The outage of the check that ends at `at`, with a report that tells or the removal of the source; null if there is none. */
export function outageUntil({ unknownSince }: Snapshot, at: number): Outage | null {
  return unknownSince !== null && unknownSince < at ? { from: unknownSince, to: at } : null;
}
