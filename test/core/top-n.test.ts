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
});
