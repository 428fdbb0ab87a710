import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { Fleet } from './fleet.ts';
import type { Metrics } from '../http/metrics.ts';
import type { Source } from './source-index.ts';
import type { Store } from '../store/store.ts';

export type HousekeepingOptions = {
  readonly fleet: Fleet;
  readonly store: Store;
  readonly config: Pick<Config, 'expireAfterMs' | 'historyRetentionMs'>;
  readonly now: () => number;
  readonly metrics: Metrics;
  readonly log: Logger;
};

const EVERY_MS = 60_000;
/** Rows of a kind in one transaction: reports never wait long behind one. */
const PRUNE_ROWS = 1000;

/** Forgets expired sources and old history, once a minute from now on. */
export function startHousekeeping(options: HousekeepingOptions): { stop(): void } {
  const { metrics, log } = options;
  let isRunning = false;
  let isStopped = false;

  async function run(): Promise<void> {
    if (isRunning) return;
    isRunning = true;
    try {
      await expire(options);
      await prune(options, () => isStopped);
    } catch (error) {
      metrics.storeFailed('prune');
      log.error({ err: error }, 'housekeeping failed; it is tried again in a minute');
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
  config,
  now,
  log,
}: Omit<HousekeepingOptions, 'store' | 'metrics'>): Promise<void> {
  const { expireAfterMs } = config;
  if (expireAfterMs === undefined) return;
  const limit = now() - expireAfterMs;
  const isExpired = ({ snapshot }: Source): boolean => snapshot.receivedAt < limit;
  const expired = fleet.list().filter(isExpired);
  if (expired.length === 0) return;
  const removed = await fleet.remove(expired, isExpired);
  // one that has reported meanwhile is still there
  const gone = expired.filter((source) => source.isRemoved);
  if (gone.length === 0) return;
  const names = gone.map(({ snapshot }) => `${snapshot.repo} ${snapshot.server}`);
  log.info(
    { removed, sources: names.slice(0, 100) },
    'forgot sources: EXPIRE_AFTER has passed since their last report',
  );
}

/** Deletes the history that ended before HISTORY_RETENTION, in small transactions. */
export async function prune(
  { store, config, now, log }: Pick<HousekeepingOptions, 'store' | 'config' | 'now' | 'log'>,
  isStopped: () => boolean,
): Promise<void> {
  const before = now() - config.historyRetentionMs;
  let total = 0;
  let pruned = PRUNE_ROWS;
  while (pruned === PRUNE_ROWS && !isStopped()) {
    pruned = await store.prune(before, PRUNE_ROWS);
    total += pruned;
  }
  if (total > 0) log.info({ rows: total }, 'forgot history: HISTORY_RETENTION has passed since');
}
