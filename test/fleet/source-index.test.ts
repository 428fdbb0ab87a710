import { expect } from 'chai';
import { keyOf } from '../../src/fleet/source-index.ts';
import { storedSource, sourceIndexOf } from '../fixtures.ts';

const KEY = keyOf('web', 'lab');

describe('source index', () => {
  it('has what was stored', () => {
    const sourceIndex = sourceIndexOf([storedSource(1, { server: 'a' }), storedSource(2, { server: 'b' })]);
    expect(sourceIndex.size).to.equal(2);
    expect(sourceIndex.list().map(({ id }) => id)).to.deep.equal([1, 2]);
    expect(sourceIndex.find(keyOf('web', 'b'))).to.include({ id: 2, isRemoved: false });
  });

  it('lists by repo, then server, in the order of their characters', () => {
    const names = [
      ['web', 'b'],
      ['web', 'a'],
      ['web-1', 'a'],
      ['web', 'B'],
      ['Web', 'z'],
      ['web/x', '0'],
      ['web', 'a.b'],
    ] as const;
    const sourceIndex = sourceIndexOf([]);
    for (const [index, [repo, server]] of names.entries()) {
      sourceIndex.put(keyOf(repo, server), storedSource(index + 1, { repo, server }));
    }
    const expected = names.toSorted(([r, s], [q, t]) => (r === q ? (s < t ? -1 : 1) : r < q ? -1 : 1));
    expect(sourceIndex.list().map(({ snapshot }) => [snapshot.repo, snapshot.server])).to.deep.equal(expected);
  });

  it('merges a great many new sources among those that are there', () => {
    const server = (n: number): string => `s${String(n).padStart(5, '0')}`;
    const even = Array.from({ length: 1500 }, (_, i) => storedSource(i + 1, { server: server(2 * i) }));
    const sourceIndex = sourceIndexOf(even);
    for (let i = 1499; i >= 0; i -= 1) {
      sourceIndex.put(keyOf('web', server(2 * i + 1)), storedSource(2000 + i, { server: server(2 * i + 1) }));
    }
    sourceIndex.put(keyOf('web', server(6)), null);
    const servers = sourceIndex.list().map(({ snapshot }) => snapshot.server);
    expect(servers).to.deep.equal(Array.from({ length: 3000 }, (_, i) => server(i)).toSpliced(6, 1));
  });

  it('keeps the object of a source when its snapshot is replaced', () => {
    const sourceIndex = sourceIndexOf([storedSource(1)]);
    const source = sourceIndex.find(KEY);
    if (source !== undefined) source.row = 'rendered';
    sourceIndex.put(KEY, storedSource(1, { version: 2 }));
    expect(sourceIndex.find(KEY)).to.equal(source);
    expect(source?.snapshot.version).to.equal(2);
    expect(source?.row, 'what was rendered of the old one').to.equal(undefined);
  });

  it('makes another object for another life', () => {
    const sourceIndex = sourceIndexOf([storedSource(1)]);
    const first = sourceIndex.find(KEY);
    sourceIndex.put(KEY, storedSource(2));
    expect(first?.isRemoved).to.equal(true);
    expect(sourceIndex.find(KEY)).to.include({ id: 2, isRemoved: false });
    expect(sourceIndex.list().map(({ id }) => id)).to.deep.equal([2]);
    expect(sourceIndex.size).to.equal(1);
  });

  it('does not change a list that a reader walks along', () => {
    const sourceIndex = sourceIndexOf([storedSource(1, { server: 'a' }), storedSource(2, { server: 'b' })]);
    const list = sourceIndex.list();
    sourceIndex.put(keyOf('web', 'a'), null);
    sourceIndex.put(keyOf('web', 'c'), storedSource(3, { server: 'c' }));
    expect(sourceIndex.list().map(({ id }) => id)).to.deep.equal([2, 3]);
    expect(list.map(({ id }) => id)).to.deep.equal([1, 2]);
  });

  it('takes the removal of what it does not have', () => {
    const sourceIndex = sourceIndexOf([]);
    sourceIndex.put(KEY, null);
    expect(sourceIndex.size).to.equal(0);
    expect(sourceIndex.list()).to.deep.equal([]);
  });

  it('forgets a source that goes before anyone has listed it', () => {
    const sourceIndex = sourceIndexOf([]);
    sourceIndex.put(KEY, storedSource(1));
    sourceIndex.put(KEY, null);
    sourceIndex.put(KEY, storedSource(2));
    expect(sourceIndex.list().map(({ id }) => id)).to.deep.equal([2]);
  });

  it('has another revision after every change', () => {
    const sourceIndex = sourceIndexOf([storedSource(1)]);
    const seen = new Set([sourceIndex.revision]);
    sourceIndex.put(KEY, storedSource(1, { version: 2 }));
    seen.add(sourceIndex.revision);
    sourceIndex.put(KEY, null);
    seen.add(sourceIndex.revision);
    sourceIndex.put(KEY, storedSource(2));
    seen.add(sourceIndex.revision);
    expect(seen.size).to.equal(4);
  });

  it('keeps the file spread up to date with every change', () => {
    const sourceIndex = sourceIndexOf([storedSource(1, { server: 'a', files: ['x', 'y'] })]);
    const { fileSpread } = sourceIndex;
    sourceIndex.put(keyOf('web', 'b'), storedSource(2, { server: 'b', files: ['x'] }));
    expect([fileSpread.servers('web'), fileSpread.drifted('web', 'x'), fileSpread.drifted('web', 'y')]).to.deep.equal([
      2, 2, 1,
    ]);
    sourceIndex.put(keyOf('web', 'a'), storedSource(1, { server: 'a', files: ['y'], version: 2 }));
    expect([fileSpread.drifted('web', 'x'), fileSpread.drifted('web', 'y')]).to.deep.equal([1, 1]);
    sourceIndex.put(keyOf('web', 'b'), storedSource(3, { server: 'b', files: ['y'] }));
    expect([fileSpread.drifted('web', 'x'), fileSpread.drifted('web', 'y')], 'another id').to.deep.equal([0, 2]);
    sourceIndex.put(keyOf('web', 'b'), null);
    expect([fileSpread.servers('web'), fileSpread.drifted('web', 'y')]).to.deep.equal([1, 1]);
  });
});
