import { BUCKETS } from '../../core/reconcile-histogram.ts';
import type { Snapshot } from '../../core/ledger.ts';
import type { Labels } from '../../core/report.ts';
import { StoreError, type StoredSource } from '../store.ts';
import type { FileTuple, SourceRow } from './rows.ts';

/** What JavaScript can show as a date. */
const MAX_TIME = 8.64e15;
/** The longest that a report may count. */
const MAX_STALE_AFTER_MS = 365 * 24 * 60 * 60_000;

/**
 * @param parse reads `last_check`, which is stored as text only
 * @throws {StoreError} for a row that is damaged
 */
export function toStoredSource(row: SourceRow, parse: (lastCheck: string) => number): StoredSource {
  const [
    id,
    repo,
    server,
    version,
    syncStatus,
    lastCheck,
    commit,
    pipelineUrl,
    reportedBy,
    firstSeen,
    statusSince,
    receivedAt,
    staleAt,
    lastRejectedAt,
    doubtedAt,
    told,
    unknownSince,
    message,
    truncatedCount,
    labels,
    files,
  ] = row;
  const lastCheckMs = parse(lastCheck);
  checkRow(row, lastCheckMs);
  const snapshot: Snapshot = {
    repo,
    server,
    version,
    toldStatus: told === 0 ? null : syncStatus,
    unknownSince,
    message,
    files: parseFiles(files, repo, server).map(([name, since, times]) => ({ name, since, times })),
    hidden: null,
    truncatedCount,
    labels: parseLabels(labels, repo, server),
    lastCheck,
    lastCheckMs,
    commit,
    pipelineUrl,
    reportedBy,
    firstSeen,
    statusSince,
    receivedAt,
    staleAt,
    lastRejectedAt,
    doubtedAt,
  };
  return { id, snapshot };
}

/**
 * Reads the columns that hold JSON, and looks at those that SQLite would hand on whatever stands in them. A disk that has changed bits leads
 * to this refusal, instead of an answer that is made up.
 * @throws {StoreError} naming the source
 */
export function parseFiles(files: string, repo: string, server: string): FileTuple[] {
  // nearly always
  if (files === '[]') return [];
  const tuples = parseJson(files);
  if (!Array.isArray(tuples) || !tuples.every(isFileTuple))
    throw damaged(`the files of server ${server} of repo ${repo}`);
  return tuples;
}

/** As {@link parseFiles}: name → diff. */
export function parseDiffs(diffs: string | null, repo: string, server: string): Record<string, string> {
  const parsed = diffs === null ? {} : parseJson(diffs);
  if (!isTexts(parsed)) throw damaged(`the diffs of server ${server} of repo ${repo}`);
  return parsed;
}

/** As {@link parseFiles}: name → value. */
function parseLabels(labels: string | null, repo: string, server: string): Labels | null {
  if (labels === null) return null;
  const parsed = parseJson(labels);
  if (!isTexts(parsed)) throw damaged(`the labels of server ${server} of repo ${repo}`);
  return Object.assign(Object.create(null) as Record<string, string>, parsed);
}

/** As {@link parseFiles}: drifts per bucket. */
export function parseCounts(counts: string, repo: string): number[] {
  const parsed = parseJson(counts);
  const isList = Array.isArray(parsed) && parsed.length === BUCKETS.length + 1;
  if (!isList || !parsed.every((count) => isWithin(count, 0, Number.MAX_SAFE_INTEGER))) {
    throw damaged(`the time to reconcile of repo ${repo}`);
  }
  return parsed as number[];
}

type RowEnd = [
  told: number,
  unknownSince: number | null,
  message: string | null,
  truncatedCount: number | null,
  labels: string | null,
  files: string,
];

/** Looks at what is not JSON. */
function checkRow(row: SourceRow, lastCheckMs: number): void {
  const [, repo, server, version, status, , , , , firstSeen, statusSince, receivedAt, staleAt, rejectedAt, doubtedAt] =
    row;
  const [told, unknownSince, , truncatedCount, , files] = row.slice(-6) as RowEnd;
  const isWhole =
    isWithin(version, 1, Number.MAX_SAFE_INTEGER) &&
    [firstSeen, statusSince, receivedAt, rejectedAt ?? 0, doubtedAt ?? 0, unknownSince ?? 0].every((time) =>
      isWithin(time, 0, MAX_TIME),
    ) &&
    // a check may be told to have been at any time that has a date
    isWithin(staleAt, -MAX_TIME, MAX_TIME) &&
    isWithin(staleAt - lastCheckMs, 1, MAX_STALE_AFTER_MS) &&
    isWithin(truncatedCount ?? 0, 0, Number.MAX_SAFE_INTEGER) &&
    (told === 1 || (unknownSince !== null && status === 'SYNCED')) &&
    (status === 'SYNCED') === (files === '[]');
  if (!isWhole) throw damaged(`the row of server ${server} of repo ${repo}`);
}

function isFileTuple(value: unknown): value is FileTuple {
  if (!Array.isArray(value) || value.length !== 3) return false;
  const [name, since, times] = value as unknown[];
  return typeof name === 'string' && name !== '' && isWithin(since, 0, MAX_TIME) && isWithin(times, 1, MAX_TIME);
}

/** Whether it is an object whose values are texts. */
function isTexts(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((text) => typeof text === 'string')
  );
}

function isWithin(value: unknown, min: number, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function damaged(what: string): StoreError {
  return new StoreError(
    `The database is damaged: ${what} cannot have been written as it stands there. Nothing was changed. Stop the service and restore a backup (npm run restore -- FILE)`,
  );
}
