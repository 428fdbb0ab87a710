import type { Verdict } from './ledger.ts';

/** Milliseconds: `from` inclusive, `to` exclusive. A null `to` means that it has not ended. */
export type Interval = readonly [from: number, to: number | null];

/**
 * What is known about one lifetime of a source within a time range. A lifetime begins with the first report and ends with the removal; a
 * source that is reported again begins a new one.
 */
export type Life = {
  readonly repo: string;
  readonly server: string;
  /** The lifetime itself: from the first report to the removal. */
  readonly lived: Interval;
  readonly drifts: readonly Interval[];
  /** When it was STALE. */
  readonly lapses: readonly Interval[];
  /** When its check could not tell. */
  readonly outages: readonly Interval[];
};

/** The state that a source has from `time` on. A null `verdict` means that it does not exist from then on; its `driftCount` is 0. */
export type StateChange = {
  readonly time: number;
  readonly repo: string;
  readonly server: string;
  readonly verdict: Verdict | null;
  readonly driftCount: number;
};

/**
 * The states of one lifetime within `[from, to]`. The first row has the state at the beginning, then comes one row for each change. The
 * last row repeats the state at the end, which is `to` or now, whichever comes first; or, if the source was removed by then, it says at the
 * removal that it does not exist. Between two rows, the state is that of the earlier row.
 * @returns ascending in time; empty if the source did not exist within the range
 */
export function stateChanges(life: Life, from: number, to: number, now: number): StateChange[] {
  const [born, removed] = life.lived;
  const start = Math.max(from, born);
  const last = Math.min(to, now);
  const end = removed === null ? last : Math.min(last, removed);
  // what a removal ends does not show: it is the removal that shows
  if (start > end || removed === start) return [];
  const steps = stepsOf(life, start, removed === end ? end - 1 : end);

  const changes: StateChange[] = [];
  const open = { drift: 0, lapse: 0, outage: 0 };
  const changeAt = (time: number): StateChange => {
    let verdict: Verdict = open.drift > 0 ? 'OUT_OF_SYNC' : 'SYNCED';
    if (open.outage > 0) verdict = 'UNKNOWN';
    if (open.lapse > 0) verdict = 'STALE';
    return { time, repo: life.repo, server: life.server, verdict, driftCount: open.drift };
  };
  for (const { time, drift, lapse, outage } of steps) {
    open.drift += drift;
    open.lapse += lapse;
    open.outage += outage;
    const change = changeAt(time);
    const previous = changes.at(-1);
    if (previous?.verdict !== change.verdict || previous.driftCount !== change.driftCount) changes.push(change);
  }
  if (removed === end) changes.push({ time: end, repo: life.repo, server: life.server, verdict: null, driftCount: 0 });
  else if (changes.at(-1)?.time !== end) changes.push(changeAt(end));
  return changes;
}

type Step = { readonly time: number; drift: number; lapse: number; outage: number };

/**
 * How many drifts, lapses and outages begin (+) and end (−) at each timestamp from `start` to `end`, both inclusive. What began before `start`
 * counts as beginning at `start`.
 */
function stepsOf({ drifts, lapses, outages }: Life, start: number, end: number): Step[] {
  const steps = new Map<number, Step>([[start, { time: start, drift: 0, lapse: 0, outage: 0 }]]);
  const add = (time: number, what: 'drift' | 'lapse' | 'outage', by: number): void => {
    if (time > end) return;
    const at = Math.max(time, start);
    const step = steps.get(at) ?? { time: at, drift: 0, lapse: 0, outage: 0 };
    step[what] += by;
    steps.set(at, step);
  };
  for (const [what, intervals] of [
    ['drift', drifts],
    ['lapse', lapses],
    ['outage', outages],
  ] as const) {
    for (const [from, to] of intervals) {
      add(from, what, 1);
      if (to !== null) add(to, what, -1);
    }
  }
  return [...steps.values()].toSorted((a, b) => a.time - b.time);
}
