import { expect } from 'chai';
import { type Unread, createUnread } from '../../src/http/unread.ts';

describe('bodies that readers have not taken yet', () => {
  let unread: Unread;
  let cut: string[];

  beforeEach(() => {
    unread = createUnread(100);
    cut = [];
  });

  function hold(name: string, body: Buffer | number): ReturnType<Unread['hold']> {
    return unread.hold(typeof body === 'number' ? Buffer.alloc(body) : body, () => cut.push(name));
  }

  it('count until they are taken, or their reader is gone', () => {
    const first = hold('first', 40);
    hold('second', 60);
    expect(unread.bytes).to.equal(100);
    expect([unread.hasRoom(0), unread.hasRoom(1)]).to.deep.equal([true, false]);
    first.release();
    first.release();
    expect(unread.bytes).to.equal(60);
    expect([unread.hasRoom(40), unread.hasRoom(41)]).to.deep.equal([true, false]);
  });

  it('count once when several readers share one, until the last has taken it', () => {
    const shared = Buffer.alloc(80);
    const readers = ['a', 'b', 'c'].map((name) => hold(name, shared));
    expect(unread.bytes).to.equal(80);
    readers[0]?.release();
    readers[2]?.release();
    expect(unread.bytes).to.equal(80);
    readers[1]?.release();
    expect(unread.bytes).to.equal(0);
    expect(cut).to.deep.equal([]);
  });

  it('cost the readers their connection that have taken nothing for the longest time, when there are too many', () => {
    const [first] = ['first', 'second', 'third', 'fourth'].map((name) => hold(name, 25));
    first?.progress();
    hold('fifth', 30);
    expect(cut).to.deep.equal(['second', 'third']);
    expect(unread.bytes).to.equal(80);
  });

  it('may be larger than that for one reader', () => {
    hold('small', 10);
    const large = hold('large', 1000);
    expect(cut).to.deep.equal(['small']);
    large.progress();
    expect(unread.bytes).to.equal(1000);
    hold('next', 10);
    expect(cut).to.deep.equal(['small', 'large']);
    expect(unread.bytes).to.equal(10);
  });

  it('count no more for readers that were cut off, whatever they tell', () => {
    const first = hold('first', 100);
    hold('second', 100);
    first.progress();
    first.release();
    expect(unread.bytes).to.equal(100);
    expect(cut).to.deep.equal(['first']);
  });
});
