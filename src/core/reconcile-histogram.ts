/** Upper bounds in seconds, from a minute to a month. The database stores one count per bucket, so changing them needs a migration. */
export const BUCKETS = [60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600] as const;

/**
 * How long closed drifts lasted until files were in sync again. `counts` has the drifts per bucket, not cumulative; its last entry is for those
 * beyond all bounds. `sumMs` is the sum of their durations.
 */
export type ReconcileHistogram = { readonly counts: number[]; sumMs: number };

/** Repo → histogram. */
export type ReconcileHistograms = ReadonlyMap<string, ReconcileHistogram>;

export function createHistogram(): ReconcileHistogram {
  return { counts: Array.from({ length: BUCKETS.length + 1 }, () => 0), sumMs: 0 };
}

/** Counts one closed drift. */
export function observe(entry: ReconcileHistogram, durationMs: number): void {
  const bucket = BUCKETS.findIndex((bound) => durationMs <= bound * 1000);
  const index = bucket === -1 ? BUCKETS.length : bucket;
  entry.counts[index] = (entry.counts[index] ?? 0) + 1;
  entry.sumMs += durationMs;
}
