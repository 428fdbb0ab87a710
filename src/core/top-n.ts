/** Keeps the last `limit` of however many items, in memory for little more than twice as many. */
export type TopN<T> = {
  push(item: T): void;
  /** The last ones, in order. */
  done(): T[];
};

/** @param compare the order, as for `sort` */
export function createTopN<T>(limit: number, compare: (a: T, b: T) => number): TopN<T> {
  let items: T[] = [];
  let first: T | undefined;

  function cut(): void {
    items.sort(compare);
    if (items.length <= limit) return;
    items = items.slice(-limit);
    first = items[0];
  }

  return {
    push(item) {
      if (first !== undefined && compare(item, first) < 0) return;
      items.push(item);
      if (items.length >= 2 * limit + 1000) cut();
    },
    done() {
      cut();
      return items;
    },
  };
}
