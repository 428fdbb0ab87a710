/** Compares by code units, as SQLite and the sourceIndex's keys do; for `sort`. */
export function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
