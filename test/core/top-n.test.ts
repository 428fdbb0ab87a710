import { expect } from 'chai';
import * as fc from 'fast-check';
import { createTopN } from '../../src/core/top-n.ts';

const ascending = (a: number, b: number): number => a - b;

describe('top n', () => {
  it('is empty when nothing came', () => {
    expect(createTopN<number>(3, ascending).done().items).to.deep.equal([]);
  });

  it('is all that came, in order, when it is not more than asked for', () => {
    const topN = createTopN<number>(3, ascending);
    for (const item of [3, 1, 2]) topN.push(item);
    expect(topN.done().items).to.deep.equal([1, 2, 3]);
  });

  it('is all that came when there is no limit', () => {
    const topN = createTopN<number>(Number.POSITIVE_INFINITY, ascending);
    for (let i = 5000; i > 0; i -= 1) topN.push(i);
    expect(topN.done().items).to.deep.equal(Array.from({ length: 5000 }, (_, i) => i + 1));
  });

  it('leaves equal ones in the order in which they came', () => {
    const topN = createTopN<[number, string]>(3, ([a], [b]) => a - b);
    for (const text of ['a', 'b', 'c', 'd']) topN.push([1, text]);
    expect(topN.done().items.map(([, text]) => text)).to.deep.equal(['b', 'c', 'd']);
  });

  it('is the last of however many, whatever their order', () => {
    const items = fc.array(fc.integer({ min: 0, max: 50_000 }), { minLength: 1000, maxLength: 6000, size: 'max' });
    fc.assert(
      fc.property(items, fc.integer({ min: 1, max: 2000 }), (all, limit) => {
        const topN = createTopN(limit, ascending);
        for (const item of all) topN.push(item);
        expect(topN.done().items).to.deep.equal(all.toSorted(ascending).slice(-limit));
      }),
      { numRuns: 30 },
    );
  });

  it('is the last that fit where items have a size, and tells whether there were others', () => {
    const items = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 3000, size: 'max' });
    fc.assert(
      fc.property(items, fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 50_000 }), (all, limit, max) => {
        const topN = createTopN(limit, ascending, { sizeOf: (item) => item, max });
        for (const item of all) topN.push(item);
        const expected = all.toSorted(ascending).slice(-limit);
        const total = (): number => expected.reduce((sum, item) => sum + item, 0);
        while (expected.length > 1 && total() > max) expected.shift();
        expect(topN.done()).to.deep.equal({ items: expected, isCut: expected.length < all.length });
      }),
      { numRuns: 50 },
    );
  });

  it('ends where the next one does not fit into any of its bounds, in whatever order the items come', () => {
    type Item = readonly [rank: number, size: number, weight: number];
    const sizes = fc.tuple(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 9 }));
    const items = fc.array(sizes, { minLength: 1, maxLength: 2000, size: 'max' }).chain((all) => {
      const ranked = all.map(([size, weight], rank): Item => [rank, size, weight]);
      return fc.tuple(fc.constant(ranked), fc.shuffledSubarray(ranked, { minLength: ranked.length }));
    });
    fc.assert(
      fc.property(
        items,
        fc.integer({ min: 1, max: 50_000 }),
        fc.integer({ min: 1, max: 500 }),
        ([all, mixed], a, b) => {
          const topN = createTopN<Item>(
            Number.POSITIVE_INFINITY,
            ([x], [y]) => x - y,
            { sizeOf: ([, size]) => size, max: a },
            { sizeOf: ([, , weight]) => weight, max: b },
          );
          for (const item of mixed) topN.push(item);
          const expected = [...all];
          const isOver = (): boolean =>
            expected.reduce((sum, [, size]) => sum + size, 0) > a || expected.reduce((sum, [, , w]) => sum + w, 0) > b;
          while (expected.length > 1 && isOver()) expected.shift();
          expect(topN.done()).to.deep.equal({ items: expected, isCut: expected.length < all.length });
        },
      ),
      { numRuns: 50 },
    );
  });
});
