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
  /** Milliseconds of the clock that nobody sets: the one that the fleet has. */
  readonly monotonic: () => number;
  /** Called with the sources that have expired and were removed. */
  readonly onExpired: (sources: readonly Snapshot[]) => void;
  /** Called with the number of deleted rows of history. */
  readonly onPruned: (rows: number) => void;
  /** Called when the clock was set by so many milliseconds, back if negative: the pass then does nothing. */
  readonly onClockMoved: (ms: number) => void;
  /** Called when a pass has failed. The next one tries again. */
  readonly onError: (error: Error) => void;
};

/** Removes what is too old. Nothing is removed because a clock says so that was wrong, or because the service was down. */
export type Housekeeping = {
  /** Removes expired sources, then old history. Does nothing while another pass is under way. */
  pass(): Promise<void>;
  /** A pass that is under way ends soon. */
  stop(): void;
};

const EVERY_MS = 60_000;
/** Rows of each kind that one transaction deletes. Small, so that reports never wait long for it. */
const PRUNE_ROWS = 1000;
/** Clocks drift apart by less between two passes. By more, somebody has set the one, or the machine was asleep. */
const MAX_CLOCK_MOVE_MS = 60_000;
/** After the start, and after the clock was set, for so long: time to notice a clock that is wrong, and for sources to report. */
const WAIT_MS = 60 * 60_000;

/** Makes a pass at once and then every minute. */
export function startHousekeeping(options: HousekeepingOptions): { stop(): void } {
  const housekeeping = createHousekeeping(options);
  const timer = setInterval(() => void housekeeping.pass(), EVERY_MS);
  void housekeeping.pass();
  return {
    stop() {
      clearInterval(timer);
      housekeeping.stop();
    },
  };
}

/** The time of the start is that of the call. */
export function createHousekeeping(options: HousekeepingOptions): Housekeeping {
  const { now, monotonic, onClockMoved, onError } = options;
  const start: Moment = { wall: now(), monotonic: monotonic() };
  let last = start;
  let pruneFrom = start.monotonic + WAIT_MS;
  let isRunning = false;
  let isStopped = false;

  async function work(): Promise<void> {
    const at: Moment = { wall: now(), monotonic: monotonic() };
    const movedMs = at.wall - last.wall - (at.monotonic - last.monotonic);
    last = at;
    if (movedMs > MAX_CLOCK_MOVE_MS) options.fleet.withdrawDoubts();
    options.fleet.doubtAhead();
    if (Math.abs(movedMs) > MAX_CLOCK_MOVE_MS) {
      pruneFrom = at.monotonic + WAIT_MS;
      onClockMoved(movedMs);
      return;
    }
    await expire(options, start);
    if (at.monotonic >= pruneFrom) await prune(options, () => isStopped);
  }

  return {
    async pass() {
      if (isRunning || isStopped) return;
      isRunning = true;
      try {
        await work();
      } catch (error) {
        onError(error as Error);
      } finally {
        isRunning = false;
      }
    },
    stop() {
      isStopped = true;
    },
  };
}

/** One moment by two clocks. */
type Moment = { readonly wall: number; readonly monotonic: number };

/** Removes the sources that were silent for longer than EXPIRE_AFTER. */
async function expire({ fleet, expireAfterMs, now, monotonic, onExpired }: HousekeepingOptions, start: Moment) {
  if (expireAfterMs === undefined) return;
  const isExpired = (source: Source): boolean => {
    const upMs = monotonic() - start.monotonic;
    const { heardAt, snapshot } = source;
    if (heardAt !== undefined) return monotonic() - heardAt > expireAfterMs;
    if (upMs < Math.min(expireAfterMs, WAIT_MS) || upMs < intervalOf(snapshot)) return false;
    // of two clocks that differ the one counts that says less
    return Math.min(now(), start.wall + upMs) - snapshot.receivedAt > expireAfterMs;
  };
  const expired = fleet.list().filter(isExpired);
  if (expired.length === 0) return;
  await fleet.remove(expired, isExpired);
  // a source that has reported meanwhile was kept
  const gone = expired.filter((source) => source.isRemoved);
  if (gone.length > 0) onExpired(gone.map(({ snapshot }) => snapshot));
}

/** How long the source may take from one check to the next. */
function intervalOf({ staleAt, lastCheckMs }: Snapshot): number {
  return staleAt - lastCheckMs;
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
