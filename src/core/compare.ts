/** A comparator for `sort`. It compares code units, so that lists sorted here and by SQLite have the same order. */
export function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
