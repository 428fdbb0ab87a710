/** Upper bounds in seconds: a minute … a month. Stored counts belong to them, so another list needs a migration. */
export const BUCKETS = [60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600] as const;

/** How long the files of a repo stayed different: drifts that are over, per bucket (the last one is beyond all bounds), and their sum. */
export type ReconcileHistogram = { readonly counts: number[]; sumMs: number };

/** Per repo. */
export type ReconcileHistograms = ReadonlyMap<string, ReconcileHistogram>;

export function createHistogram(): ReconcileHistogram {
  return { counts: Array.from({ length: BUCKETS.length + 1 }, () => 0), sumMs: 0 };
}

/** Counts one drift that is over. */
export function observe(entry: ReconcileHistogram, durationMs: number): void {
  const bucket = BUCKETS.findIndex((bound) => durationMs <= bound * 1000);
  const index = bucket === -1 ? BUCKETS.length : bucket;
  entry.counts[index] = (entry.counts[index] ?? 0) + 1;
  entry.sumMs += durationMs;
}
