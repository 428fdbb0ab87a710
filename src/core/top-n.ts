/** Keeps the last `limit` of however many items, in memory for little more than twice as many. */
export type TopN<T> = {
  push(item: T): void;
  /** The last ones, in order, and whether there were others. */
  done(): { readonly items: T[]; readonly isCut: boolean };
};

/** Another bound, for items that differ in size: the last ones that fit into it, one at least. */
export type SizeBound<T> = { readonly sizeOf: (item: T) => number; readonly max: number };

/**
 * @param compare the order, as for `sort`
 * @param bounds all of them hold. The result does not depend on the order in which the items come: it ends where the next item would not fit,
 *   even if one before that still would.
 */
export function createTopN<T>(
  limit: number,
  compare: (a: T, b: T) => number,
  ...bounds: readonly SizeBound<T>[]
): TopN<T> {
  const totals = bounds.map(({ sizeOf, max }) => ({ sizeOf, max, size: 0 }));
  let items: T[] = [];
  /** The last of those that are left out: what comes before it is left out too. */
  let dropped: T | undefined;

  function cut(): void {
    items.sort(compare);
    const start = Math.max(items.length - limit, firstThatFits());
    if (start <= 0) return;
    dropped = items[start - 1];
    items = items.slice(start);
  }

  /** The index from which on the items fit into the bounds; also sums up their sizes. */
  function firstThatFits(): number {
    for (const total of totals) total.size = 0;
    for (let index = items.length - 1; index >= 0; index -= 1) {
      const item = items[index] as T;
      const isFirst = index === items.length - 1;
      if (!isFirst && totals.some(({ size, sizeOf, max }) => size + sizeOf(item) > max)) return index + 1;
      add(item);
    }
    return 0;
  }

  function add(item: T): void {
    for (const total of totals) total.size += total.sizeOf(item);
  }

  return {
    push(item) {
      if (dropped !== undefined && compare(item, dropped) < 0) return;
      items.push(item);
      add(item);
      if (items.length >= 2 * limit + 1000 || totals.some(({ size, max }) => size >= 2 * max)) cut();
    },
    done() {
      cut();
      return { items, isCut: dropped !== undefined };
    },
  };
}
