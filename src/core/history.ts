import type { Verdict } from './ledger.ts';

/** From, inclusive, to, exclusive; null: not over. Milliseconds. */
export type Interval = readonly [from: number, to: number | null];

/** All that is known of one life of a source within a range of time. */
export type Life = {
  readonly repo: string;
  readonly server: string;
  /** From its first report to its removal. */
  readonly lived: Interval;
  readonly drifts: readonly Interval[];
  readonly lapses: readonly Interval[];
};

/** From `time` on, the source was this. */
export type StateChange = {
  readonly time: number;
  readonly repo: string;
  readonly server: string;
  readonly verdict: Verdict;
  readonly driftCount: number;
};

/**
 * A life as a step function over `[from, to]`: what it was at the beginning, each change, and what it was at the end, which is `to`, now or
 * its removal, whichever comes first. Between two changes it was what the earlier one says.
 * @returns ascending in time; empty if it did not live within the range
 */
export function stateChanges(life: Life, from: number, to: number, now: number): StateChange[] {
  const [born, removed] = life.lived;
  const start = Math.max(from, born);
  const last = Math.min(to, now);
  const end = removed === null ? last : Math.min(last, removed);
  // at its removal it is no more, and what ends with it does not show
  if (start > end || removed === start) return [];
  const steps = stepsOf(life, start, removed === end ? end - 1 : end);

  const changes: StateChange[] = [];
  let drifts = 0;
  let lapses = 0;
  const changeAt = (time: number): StateChange => {
    let verdict: Verdict = drifts > 0 ? 'OUT_OF_SYNC' : 'SYNCED';
    if (lapses > 0) verdict = 'STALE';
    return { time, repo: life.repo, server: life.server, verdict, driftCount: drifts };
  };
  for (const { time, drift, lapse } of steps) {
    drifts += drift;
    lapses += lapse;
    const change = changeAt(time);
    const previous = changes.at(-1);
    if (previous?.verdict !== change.verdict || previous.driftCount !== change.driftCount) changes.push(change);
  }
  if (end > start && changes.at(-1)?.time !== end) changes.push(changeAt(end));
  return changes;
}

type Step = { readonly time: number; drift: number; lapse: number };

/** What begins and ends from `start` to `end`, both included, summed up per instant; what began before counts as beginning at `start`. */
function stepsOf({ drifts, lapses }: Life, start: number, end: number): Step[] {
  const steps = new Map<number, Step>([[start, { time: start, drift: 0, lapse: 0 }]]);
  const add = (time: number, what: 'drift' | 'lapse', by: number): void => {
    if (time > end) return;
    const at = Math.max(time, start);
    const step = steps.get(at) ?? { time: at, drift: 0, lapse: 0 };
    step[what] += by;
    steps.set(at, step);
  };
  for (const [what, intervals] of [
    ['drift', drifts],
    ['lapse', lapses],
  ] as const) {
    for (const [from, to] of intervals) {
      add(from, what, 1);
      if (to !== null) add(to, what, -1);
    }
  }
  return [...steps.values()].toSorted((a, b) => a.time - b.time);
}
