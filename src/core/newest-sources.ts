import { compareTexts } from './compare.ts';
import type { StateChange } from './history.ts';
import { createTopN } from './top-n.ts';

/** Keeps the rows of those sources that changed last, in memory for little more than twice as many rows as fit. */
export type NewestSources = {
  /** @param rows all rows of one source, ascending in time. Of more than fit, the older ones may be missing. */
  push(rows: readonly StateChange[]): void;
  /** By time, then repo and server; and whether any were left out. */
  done(): { readonly rows: StateChange[]; readonly isCut: boolean };
};

type Source = { readonly rows: readonly StateChange[]; readonly changedAt: number };

/** Memory for one row, without its names. */
export const CHANGE_BYTES = 150;

/**
 * Sources stay whole: a row that is missing would show a state for too long, or not at all. The one that changed last stays first, and so on
 * until one does not fit into what is left: no source that is left out changed later than one that stays. Of those that changed in the same
 * millisecond, the first by repo and server stays. If the very first one has too many rows by itself, its newest rows stay.
 * @param maxRows one at least
 */
export function createNewestSources(maxRows: number, maxBytes: number): NewestSources {
  const sources = createTopN<Source>(
    Number.POSITIVE_INFINITY,
    compareSources,
    { sizeOf: ({ rows }) => rows.length, max: maxRows },
    { sizeOf: ({ rows }) => rows.length * changeSize(rows), max: maxBytes },
  );
  let isAnyShortened = false;

  return {
    push(rows) {
      if (rows.length === 0) return;
      const fitting = Math.max(1, Math.min(maxRows, Math.floor(maxBytes / changeSize(rows))));
      if (rows.length > fitting) isAnyShortened = true;
      sources.push({ rows: rows.length > fitting ? rows.slice(-fitting) : rows, changedAt: lastChange(rows) });
    },
    done() {
      const { items, isCut } = sources.done();
      // sorting by time keeps the order of names
      const rows = items.toSorted(compareNames).flatMap((source) => source.rows);
      return { rows: rows.toSorted((a, b) => a.time - b.time), isCut: isCut || isAnyShortened };
    },
  };
}

/** The closing row of a source that lives on is no change: all of them have it at the same time. */
function lastChange(rows: readonly StateChange[]): number {
  const last = rows.at(-1) as StateChange;
  const previous = rows.at(-2);
  const isRepeated = previous?.verdict === last.verdict && previous.driftCount === last.driftCount;
  return isRepeated ? previous.time : last.time;
}

function changeSize([first]: readonly StateChange[]): number {
  return CHANGE_BYTES + (first?.repo.length ?? 0) + (first?.server.length ?? 0);
}

/** What stays comes last. */
function compareSources(a: Source, b: Source): number {
  return a.changedAt - b.changedAt || compareNames(b, a);
}

function compareNames({ rows: [a] }: Source, { rows: [b] }: Source): number {
  return compareTexts(a?.repo ?? '', b?.repo ?? '') || compareTexts(a?.server ?? '', b?.server ?? '');
}
