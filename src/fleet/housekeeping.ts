import type { Snapshot } from '../core/ledger.ts';
import type { Store } from '../store/store.ts';
import type { Fleet } from './fleet.ts';
import type { Source } from './source-index.ts';

export type HousekeepingOptions = {
  readonly fleet: Fleet;
  readonly store: Store;
  /** Undefined: sources never expire. */
  readonly expireAfterMs: number | undefined;
  readonly historyRetentionMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Called with the sources that have expired and were removed. */
  readonly onExpired: (sources: readonly Snapshot[]) => void;
  /** Called with the number of deleted rows of history. */
  readonly onPruned: (rows: number) => void;
  /** Called when a pass has failed. The next one tries again. */
  readonly onError: (error: Error) => void;
};

const EVERY_MS = 60_000;
/** Rows of each kind that one transaction deletes. Small, so that reports never wait long for it. */
const PRUNE_ROWS = 1000;

/** Removes expired sources and deletes old history, at once and then every minute. */
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
  // a source that has reported meanwhile was kept
  const gone = expired.filter((source) => source.isRemoved);
  if (gone.length > 0) onExpired(gone.map(({ snapshot }) => snapshot));
}

/** Deletes the history that ended more than HISTORY_RETENTION ago, in small transactions. */
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
