import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Snapshot, verdictOf } from '../core/ledger.ts';
import { toIso } from '../core/timestamp.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Source } from '../fleet/source-index.ts';
import type { EventStream } from './event-stream.ts';

export type PulseOptions = {
  readonly fleet: Pick<Fleet, 'list' | 'revision' | 'staleEpoch'>;
  readonly events: Pick<EventStream, 'publish' | 'ping'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The ETag of the unfiltered `/status.json`, as its header has it. */
  readonly etagNow: () => string;
};

/** What time does to the fleet, told to whoever listens: a report tells of itself, but nobody sends that none has come. */
export type Pulse = {
  /** Tells which sources have become STALE since the beat before, and every 15th time that the stream lives. To be called every second. */
  beat(): Promise<void>;
};

const BEAT_MS = 1000;
const BEATS_PER_PING = 15;
const BEATS_PER_LOOK = 5;
/** Looked at, and told of, in one go. A listener that reads keeps up with so many; the log of events is longer. */
const SOURCES_AT_ONCE = 10_000;
const EVENTS_AT_ONCE = 500;

/** Beats every second until it is stopped. Does not keep the process alive. */
export function startPulse(options: PulseOptions): { stop(): void } {
  const pulse = createPulse(options);
  const timer = setInterval(() => void pulse.beat(), BEAT_MS);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

/** What is STALE now is known: nobody is told of it. */
export function createPulse({ fleet, events, now, etagNow }: PulseOptions): Pulse {
  const stale = new WeakSet<Source>();
  let seen = { epoch: fleet.staleEpoch(now()), revision: fleet.revision };
  let beats = 0;
  let isBusy = false;
  for (const source of fleet.list()) if (isStale(source, now())) stale.add(source);

  function isStale({ snapshot }: Source, at: number): boolean {
    return verdictOf(snapshot, at) === 'STALE';
  }

  /** Looks at all sources, where any of them may be another than at the beat before. */
  async function tellStale(): Promise<void> {
    const at = now();
    const state = { epoch: fleet.staleEpoch(at), revision: fleet.revision };
    // with reports alone, only one that is old on arrival makes a source STALE: that may be told a little later
    const mayHaveOld = beats % BEATS_PER_LOOK === 0 && state.revision !== seen.revision;
    if (state.epoch === seen.epoch && !mayHaveOld) return;
    seen = state;
    let told = 0;
    for (const [index, source] of fleet.list().entries()) {
      if (index % SOURCES_AT_ONCE === SOURCES_AT_ONCE - 1) await nextTurn();
      if (!isStale(source, at)) stale.delete(source);
      else if (!stale.has(source) && !source.isRemoved) {
        stale.add(source);
        events.publish('stale', JSON.stringify(toStale(source.snapshot, at)));
        told += 1;
        if (told % EVENTS_AT_ONCE === 0) await nextTurn();
      }
    }
  }

  return {
    async beat() {
      if (isBusy) return;
      isBusy = true;
      beats += 1;
      try {
        await tellStale();
      } finally {
        isBusy = false;
      }
      if (beats % BEATS_PER_PING === 0) events.ping(JSON.stringify({ time: toIso(now()), etag: etagNow() }));
    },
  };
}

function toStale({ repo, server, staleAt, receivedAt }: Snapshot, now: number) {
  // before that, it is stale for a last check that lies ahead of the clock
  return { repo, server, time: toIso(Math.min(Math.max(staleAt, receivedAt), now)) };
}
