import type { ReconcileHistogram } from '../core/reconcile-histogram.ts';
import type { StateChange } from '../core/history.ts';
import type { Advance, Lapse, OpenDrift, Snapshot } from '../core/ledger.ts';

/**
 * The row of a source's present life. `id` is never used twice, not even for the same repo and server, so that id and version
 * together name one state of one life.
 */
export type StoredSource = { readonly id: number; readonly snapshot: Snapshot };

/** Commit only if the row still has this version; null: only if the source does not exist. */
export type Expected = { readonly id: number; readonly version: number };

export type ReportChange = {
  readonly kind: 'report';
  readonly expected: Expected | null;
  readonly advance: Advance;
  readonly diffs: Readonly<Record<string, string>> | null;
};

export type RemovalChange = {
  readonly kind: 'removal';
  readonly expected: Expected;
  readonly at: number;
  /** All drifts that are open: they end with the source. */
  readonly closed: readonly OpenDrift[];
  readonly lapse: Lapse | null;
};

export type Change = ReportChange | RemovalChange;

/**
 * What became of one change: done, with `times` for each of `advance.opened`, in order (how many drifts of that file this
 * life of the source has had, this one included, as far as its history reaches); or not done because the row has moved on, with
 * the row that won (null: there is none).
 */
export type Outcome =
  | { readonly id: number; readonly times: readonly number[] }
  | { readonly conflict: StoredSource | null };

/** A drift that is over. */
export type ClosedDrift = {
  readonly repo: string;
  readonly server: string;
  readonly name: string;
  readonly times: number;
  readonly openedAt: number;
  readonly closedAt: number;
};

export type StoredLapse = { readonly repo: string; readonly server: string } & Lapse;

/** All that is stored of one source, read at one instant. */
export type Detail = StoredSource & {
  readonly diffs: Readonly<Record<string, string>>;
  /** The newest closed drifts of this life, newest first. */
  readonly drifts: readonly ClosedDrift[];
};

/** `from` and `to` in milliseconds; what touches the half-open interval between them is in. */
export type Range = { readonly from: number; readonly to: number };

/** Which sources, removed ones too; what is undefined does not choose. `ids` are of living ones. */
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

/** A store failed. The message says how, in words an operator can act on; it may be shown by `/readyz`. */
export class StoreError extends Error {}

/**
 * Keeps what must survive. All times are milliseconds since the epoch. Every method rejects with {@link StoreError}.
 *
 * The embedded driver has one process to itself. A driver for several processes keeps the same promises: that is what the
 * versions are for.
 */
export type Store = {
  /** For `gitops_build_info` and the log, such as `sqlite 3.53.0`. */
  readonly name: string;

  /** All living sources, sorted by repo, then server, in pages small enough to be held whole. */
  load(): AsyncIterable<readonly StoredSource[]>;

  /** One living source; null if there is none. Sees every commit that was asked for before. */
  source(repo: string, server: string): Promise<StoredSource | null>;

  /**
   * Writes all changes in one transaction, at most one change per source, and resolves when they are on disk. A change whose
   * expected row has moved on is left out and told in its outcome; the others are done all the same. When it rejects, nothing
   * of the batch is stored. Outcomes are in the order of the changes.
   */
  commit(changes: readonly Change[]): Promise<Outcome[]>;

  /** Null if there is no such source now. Sees every commit that has resolved. Never waits behind a commit. */
  detail(repo: string, server: string, maxDrifts: number, signal?: AbortSignal): Promise<Detail | null>;

  /**
   * Closed drifts that overlap the range, of removed sources too; of more than `limit` those that opened last. Sorted by openedAt, then
   * repo, server, name. Never waits behind a commit.
   * @param signal of the reader: when it is aborted the query ends, and rejects with its reason
   * @throws {Refusal} `query_timeout` when it takes too long, `overloaded` when too many are running
   */
  drifts(range: Range, limit?: number, selection?: Selection, signal?: AbortSignal): Promise<Listed<ClosedDrift>>;

  /**
   * What the sources were in the range, removed ones too, as `stateChanges` in `history.ts` gives it; of more than `limit` changes the
   * newest. Ascending in time, then by repo and server. Never waits behind a commit. Ends as `drifts` does.
   */
  history(
    range: Range,
    now: number,
    limit?: number,
    selection?: Selection,
    signal?: AbortSignal,
  ): Promise<Listed<StateChange>>;

  /** Per repo, how long drifts that a report has ended had lasted: all there ever were, whatever has been pruned. */
  reconcileHistograms(): Promise<Map<string, ReconcileHistogram>>;

  /** Ended lapses that overlap the range, sorted by their beginning, then repo, server. Never waits behind a commit. */
  lapses(range: Range): Promise<StoredLapse[]>;

  /**
   * Deletes history that ended before `before`: at most `limit` rows of each kind, in one transaction.
   * @returns how many rows went; fewer than `limit` means that it is done
   */
  prune(before: number, limit: number): Promise<number>;

  /** Resolves if a write reached the disk just now. */
  ready(): Promise<void>;

  /** Waits for commits under way. Nothing may be called afterwards. */
  close(): Promise<void>;
};
