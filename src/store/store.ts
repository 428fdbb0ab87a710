import type { ReconcileHistogram } from '../core/reconcile-histogram.ts';
import type { StateChange } from '../core/history.ts';
import type { Advance, Lapse, OpenDrift, Outage, Snapshot } from '../core/ledger.ts';

/**
 * A living source as it is stored. An `id` is never used again, not even when the same repo and server come back after a removal. So id and
 * version together identify one state.
 */
export type StoredSource = { readonly id: number; readonly snapshot: Snapshot };

/** The change is done only if the row still has this version (optimistic locking). */
export type Expected = { readonly id: number; readonly version: number };

export type ReportChange = {
  readonly kind: 'report';
  /** Null: the change is done only if the source does not exist. */
  readonly expected: Expected | null;
  readonly advance: Advance;
  /** Of a report that could not tell there are none: those before stay. */
  readonly diffs: Readonly<Record<string, string>> | null;
};

export type RemovalChange = {
  readonly kind: 'removal';
  readonly expected: Expected;
  readonly at: number;
  /** All open drifts: they end with the source. */
  readonly closed: readonly OpenDrift[];
  readonly lapse: Lapse | null;
  readonly outage: Outage | null;
  /** As of an advance. */
  readonly isRewound: boolean;
};

/** Notes what was found out of a source beside its reports. Its outcome is never a conflict. */
export type MarksChange = {
  readonly kind: 'marks';
  readonly id: number;
  readonly lastRejectedAt: number | null;
  readonly doubtedAt: number | null;
};

export type Change = ReportChange | RemovalChange | MarksChange;

/**
 * The result of one change. If it was done: the row's id and `times` for each of `advance.opened`, in order. `times` counts the drifts of that
 * file since the source was created, including this one, as far as its history reaches. If another change came first: the row as it is now,
 * null if the source is gone.
 */
export type Outcome =
  | { readonly id: number; readonly times: readonly number[] }
  | { readonly conflict: StoredSource | null };

/** A drift that has ended. */
export type ClosedDrift = {
  readonly repo: string;
  readonly server: string;
  readonly name: string;
  readonly times: number;
  readonly openedAt: number;
  readonly closedAt: number;
};

export type StoredLapse = { readonly repo: string; readonly server: string } & Lapse;

/** Everything that is stored about one source, read in one transaction. */
export type Detail = StoredSource & {
  readonly diffs: Readonly<Record<string, string>>;
  /** The drifts that were closed last since the source was created, newest first. */
  readonly drifts: readonly ClosedDrift[];
};

/** Milliseconds; `from` is inclusive, `to` exclusive. Everything that overlaps the range belongs to it. */
export type Range = { readonly from: number; readonly to: number };

/** Selects sources, including removed ones. A field that is undefined selects all. `ids` select living sources only. */
export type Selection = {
  readonly repos?: readonly string[] | undefined;
  readonly servers?: readonly string[] | undefined;
  readonly ids?: readonly number[] | undefined;
};

/** The newest rows of a longer list, in order. */
export type Listed<T> = {
  readonly rows: T[];
  /** Older rows were left out: there were more than asked for, or than fit into an answer. */
  readonly isCut: boolean;
};

/** The store failed. The message tells an operator what to do; `/readyz` may show it. */
export class StoreError extends Error {
  /** Of a commit: it may be on disk all the same. */
  readonly mayBeStored: boolean;

  constructor(message: string, { mayBeStored = false, cause }: { mayBeStored?: boolean; cause?: unknown } = {}) {
    super(message, { cause });
    this.mayBeStored = mayBeStored;
  }
}

/**
 * Everything that must survive a restart. All times are milliseconds since the epoch. Every method may reject with {@link StoreError}.
 *
 * The embedded driver serves one process. A driver for several processes can keep the same promises: the versions are there for that.
 */
export type Store = {
  /** For `gitops_build_info` and the log, such as `sqlite 3.53.0`. */
  readonly name: string;

  /** All living sources, sorted by repo, then server, in pages small enough to be held whole. */
  load(): AsyncIterable<readonly StoredSource[]>;

  /** One living source; null if there is none. Sees every commit that was asked for before. */
  source(repo: string, server: string): Promise<StoredSource | null>;

  /**
   * Writes all changes in one transaction and resolves when they are on disk. There is at most one change per source. A change whose row no
   * longer has the expected version is skipped, and its outcome says so; the others are done. When it rejects, nothing of the batch is
   * stored, unless the error says that it may be: all of it then is, or nothing. Outcomes are in the order of the changes.
   */
  commit(changes: readonly Change[]): Promise<Outcome[]>;

  /** Null if the source does not exist now. Sees every commit that has resolved. Never waits for a commit. */
  detail(repo: string, server: string, maxDrifts: number, signal?: AbortSignal): Promise<Detail | null>;

  /**
   * Closed drifts that overlap the range, including those of removed sources. If there are more than `limit`, those that opened last. Sorted by
   * openedAt, then repo, server, name. Never waits for a commit.
   * @param signal when it is aborted, the query stops and rejects with the signal's reason
   * @throws {Refusal} `query_timeout` when it takes too long, `overloaded` when too many are running
   */
  drifts(range: Range, limit?: number, selection?: Selection, signal?: AbortSignal): Promise<Listed<ClosedDrift>>;

  /**
   * The changes of state of all sources in the range, including removed ones, as defined by `stateChanges` in `core/history.ts`. A source that
   * comes back in the millisecond of its removal has no row that says that it does not exist. If there are more than `limit`, whole sources
   * stay, as defined by `createNewestSources` in `core/newest-sources.ts`. Sorted by time, then repo and server; no source has two rows of the
   * same time. Never waits for a commit. `signal` and errors are as with `drifts`.
   */
  history(
    range: Range,
    now: number,
    limit?: number,
    selection?: Selection,
    signal?: AbortSignal,
  ): Promise<Listed<StateChange>>;

  /** Per repo, the durations of all drifts that a report has ever closed. Pruning does not change them. */
  reconcileHistograms(): Promise<Map<string, ReconcileHistogram>>;

  /** Ended lapses that overlap the range, sorted by their beginning, then repo, server. Never waits for a commit. */
  lapses(range: Range): Promise<StoredLapse[]>;

  /**
   * Deletes history that ended before `before`: at most `limit` rows of each kind, in one transaction.
   * @returns the largest number of rows deleted of any kind; fewer than `limit` means that no more are left
   */
  prune(before: number, limit: number): Promise<number>;

  /** Tries a write, and resolves when it is on disk. */
  ready(): Promise<void>;

  /** Waits for commits in flight. No method may be called afterwards. */
  close(): Promise<void>;
};
