/** Keeps the last `limit` of however many items, in memory for little more than twice as many. */
export type TopN<T> = {
  push(item: T): void;
  /** The last ones, in order, and whether there were others. */
  done(): { readonly items: T[]; readonly isCut: boolean };
};

/** A second bound, for items that differ in size: the last ones that fit into it, one at least. */
export type SizeBound<T> = { readonly sizeOf: (item: T) => number; readonly max: number };

/** @param compare the order, as for `sort` */
export function createTopN<T>(limit: number, compare: (a: T, b: T) => number, bound?: SizeBound<T>): TopN<T> {
  const maxSize = bound?.max ?? Number.POSITIVE_INFINITY;
  let items: T[] = [];
  let size = 0;
  let first: T | undefined;
  let isCut = false;

  function cut(): void {
    items.sort(compare);
    const start = Math.max(items.length - limit, firstThatFits());
    if (start <= 0) return;
    items = items.slice(start);
    first = items[0];
    isCut = true;
  }

  /** The index from which on the items fit into the bound; also sums up their size. */
  function firstThatFits(): number {
    size = 0;
    if (bound === undefined) return 0;
    for (let index = items.length - 1; index >= 0; index -= 1) {
      const next = size + bound.sizeOf(items[index] as T);
      if (next > maxSize && index < items.length - 1) return index + 1;
      size = next;
    }
    return 0;
  }

  return {
    push(item) {
      if (first !== undefined && compare(item, first) < 0) {
        isCut = true;
        return;
      }
      items.push(item);
      size += bound?.sizeOf(item) ?? 0;
      if (items.length >= 2 * limit + 1000 || size >= 2 * maxSize) cut();
    },
    done() {
      cut();
      return { items, isCut };
    },
  };
}
