import type { Accepted } from '../fleet/batch.ts';
import { toIso } from '../core/timestamp.ts';
import { type Snapshot, type Verdict, driftCountOf, syncStatusOf, verdictOf } from '../core/ledger.ts';
import type { RenderedTexts } from '../fleet/rendered-text.ts';
import type { Source } from '../fleet/source-index.ts';
import type { Detail } from '../store/store.ts';

/**
 * The row of a source in `/status.json`, as JSON text. If there is room, the text is kept until the snapshot is replaced or becomes STALE.
 * @param now milliseconds
 */
export function renderRow(source: Source, rendered: RenderedTexts, now: number): string {
  const isStale = verdictOf(source.snapshot, now) === 'STALE';
  if (source.row !== undefined && source.rowIsStale === isStale) return source.row;
  const row = JSON.stringify(toRow(source.snapshot, now));
  rendered.keepRow(source, row, isStale);
  return row;
}

/** The flat fields of a source, with the names of its files. Its detail begins with the same fields. */
function toRow(snapshot: Snapshot, now: number) {
  const verdict = verdictOf(snapshot, now);
  return {
    repo: snapshot.repo,
    server: snapshot.server,
    sync_status: syncStatusOf(snapshot),
    drift_count: driftCountOf(snapshot),
    files: snapshot.files.map(({ name }) => ({ name })),
    files_truncated: snapshot.hidden !== null || snapshot.truncatedCount !== null,
    last_check: snapshot.lastCheck,
    last_check_ms: snapshot.lastCheckMs,
    commit: snapshot.commit,
    pipeline_url: snapshot.pipelineUrl,
    verdict,
    // as gitops_in_sync: a stale source does not count as in sync
    out_of_sync: verdict === 'SYNCED' ? 0 : 1,
    stale: verdict === 'STALE',
    status_since: toIso(snapshot.statusSince),
    unknown_since: snapshot.unknownSince === null ? null : toIso(snapshot.unknownSince),
    message: snapshot.message,
    received_at: toIso(snapshot.receivedAt),
    stale_at: toIso(snapshot.staleAt),
    last_rejected_at: snapshot.lastRejectedAt === null ? null : toIso(snapshot.lastRejectedAt),
    reported_by: snapshot.reportedBy,
    labels: snapshot.labels ?? {},
    files_text: snapshot.files.map(({ name }) => name).join(', '),
  };
}

/** `GET /api/status/{repo}/{server}`: one source in full. */
export function toDetail({ snapshot, diffs, drifts }: Detail, now: number) {
  const { files, ...row } = toRow(snapshot, now);
  return {
    ...row,
    first_seen: toIso(snapshot.firstSeen),
    files: snapshot.files.map(({ name, since, times }) => ({
      name,
      since: toIso(since),
      times_drifted: times,
      // a file may have the name of an inherited property, such as constructor
      diff: (Object.hasOwn(diffs, name) ? diffs[name] : null) ?? null,
    })),
    drifts: [
      ...snapshot.files.map(({ name, since }) => toDrift(name, since, null, now)),
      ...drifts.map(({ name, openedAt, closedAt }) => toDrift(name, openedAt, closedAt, now)),
    ],
  };
}

function toDrift(name: string, openedAt: number, closedAt: number | null, now: number) {
  return {
    name,
    opened_at: toIso(openedAt),
    closed_at: closedAt === null ? null : toIso(closedAt),
    // one that was opened by a clock that was ahead has only begun
    duration_seconds: Math.max(0, (closedAt ?? now) - openedAt) / 1000,
  };
}

/** The answer to an accepted report. */
export type Receipt = {
  readonly repo: string;
  readonly server: string;
  readonly result: Accepted['result'];
  readonly verdict: Verdict;
  readonly previous_status: ReturnType<typeof syncStatusOf> | null;
  readonly drift_count: number;
  readonly opened: readonly string[];
  readonly closed: readonly string[];
  readonly status_since: string;
  readonly stale_at: string;
  readonly ignored: readonly string[];
};

export function toReceipt(
  { result, previous, snapshot, opened, closed }: Accepted,
  ignored: readonly string[],
  now: number,
): Receipt {
  return {
    repo: snapshot.repo,
    server: snapshot.server,
    result,
    verdict: verdictOf(snapshot, now),
    previous_status: previous === null ? null : syncStatusOf(previous),
    drift_count: driftCountOf(snapshot),
    opened,
    closed: closed.map(({ name }) => name),
    status_since: toIso(snapshot.statusSince),
    stale_at: toIso(snapshot.staleAt),
    ignored,
  };
}
