import type { Logger } from 'pino';
import { type Snapshot, verdictOf } from './core/ledger.ts';
import { toIso } from './core/timestamp.ts';
import type { Accepted } from './fleet/batch.ts';
import type { FleetOptions } from './fleet/fleet.ts';
import type { HousekeepingOptions } from './fleet/housekeeping.ts';
import type { EventStream } from './http/event-stream.ts';
import type { Metrics } from './http/metrics.ts';
import { toReceipt } from './http/source-json.ts';

export type Observers = Pick<FleetOptions, 'onCommit' | 'onStoreError' | 'onStored' | 'onRemoved'> &
  Pick<HousekeepingOptions, 'onExpired' | 'onPruned' | 'onClockMoved' | 'onError'>;

const MAX_NAMES = 100;

/**
 * What log, metrics and events learn of the fleet and its housekeeping, which know none of them.
 * @param now milliseconds since the epoch
 */
export function createObservers(
  log: Logger,
  metrics: Metrics,
  events: Pick<EventStream, 'publish'>,
  now: () => number,
): Observers {
  return {
    onCommit: metrics.commitDone,
    onStored(accepted, ignored) {
      if (accepted.result === 'unchanged' && !isBack(accepted, now())) return;
      events.publish('change', JSON.stringify(toReceipt(accepted, ignored, now())));
    },
    onRemoved: ({ repo, server }, at) => events.publish('removed', JSON.stringify({ repo, server, time: toIso(at) })),
    onStoreError(operation, error) {
      metrics.storeFailed(operation);
      log.error({ operation, err: error }, 'the store failed');
    },
    onExpired(sources) {
      log.info(
        { removed: sources.length, sources: sources.slice(0, MAX_NAMES).map(nameOf) },
        'forgot sources: EXPIRE_AFTER has passed since their last report',
      );
    },
    onPruned: (rows) => log.info({ rows }, 'forgot history: HISTORY_RETENTION has passed since'),
    onClockMoved: (ms) =>
      log.warn(
        { moved_seconds: Math.round(ms / 1000) },
        'the clock was set, or the machine was asleep: nothing of the past is forgotten for an hour',
      ),
    onError(error) {
      metrics.storeFailed('prune');
      log.error({ err: error }, 'housekeeping failed; it is tried again in a minute');
    },
  };
}

/** Whether the report ends that its source is STALE. */
function isBack({ previous, snapshot }: Accepted, now: number): boolean {
  return previous !== null && verdictOf(previous, now) === 'STALE' && verdictOf(snapshot, now) !== 'STALE';
}

function nameOf({ repo, server }: Snapshot): string {
  return `${repo} ${server}`;
}
