import type { Report } from './report.ts';

/** What we conclude now, as opposed to what the newest report said. */
export type Verdict = 'SYNCED' | 'OUT_OF_SYNC' | 'STALE';

/** One file that differs now. `since` is when it was first reported so; `times` counts its drifts on this source, this one included. */
export type OpenDrift = { readonly name: string; readonly since: number; readonly times: number };

/** Open drifts that are on disk and not in memory, where more is stored than memory may hold. */
export type HiddenDrifts = {
  readonly drifts: number;
  /** When the oldest of them was opened. */
  readonly oldestSince: number;
};

/**
 * The newest accepted report of a source plus what was derived from it. Immutable. All times are milliseconds of the service's
 * clock, save `lastCheckMs`, which is the reporter's.
 */
export type Snapshot = {
  readonly repo: string;
  readonly server: string;
  /** Counts the accepted reports of this life of the source, from 1. */
  readonly version: number;
  readonly syncStatus: 'SYNCED' | 'OUT_OF_SYNC';
  /** In the order in which they were posted; the first of them, where some are {@link HiddenDrifts}. */
  readonly files: readonly OpenDrift[];
  /** Null: `files` has all that differ. */
  readonly hidden: HiddenDrifts | null;
  readonly lastCheck: string;
  readonly lastCheckMs: number;
  readonly commit: string | null;
  readonly pipelineUrl: string | null;
  /** The name of the token that the newest report came with; null: it came without one. */
  readonly reportedBy: string | null;
  readonly firstSeen: number;
  readonly statusSince: number;
  readonly receivedAt: number;
  readonly staleAt: number;
};

/** A time in which a source was STALE: `from` inclusive, `to` exclusive. */
export type Lapse = { readonly from: number; readonly to: number };

/** What an accepted report does to its source. `times` of an opened drift is 0 until the store has counted, save at a first report. */
export type Advance = {
  readonly result: 'created' | 'changed' | 'unchanged';
  readonly next: Snapshot;
  readonly opened: readonly string[];
  readonly closed: readonly OpenDrift[];
  /** Not even the order of the files is another one. */
  readonly hasSameFiles: boolean;
  /** The lapse that this report ends. */
  readonly lapse: Lapse | null;
};

/**
 * What a report means for its source.
 * @param previous the source's snapshot in full, nothing hidden; null before its first report
 * @param now milliseconds; where it lies before the previous report's (a clock set back), the previous one's is taken, so that no
 *   interval ever ends before it begins
 * @param reportedBy the name of the token that it came with
 * @returns null when the report is superseded: a newer `last_check` is kept and nothing changes. An equal one is applied.
 */
export function advance(
  previous: Snapshot | null,
  report: Report,
  now: number,
  defaultStaleAfterMs: number,
  reportedBy: string | null = null,
): Advance | null {
  if (previous !== null && report.lastCheckMs < previous.lastCheckMs) return null;
  const at = previous === null ? now : Math.max(now, previous.receivedAt);
  const known = previous === null ? [] : previous.files;
  const hasSameFiles =
    previous !== null &&
    known.length === report.files.length &&
    known.every((drift, i) => drift.name === report.files[i]);
  const { files, opened, closed } = hasSameFiles
    ? { files: known, opened: [], closed: [] }
    : compareFiles(known, report.files, at, previous === null ? 1 : 0);
  const next: Snapshot = {
    repo: report.repo,
    server: report.server,
    version: previous === null ? 1 : previous.version + 1,
    syncStatus: report.syncStatus,
    files,
    hidden: null,
    lastCheck: report.lastCheck,
    lastCheckMs: report.lastCheckMs,
    commit: report.commit,
    pipelineUrl: report.pipelineUrl,
    reportedBy,
    firstSeen: previous === null ? at : previous.firstSeen,
    statusSince: previous !== null && previous.syncStatus === report.syncStatus ? previous.statusSince : at,
    receivedAt: at,
    staleAt: report.lastCheckMs + (report.staleAfterMs ?? defaultStaleAfterMs),
  };
  // a status cannot change without its files: they are empty exactly when SYNCED
  let result: Advance['result'] = opened.length > 0 || closed.length > 0 ? 'changed' : 'unchanged';
  if (previous === null) result = 'created';
  return { result, next, opened, closed, hasSameFiles, lapse: previous === null ? null : lapseUntil(previous, at) };
}

/** How many files of a source differ, hidden ones included. */
export function driftCountOf({ files, hidden }: Snapshot): number {
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

/** The one place that decides a verdict. A source counts as STALE from `staleAt` on. */
export function verdictOf(snapshot: Snapshot, now: number): Verdict {
  return now >= snapshot.staleAt ? 'STALE' : snapshot.syncStatus;
}

/**
 * The lapse that ends at `at`, when the source's next report or its removal comes; null if the source was not STALE by then.
 * A report that was stale on arrival is STALE from its arrival.
 */
export function lapseUntil(snapshot: Snapshot, at: number): Lapse | null {
  const from = Math.max(snapshot.staleAt, snapshot.receivedAt);
  return from < at ? { from, to: at } : null;
}

function compareFiles(
  known: readonly OpenDrift[],
  names: readonly string[],
  at: number,
  times: number,
): { files: OpenDrift[]; opened: string[]; closed: OpenDrift[] } {
  const left = new Map<string, OpenDrift>();
  for (const drift of known) left.set(drift.name, drift);
  const opened: string[] = [];
  const files = names.map((name) => {
    const drift = left.get(name);
    if (drift !== undefined) {
      left.delete(name);
      return drift;
    }
    opened.push(name);
    return { name, since: at, times };
  });
  return { files, opened, closed: [...left.values()] };
}
