import { MAX_FILES } from './report-schema.ts';
import type { Report } from './report.ts';

/** As an open drift of the ledger. */
type Drift = { readonly name: string; readonly since: number; readonly times: number };

export type NextFiles = {
  readonly files: readonly Drift[];
  readonly opened: readonly string[];
  readonly closed: readonly Drift[];
  /** The same files, in the same order. */
  readonly hasSameFiles: boolean;
};

/**
 * Which files differ after the report. One that could not tell changes nothing of it, and one that does not name all closes none.
 * @param before the files before; null: it is the first report of the source
 * @param at when drifts that open now begin
 */
export function nextFiles(before: readonly Drift[] | null, report: Report, at: number): NextFiles {
  const known = before ?? [];
  const hasSameNames =
    before !== null &&
    known.length === report.files.length &&
    known.every((drift, i) => drift.name === report.files[i]);
  if (hasSameNames || (before !== null && report.syncStatus === 'UNKNOWN')) {
    return { files: known, opened: [], closed: [], hasSameFiles: true };
  }
  const names = report.truncatedCount === null ? report.files : withKnown(known, report.files);
  const compared = compareFiles(known, names, at, before === null ? 1 : 0);
  // the names that are known come first, in their order
  return { ...compared, hasSameFiles: report.truncatedCount !== null && compared.opened.length === 0 };
}

/** The files of a report that does not name all that differ, and those that are known beside: those first, since the bound must close none. */
function withKnown(known: readonly Drift[], posted: readonly string[]): readonly string[] {
  const names = new Set(known.map(({ name }) => name));
  for (const name of posted) if (names.size < MAX_FILES) names.add(name);
  return [...names];
}

function compareFiles(
  known: readonly Drift[],
  names: readonly string[],
  at: number,
  times: number,
): { files: Drift[]; opened: string[]; closed: Drift[] } {
  const left = new Map<string, Drift>();
  for (const drift of known) left.set(drift.name, drift);
  const opened: string[] = [];
  const files = names.map((name) => {
    const drift = left.get(name);
    if (drift !== undefined) {
      left.delete(name);
      return drift;
    }
    opened.push(name);
    return { name, since: at, times };
  });
  return { files, opened, closed: [...left.values()] };
}
