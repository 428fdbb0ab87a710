import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { Refusal } from '../../src/core/refusal.ts';
import { type BodyAccount, type BodyEntry, createBodyAccount } from '../../src/http/body-account.ts';

const MIB = 1_048_576;
/** Of the pool of large bodies. */
const ROOM_MIB = 32;
/** Longer than a sender may pause once there is no room. */
const PAUSE_MS = 1100;

describe('the account of bodies', () => {
  let account: BodyAccount;
  let evicted: BodyEntry[];

  beforeEach(() => {
    account = createBodyAccount(MIB);
    evicted = [];
  });

  function open(announcedBytes: number | undefined = MIB): BodyEntry {
    const entry = account.open(announcedBytes);
    entry.onEvicted = () => evicted.push(entry);
    return entry;
  }

  /** Bodies that take all the room there is. */
  function fill(): BodyEntry[] {
    return Array.from({ length: ROOM_MIB }, () => {
      const entry = open();
      entry.add(MIB);
      return entry;
    });
  }

  function refusalOf(run: () => void): Refusal | undefined {
    try {
      run();
      return undefined;
    } catch (error) {
      return error as Refusal;
    }
  }

  it('refuses a byte more than there is room for, and evicts nobody who has not paused', () => {
    fill();
    expect(refusalOf(() => open().add(1))).to.include({ reason: 'overloaded' });
    expect(evicted).to.deep.equal([]);
  });

  it('has room again for what is closed, and counts no body twice that is closed twice', () => {
    const [first] = fill();
    first?.close();
    first?.close();
    expect(refusalOf(() => open().add(MIB))).to.equal(undefined);
    expect(refusalOf(() => open().add(1))).to.include({ reason: 'overloaded' });
  });

  it('keeps room for small bodies, but for none that does not say how large it is', () => {
    fill();
    expect(refusalOf(() => open(65_536).add(65_536))).to.equal(undefined);
    expect(refusalOf(() => open(65_537).add(1))).to.include({ reason: 'overloaded' });
    expect(refusalOf(() => account.open(undefined).add(1))).to.include({ reason: 'overloaded' });
  });

  it('evicts as many as it needs of those that have paused, the one first whose last byte is the oldest', async () => {
    const entries = fill();
    const [oldest, second] = entries;
    await setTimeout(PAUSE_MS);
    oldest?.close();
    oldest?.add(MIB);
    expect(refusalOf(() => open().add(1))).to.equal(undefined);
    expect(evicted).to.deep.equal([second]);
  });

  it('evicts no body that is whole', async () => {
    for (const entry of fill()) entry.complete();
    await setTimeout(PAUSE_MS);
    expect(refusalOf(() => open().add(1))).to.include({ reason: 'overloaded' });
    expect(evicted).to.deep.equal([]);
  });
});
