import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { expect } from 'chai';
import { Refusal } from '../../src/core/refusal.ts';
import { type Places, type PlacesOptions, createPlaces } from '../../src/http/places.ts';
import { until } from '../fixtures.ts';

const OF_ONE_CLIENT = 4;
const OF_ALL = 8;
const LONG_MS = 60_000;

/** As far as places need it. */
type FakeResponse = ServerResponse & { leave(): void };

function createResponse(): FakeResponse {
  const response = Object.assign(new EventEmitter(), {
    destroyed: false,
    destroy() {
      response.destroyed = true;
      response.emit('close');
    },
    leave: () => response.destroy(),
  });
  return response as unknown as FakeResponse;
}

describe('places for long answers', () => {
  let places: Places;

  function create(options: Partial<PlacesOptions> = {}): void {
    places = createPlaces({ maxWaitMs: LONG_MS, maxHoldMs: LONG_MS, ...options });
  }

  /** What has become of one who asked for a place. */
  function ask(client: string, response = createResponse()) {
    const state: { response: FakeResponse; giveBack?: () => void; refusal?: Refusal } = { response };
    places.take(client, response).then(
      (giveBack) => {
        state.giveBack = giveBack;
      },
      (error: Refusal) => {
        state.refusal = error;
      },
    );
    return state;
  }

  async function take(client: string, count: number): Promise<ReturnType<typeof ask>[]> {
    const all = Array.from({ length: count }, () => ask(client));
    await until(() => all.every(({ giveBack }) => giveBack !== undefined));
    return all;
  }

  it('go on to who waits when an answer is made, when its reader has it, and when he has left', async () => {
    create();
    const [made, sent] = await take('a', OF_ONE_CLIENT);
    const waiting = Array.from({ length: 3 }, () => ask('a'));
    made?.giveBack?.();
    made?.giveBack?.();
    await until(() => waiting[0]?.giveBack !== undefined);
    expect(waiting[1]?.giveBack).to.equal(undefined);
    sent?.response.emit('close');
    await until(() => waiting[1]?.giveBack !== undefined);
    waiting[1]?.response.leave();
    await until(() => waiting[2]?.giveBack !== undefined);
  });

  it('are not kept for who has left while he waited', async () => {
    create();
    const [first] = await take('a', OF_ONE_CLIENT);
    const left = ask('a');
    const waiting = ask('a');
    left.response.leave();
    first?.giveBack?.();
    await until(() => waiting.giveBack !== undefined);
    expect(left).to.not.have.any.keys('giveBack', 'refusal');
  });

  it('are refused to who waits for too long, and are not kept for him', async () => {
    create({ maxWaitMs: 20 });
    const [first] = await take('a', OF_ONE_CLIENT);
    const late = ask('a');
    await until(() => late.refusal !== undefined);
    expect(late.refusal).to.include({ reason: 'overloaded' });
    first?.giveBack?.();
    await take('a', 1);
  });

  it('are refused when too many wait, of one client before all others', async () => {
    create({ maxWaiting: 4 });
    await take('a', OF_ONE_CLIENT);
    const waiting = Array.from({ length: 3 }, () => ask('a'));
    await until(() => waiting[2]?.refusal !== undefined);
    await take('b', OF_ALL - OF_ONE_CLIENT);
    const others = Array.from({ length: 3 }, () => ask('c'));
    await until(() => others[2]?.refusal !== undefined);
    expect([...waiting, ...others].filter(({ refusal }) => refusal !== undefined)).to.have.lengthOf(2);
  });

  it('are taken from who has had one for too long, for who waits', async () => {
    create({ maxHoldMs: 60 });
    const slow = await take('a', OF_ONE_CLIENT);
    slow.push(...(await take('b', OF_ALL - OF_ONE_CLIENT)));
    const waiting = ask('c');
    await until(() => waiting.giveBack !== undefined);
    expect(slow.filter(({ response }) => response.destroyed)).to.deep.equal([slow[0]]);
  });

  it('are taken from nobody for one who has had enough of them himself, but from himself', async () => {
    create({ maxHoldMs: 60 });
    const other = await take('b', 2);
    const own = await take('a', OF_ONE_CLIENT);
    const waiting = ask('a');
    await until(() => waiting.giveBack !== undefined);
    expect(other.some(({ response }) => response.destroyed)).to.equal(false);
    expect(own.filter(({ response }) => response.destroyed)).to.have.lengthOf(1);
  });
});
