/** Chance that can be had again: the campaigns draw from a seed, which they print. */

export type Random = {
  readonly seed: number;
  /** From 0 up to, but not including, this number. */
  below(limit: number): number;
  /** True this often (0 to 1). */
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
};

/** @param seed that of `CAMPAIGN_SEED`, or another one each time. What other threads do meanwhile it does not decide. */
export function createRandom(seed = Number(process.env.CAMPAIGN_SEED ?? Date.now() % 1_000_000)): Random {
  let state = seed;

  /** Mulberry32. */
  function next(): number {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  return {
    seed,
    below: (limit) => Math.floor(next() * limit),
    chance: (probability) => next() < probability,
    pick: <T>(list: readonly T[]) => list[Math.floor(next() * list.length)] as T,
  };
}

/** How long a campaign goes on: `usual`, times what `CAMPAIGN_RUNS` says (1). */
export function campaignRuns(usual: number): number {
  return Math.ceil(usual * Number(process.env.CAMPAIGN_RUNS ?? 1));
}
