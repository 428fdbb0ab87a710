import { type Snapshot, openDriftsOf, freshness } from '../core/ledger.ts';
import type { StoredSource } from '../store/store.ts';
import { type FileSpread, createFileSpread } from './file-spread.ts';
import { type Rendered, type RenderedTexts, createRenderedTexts } from './rendered-text.ts';
import { createResident } from './resident.ts';
import { type Limits, type Usage, type Weight, createUsageCounter, weigh } from './usage.ts';

/** One repo on one server. The object stays the same until the source is removed; each report replaces its snapshot. */
export type Source = Rendered & {
  /** Repo and server, joined by a line feed. Sorting by it sorts by repo, then server: a line feed comes before every character of a name. */
  readonly key: string;
  readonly id: number;
  /** The latest snapshot, as far as memory holds it: see {@link HiddenDrifts}. */
  snapshot: Snapshot;
  /** Of all its files, hidden ones included. */
  nameBytes: number;
  /** Of its other text. */
  textBytes: number;
  /** When its last refusal was noted, on the monotonic clock. */
  rejectionNotedAt: number;
  /** When this process last got a report of it, also one that it did not take: on the monotonic clock. Undefined: not since the start. */
  heardAt: number | undefined;
  isRemoved: boolean;
};

export type Marks = Partial<Pick<Snapshot, 'lastRejectedAt' | 'doubtedAt'>>;

/** All living sources, by name and in order. */
export type SourceIndex = {
  readonly size: number;
  /** Increases with every change. */
  readonly revision: number;
  readonly fileSpread: FileSpread;
  /** How much of the limits the sources use. */
  readonly usage: Usage;
  /** How many sources have drifts that are not in memory. */
  readonly partial: number;
  readonly rendered: RenderedTexts;
  find(key: string): Source | undefined;
  /** Sorted by repo, then server. The list is never changed afterwards, the sources in it are. */
  list(): readonly Source[];
  /** The sources of one repo, found without a walk through all. */
  listOf(repo: string): readonly Source[];
  /** Returns another number than before if a source may have become STALE, or fresh, in between. */
  staleEpoch(now: number): number;
  /**
   * Adds the source, or replaces its snapshot. Under another id, it is a new source in the place of the old one. Null removes it.
   * @param stored in full, with nothing hidden
   * @param weight of its snapshot, if it is known already
   */
  put(key: string, stored: StoredSource | null, weight?: Weight): void;
  /** Notes in memory what was found out of the source beside its reports. */
  mark(source: Source, marks: Marks): void;
  /** Adds a page of stored sources. All pages come before the first read, sorted by repo, then server. */
  load(page: readonly StoredSource[]): void;
};

/** New sources are merged into the sorted list after this many, so that no single read has to sort very many. */
const MERGE_AFTER = 1000;
/** Of rendered rows and labels, over all sources. */
const MAX_RENDERED_CHARS = 33_554_432;

/** @param limits what memory may hold of the sources; what is stored may be more */
export function createSourceIndex(limits: Limits): SourceIndex {
  const sources = new Map<string, Source>();
  const fileSpread = createFileSpread();
  const usage = createUsageCounter();
  const resident = createResident(limits);
  const rendered = createRenderedTexts(MAX_RENDERED_CHARS);
  let sorted: Source[] = [];
  let added: Source[] = [];
  let hasRemoved = false;
  let revision = 0;
  let epoch = 0;
  // while the clock is within, no verdict changes by time alone; it may be too narrow, because reports change when theirs do
  let steady = { from: 0, at: 0, until: 0 };

  function add(key: string, { id, snapshot: whole }: StoredSource, weight: Weight): Source {
    const snapshot = resident.add(whole, weight.nameBytes);
    usage.add(snapshot.reportedBy, weight);
    const source = {
      key,
      id,
      snapshot,
      nameBytes: weight.nameBytes,
      textBytes: weight.textBytes,
      rejectionNotedAt: Number.NEGATIVE_INFINITY,
      heardAt: undefined,
      isRemoved: false,
      row: undefined,
      rowIsStale: false,
      labels: undefined,
    };
    sources.set(key, source);
    fileSpread.change(snapshot.repo, null, snapshot.files);
    return source;
  }

  function replace(source: Source, whole: Snapshot, weight: Weight): void {
    const before = source.snapshot;
    usage.remove(before.reportedBy, weightOf(source));
    usage.add(whole.reportedBy, weight);
    resident.remove(before, source.nameBytes);
    const snapshot = resident.add(whole, weight.nameBytes);
    fileSpread.change(before.repo, before.files, snapshot.files);
    source.snapshot = snapshot;
    source.nameBytes = weight.nameBytes;
    source.textBytes = weight.textBytes;
    rendered.dropRow(source);
  }

  function remove(source: Source): void {
    source.isRemoved = true;
    hasRemoved = true;
    sources.delete(source.key);
    usage.remove(source.snapshot.reportedBy, weightOf(source));
    resident.remove(source.snapshot, source.nameBytes);
    fileSpread.change(source.snapshot.repo, source.snapshot.files, null);
    rendered.drop(source);
  }

  function narrow(snapshot: Snapshot): void {
    for (const time of freshness(snapshot)) {
      if (time > steady.at) steady.until = Math.min(steady.until, time);
      else steady.from = Math.max(steady.from, time);
    }
  }

  /** Makes a new array, because readers may still iterate over the old one. */
  function merge(): void {
    const additions = added.filter((source) => !source.isRemoved).toSorted((a, b) => (a.key < b.key ? -1 : 1));
    const merged: Source[] = [];
    let next = 0;
    for (const source of sorted) {
      if (source.isRemoved) continue;
      for (let fresh = additions[next]; fresh !== undefined && fresh.key < source.key; fresh = additions[next]) {
        merged.push(fresh);
        next += 1;
      }
      merged.push(source);
    }
    for (; next < additions.length; next += 1) merged.push(additions[next] as Source);
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
    usage,
    rendered,
    get partial() {
      return resident.partial;
    },
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
      if (now >= steady.from && now < steady.until) return epoch;
      epoch += 1;
      steady = { from: Number.NEGATIVE_INFINITY, at: now, until: Number.POSITIVE_INFINITY };
      for (const { snapshot } of sources.values()) narrow(snapshot);
      return epoch;
    },
    put(key, next, weight) {
      revision += 1;
      if (next !== null) narrow(next.snapshot);
      const source = sources.get(key);
      if (source !== undefined && next !== null && source.id === next.id) {
        replace(source, next.snapshot, weight ?? weigh(next.snapshot));
        return;
      }
      if (source !== undefined) remove(source);
      if (next !== null) added.push(add(key, next, weight ?? weigh(next.snapshot)));
      if (added.length >= MERGE_AFTER) merge();
    },
    mark(source, marks) {
      revision += 1;
      source.snapshot = { ...source.snapshot, ...marks };
      rendered.dropRow(source);
    },
    load(page) {
      for (const source of page) {
        const { repo, server } = source.snapshot;
        sorted.push(add(keyOf(repo, server), source, weigh(source.snapshot)));
      }
    },
  };
}

/** How much of the limits the source uses. */
export function weightOf({ snapshot, nameBytes, textBytes }: Source): Weight {
  return { drifts: openDriftsOf(snapshot), nameBytes, textBytes };
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
