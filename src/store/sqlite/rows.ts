/** An open drift, as the column `files` stores it and as it is passed between threads. `times` 0: still to be counted. */
export type FileTuple = [name: string, since: number, times: number];

/** A report's change as it is passed to the writer thread. Flat and short, because every value is copied. */
export type ReportTuple = [
  id: number,
  version: number,
  /** What was last told; null: nothing was yet. From here on as the columns of the statements that write it. */
  toldStatus: string | null,
  unknownSince: number | null,
  message: string | null,
  truncatedCount: number | null,
  labels: string | null,
  lastCheck: string,
  commit: string | null,
  pipelineUrl: string | null,
  reportedBy: string | null,
  statusSince: number,
  receivedAt: number,
  staleAt: number,
  diffs: string | null,
  ...ReportEnd,
];
export type ReportEnd = [
  lapseFrom: number | null,
  outageFrom: number | null,
  /** Null: unchanged. */
  files: FileTuple[] | null,
  closed: FileTuple[] | null,
  /** Null unless the source is new or a drift has closed. */
  repo: string | null,
  /** Null unless the source is new. */
  server: string | null,
  isRewound: boolean,
];

export type RemovalTuple = [
  id: number,
  version: number,
  at: number,
  lapseFrom: number | null,
  outageFrom: number | null,
  closed: FileTuple[],
  isRewound: boolean,
];

export type MarksTuple = [id: number, lastRejectedAt: number | null, doubtedAt: number | null];

/** The columns of {@link SourceRow}, in the same order. */
export const SOURCE_COLUMNS = `id, repo, server, version, sync_status, last_check, commit_id, pipeline_url, reported_by,
  first_seen, status_since, received_at, stale_at, last_rejected_at, doubted_at, told, unknown_since, message, truncated_count, labels, files`;

export type SourceRow = [
  id: number,
  repo: string,
  server: string,
  version: number,
  syncStatus: 'SYNCED' | 'OUT_OF_SYNC',
  lastCheck: string,
  commit: string | null,
  pipelineUrl: string | null,
  reportedBy: string | null,
  firstSeen: number,
  statusSince: number,
  receivedAt: number,
  staleAt: number,
  lastRejectedAt: number | null,
  doubtedAt: number | null,
  told: number,
  unknownSince: number | null,
  message: string | null,
  truncatedCount: number | null,
  labels: string | null,
  files: string,
];

/** Per change: the id and `times` of its opened drifts; or, if another change came first, the row as it is now. */
export type OutcomeTuple = [id: number, times: number[] | null] | { row: SourceRow | null };
