import type { Snapshot } from '../core/ledger.ts';
import { type FileSpread, createFileSpread } from './file-spread.ts';
import type { StoredSource } from '../store/store.ts';

/** One (repo, server). The object stays the same for as long as the source lives; its snapshot is replaced. */
export type Source = {
  /** Sorts by repo, then server: a line feed comes before every character that these may have. */
  readonly key: string;
  readonly id: number;
  snapshot: Snapshot;
  /** When a report of this source was last refused, milliseconds; 0 if none was. Not stored. */
  lastRejectedAt: number;
  isRemoved: boolean;
  /** What the views have rendered of it: the JSON row of this snapshot and whether that says STALE; the metric labels. */
  row: string | undefined;
  rowIsStale: boolean;
  labels: string | undefined;
};

/** All living sources, by name and in order. */
export type SourceIndex = {
  readonly size: number;
  /** Grows with every change. */
  readonly revision: number;
  readonly fileSpread: FileSpread;
  find(key: string): Source | undefined;
  /** Sorted by repo, then server. The list is never changed afterwards, the sources in it are. */
  list(): readonly Source[];
  /** Those of `list` that belong to the repo, without looking at the others. */
  listOf(repo: string): readonly Source[];
  /** Is another number whenever a source may have become STALE since it was asked before. */
  staleEpoch(now: number): number;
  /** Adds the source or gives it its new snapshot; another id is another life. Null removes it. */
  put(key: string, stored: StoredSource | null): void;
};

/** News are merged into the sorted list in portions, so that no single reader has to sort very many. */
const MERGE_AFTER = 1000;

/** @param stored sorted by repo, then server */
export function createSourceIndex(stored: readonly StoredSource[]): SourceIndex {
  const sources = new Map<string, Source>();
  const fileSpread = createFileSpread();
  let sorted: Source[] = stored.map((source) => add(keyOf(source.snapshot.repo, source.snapshot.server), source));
  let added: Source[] = [];
  let hasRemoved = false;
  let revision = 0;
  let epoch = 0;
  // no source becomes STALE before; a report may have made it later for all
  let nextStaleAt = 0;

  function add(key: string, { id, snapshot }: StoredSource): Source {
    const source = {
      key,
      id,
      snapshot,
      lastRejectedAt: 0,
      isRemoved: false,
      row: undefined,
      rowIsStale: false,
      labels: undefined,
    };
    sources.set(key, source);
    fileSpread.change(snapshot.repo, null, snapshot.files);
    return source;
  }

  function remove(source: Source): void {
    source.isRemoved = true;
    hasRemoved = true;
    sources.delete(source.key);
    fileSpread.change(source.snapshot.repo, source.snapshot.files, null);
  }

  /** Makes a new array: readers may still be walking along the old one. */
  function merge(): void {
    const news = added.filter((source) => !source.isRemoved).toSorted((a, b) => (a.key < b.key ? -1 : 1));
    const merged: Source[] = [];
    let next = 0;
    for (const source of sorted) {
      if (source.isRemoved) continue;
      for (let fresh = news[next]; fresh !== undefined && fresh.key < source.key; fresh = news[next]) {
        merged.push(fresh);
        next += 1;
      }
      merged.push(source);
    }
    for (; next < news.length; next += 1) merged.push(news[next] as Source);
    sorted = merged;
    added = [];
    hasRemoved = false;
  }

  function list(): readonly Source[] {
    if (added.length > 0 || hasRemoved) merge();
    return sorted;
  }

  return {
    fileSpread,
    get size() {
      return sources.size;
    },
    get revision() {
      return revision;
    },
    find: (key) => sources.get(key),
    list,
    listOf(repo) {
      const all = list();
      const start = firstFrom(all, keyOf(repo, ''));
      let end = start;
      while (all[end]?.snapshot.repo === repo) end += 1;
      return all.slice(start, end);
    },
    staleEpoch(now) {
      if (now < nextStaleAt) return epoch;
      epoch += 1;
      nextStaleAt = Number.POSITIVE_INFINITY;
      for (const { snapshot } of list()) {
        if (snapshot.staleAt > now && snapshot.staleAt < nextStaleAt) nextStaleAt = snapshot.staleAt;
      }
      return epoch;
    },
    put(key, next) {
      revision += 1;
      if (next !== null) nextStaleAt = Math.min(nextStaleAt, next.snapshot.staleAt);
      const source = sources.get(key);
      if (source !== undefined && next !== null && source.id === next.id) {
        fileSpread.change(source.snapshot.repo, source.snapshot.files, next.snapshot.files);
        source.snapshot = next.snapshot;
        source.row = undefined;
        return;
      }
      if (source !== undefined) remove(source);
      if (next !== null) added.push(add(key, next));
      if (added.length >= MERGE_AFTER) merge();
    },
  };
}

export function keyOf(repo: string, server: string): string {
  return `${repo}\n${server}`;
}

/** The index of the first source whose key is not before `key`. */
function firstFrom(sources: readonly Source[], key: string): number {
  let low = 0;
  let high = sources.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sources[middle] as Source).key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
