import { expect } from 'chai';
import { createRoster, keyOf } from '../src/roster.ts';
import { storedSource } from './fixtures.ts';

const KEY = keyOf('web', 'lab');

describe('roster', () => {
  it('has what was stored', () => {
    const roster = createRoster([storedSource(1, { server: 'a' }), storedSource(2, { server: 'b' })]);
    expect(roster.size).to.equal(2);
    expect(roster.list().map(({ id }) => id)).to.deep.equal([1, 2]);
    expect(roster.find(keyOf('web', 'b'))).to.include({ id: 2, isRemoved: false, lastRejectedAt: 0 });
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
    const roster = createRoster([]);
    for (const [index, [repo, server]] of names.entries()) {
      roster.put(keyOf(repo, server), storedSource(index + 1, { repo, server }));
    }
    const expected = names.toSorted(([r, s], [q, t]) => (r === q ? (s < t ? -1 : 1) : r < q ? -1 : 1));
    expect(roster.list().map(({ snapshot }) => [snapshot.repo, snapshot.server])).to.deep.equal(expected);
  });

  it('merges a great many new sources among those that are there', () => {
    const server = (n: number): string => `s${String(n).padStart(5, '0')}`;
    const even = Array.from({ length: 1500 }, (_, i) => storedSource(i + 1, { server: server(2 * i) }));
    const roster = createRoster(even);
    for (let i = 1499; i >= 0; i -= 1) {
      roster.put(keyOf('web', server(2 * i + 1)), storedSource(2000 + i, { server: server(2 * i + 1) }));
    }
    roster.put(keyOf('web', server(6)), null);
    const servers = roster.list().map(({ snapshot }) => snapshot.server);
    expect(servers).to.deep.equal(Array.from({ length: 3000 }, (_, i) => server(i)).toSpliced(6, 1));
  });

  it('keeps the object of a source when its snapshot is replaced', () => {
    const roster = createRoster([storedSource(1)]);
    const source = roster.find(KEY);
    if (source !== undefined) source.row = 'rendered';
    roster.put(KEY, storedSource(1, { version: 2 }));
    expect(roster.find(KEY)).to.equal(source);
    expect(source?.snapshot.version).to.equal(2);
    expect(source?.row, 'what was rendered of the old one').to.equal(undefined);
  });

  it('makes another object for another life', () => {
    const roster = createRoster([storedSource(1)]);
    const first = roster.find(KEY);
    roster.put(KEY, storedSource(2));
    expect(first?.isRemoved).to.equal(true);
    expect(roster.find(KEY)).to.include({ id: 2, isRemoved: false });
    expect(roster.list().map(({ id }) => id)).to.deep.equal([2]);
    expect(roster.size).to.equal(1);
  });

  it('does not change a list that a reader walks along', () => {
    const roster = createRoster([storedSource(1, { server: 'a' }), storedSource(2, { server: 'b' })]);
    const list = roster.list();
    roster.put(keyOf('web', 'a'), null);
    roster.put(keyOf('web', 'c'), storedSource(3, { server: 'c' }));
    expect(roster.list().map(({ id }) => id)).to.deep.equal([2, 3]);
    expect(list.map(({ id }) => id)).to.deep.equal([1, 2]);
  });

  it('takes the removal of what it does not have', () => {
    const roster = createRoster([]);
    roster.put(KEY, null);
    expect(roster.size).to.equal(0);
    expect(roster.list()).to.deep.equal([]);
  });

  it('forgets a source that goes before anyone has listed it', () => {
    const roster = createRoster([]);
    roster.put(KEY, storedSource(1));
    roster.put(KEY, null);
    roster.put(KEY, storedSource(2));
    expect(roster.list().map(({ id }) => id)).to.deep.equal([2]);
  });

  it('has another revision after every change', () => {
    const roster = createRoster([storedSource(1)]);
    const seen = new Set([roster.revision]);
    roster.put(KEY, storedSource(1, { version: 2 }));
    seen.add(roster.revision);
    roster.put(KEY, null);
    seen.add(roster.revision);
    roster.put(KEY, storedSource(2));
    seen.add(roster.revision);
    expect(seen.size).to.equal(4);
  });

  it('keeps the spread up to date with every change', () => {
    const roster = createRoster([storedSource(1, { server: 'a', files: ['x', 'y'] })]);
    const { spread } = roster;
    roster.put(keyOf('web', 'b'), storedSource(2, { server: 'b', files: ['x'] }));
    expect([spread.servers('web'), spread.drifted('web', 'x'), spread.drifted('web', 'y')]).to.deep.equal([2, 2, 1]);
    roster.put(keyOf('web', 'a'), storedSource(1, { server: 'a', files: ['y'], version: 2 }));
    expect([spread.drifted('web', 'x'), spread.drifted('web', 'y')]).to.deep.equal([1, 1]);
    roster.put(keyOf('web', 'b'), storedSource(3, { server: 'b', files: ['y'] }));
    expect([spread.drifted('web', 'x'), spread.drifted('web', 'y')], 'another life').to.deep.equal([0, 2]);
    roster.put(keyOf('web', 'b'), null);
    expect([spread.servers('web'), spread.drifted('web', 'y')]).to.deep.equal([1, 1]);
  });
});
