import type { Snapshot } from '../core/ledger.ts';
import type { Store } from '../store/store.ts';
import type { Fleet } from './fleet.ts';
import type { Source } from './source-index.ts';

export type HousekeepingOptions = {
  readonly fleet: Fleet;
  readonly store: Store;
  /** Undefined: no source is forgotten by itself. */
  readonly expireAfterMs: number | undefined;
  readonly historyRetentionMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** These sources were forgotten. */
  readonly onExpired: (sources: readonly Snapshot[]) => void;
  /** So many rows of history were deleted. */
  readonly onPruned: (rows: number) => void;
  /** A pass failed; the next one tries again. */
  readonly onError: (error: Error) => void;
};

const EVERY_MS = 60_000;
/** Rows of a kind in one transaction: reports never wait long behind one. */
const PRUNE_ROWS = 1000;

/** Forgets expired sources and old history, once a minute from now on. */
export function startHousekeeping(options: HousekeepingOptions): { stop(): void } {
  let isRunning = false;
  let isStopped = false;

  async function run(): Promise<void> {
    if (isRunning) return;
    isRunning = true;
    try {
      await expire(options);
      await prune(options, () => isStopped);
    } catch (error) {
      options.onError(error as Error);
    } finally {
      isRunning = false;
    }
  }

  const timer = setInterval(() => void run(), EVERY_MS);
  void run();
  return {
    stop() {
      isStopped = true;
      clearInterval(timer);
    },
  };
}

/** Removes the sources whose last report is older than EXPIRE_AFTER. */
export async function expire({
  fleet,
  expireAfterMs,
  now,
  onExpired,
}: Pick<HousekeepingOptions, 'fleet' | 'expireAfterMs' | 'now' | 'onExpired'>): Promise<void> {
  if (expireAfterMs === undefined) return;
  const limit = now() - expireAfterMs;
  const isExpired = ({ snapshot }: Source): boolean => snapshot.receivedAt < limit;
  const expired = fleet.list().filter(isExpired);
  if (expired.length === 0) return;
  await fleet.remove(expired, isExpired);
  // one that has reported meanwhile is still there
  const gone = expired.filter((source) => source.isRemoved);
  if (gone.length > 0) onExpired(gone.map(({ snapshot }) => snapshot));
}

/** Deletes the history that ended before HISTORY_RETENTION, in small transactions. */
export async function prune(
  {
    store,
    historyRetentionMs,
    now,
    onPruned,
  }: Pick<HousekeepingOptions, 'store' | 'historyRetentionMs' | 'now' | 'onPruned'>,
  isStopped: () => boolean,
): Promise<void> {
  const before = now() - historyRetentionMs;
  let total = 0;
  let pruned = PRUNE_ROWS;
  while (pruned === PRUNE_ROWS && !isStopped()) {
    pruned = await store.prune(before, PRUNE_ROWS);
    total += pruned;
  }
  if (total > 0) onPruned(total);
}
