/** How often a property is tried, and so how long it may take: `usual`, times what `PROPERTY_RUNS` says (1). */
export function runs(usual: number): number {
  return Math.max(1, Math.round(usual * Number(process.env.PROPERTY_RUNS ?? 1)));
}
