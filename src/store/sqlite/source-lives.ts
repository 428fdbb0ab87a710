/** Brings the lives of each source together: those that are over are stored by their end, the living ones by name. */
import { Refusal } from '../../core/refusal.ts';
import type { Selection } from '../store.ts';
import type { HistoryQueries, LifeRow } from './history-queries.ts';

/** Sources whose names have this remainder. */
type Part = { readonly index: number; readonly of: number };

/** Lives that are over, in memory at a time. Where there are more, sources are read in parts, with a pass over all lives for each. */
const MAX_LIVES = 50_000;
/** Beyond it the query is refused: one source has lived that often. */
const MAX_PARTS = 1024;

/**
 * The lives of each selected source that overlap the range, newest first; `undefined` wherever it can be interrupted. No source comes twice.
 */
export function* livesBySource(
  queries: HistoryQueries,
  from: number,
  to: number,
  selection: Selection,
  part: Part = { index: 0, of: 1 },
): Generator<LifeRow[] | undefined, void> {
  const removed = new Map<string, LifeRow[]>();
  let count = 0;
  for (const life of queries.lives(from, to, selection)) {
    if (!isIn(part, life)) {
      yield undefined;
    } else if (life[4] === null) {
      yield [life, ...take(removed, life)];
    } else {
      count += 1;
      if (count > MAX_LIVES) break;
      const key = keyOf(life);
      const others = removed.get(key);
      if (others === undefined) removed.set(key, [life]);
      else others.push(life);
      yield undefined;
    }
  }
  if (count > MAX_LIVES) {
    removed.clear();
    for (const half of halves(part)) yield* livesBySource(queries, from, to, selection, half);
    return;
  }
  for (const lives of removed.values()) yield newestFirst(lives);
}

/** The lives of a source that ended before this one. */
function take(removed: Map<string, LifeRow[]>, life: LifeRow): LifeRow[] {
  if (removed.size === 0) return [];
  const key = keyOf(life);
  const lives = removed.get(key) ?? [];
  removed.delete(key);
  return newestFirst(lives);
}

/** An id is larger than those before it, whatever the clock said. */
function newestFirst(lives: LifeRow[]): LifeRow[] {
  return lives.toSorted(([a], [b]) => b - a);
}

function halves({ index, of }: Part): Part[] {
  if (of >= MAX_PARTS) {
    throw new Refusal(
      'query_timeout',
      'A source was removed too often in this range: ask for a shorter one, or for single repos or servers',
    );
  }
  return [
    { index, of: 2 * of },
    { index: index + of, of: 2 * of },
  ];
}

function isIn({ index, of }: Part, life: LifeRow): boolean {
  return of === 1 || hashOf(keyOf(life)) % of === index;
}

function keyOf([, repo, server]: LifeRow): string {
  return `${repo}\n${server}`;
}

/** FNV-1a, 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
