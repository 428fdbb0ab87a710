import { once } from 'node:events';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { expect } from 'chai';
import Koa from 'koa';
import { createDelivery } from '../../src/http/delivery.ts';
import { type Unread, createUnread } from '../../src/http/unread.ts';
import { until } from '../fixtures.ts';
import { type Wire, get, openWire, post } from '../wire.ts';

const MIB = 1_048_576;
/** More than the systems at both ends take for a reader that does not read. */
const LARGE_BYTES = 32 * MIB;
/** Requests that may wait behind another on one connection, and on all together. */
const MAX_WAITING = 100;
const MAX_WAITING_OF_ALL = 5000;

describe('the delivery of answers', () => {
  let unread: Unread;
  let server: Server;
  let wires: Wire[];
  let begun: number;
  let gate: PromiseWithResolvers<void>;
  let stream: Readable | undefined;

  beforeEach(async () => {
    unread = createUnread(64 * MIB);
    wires = [];
    begun = 0;
    gate = Promise.withResolvers<void>();
    stream = undefined;
    await start(60_000);
  });
  afterEach(async () => {
    gate.resolve();
    for (const wire of wires) wire.destroy();
    await stop();
  });

  async function start(stallMs: number): Promise<void> {
    const app = new Koa();
    app.silent = true;
    app.use(createDelivery({ unread, stallMs }));
    app.use(async (ctx) => {
      begun += 1;
      if (ctx.path === '/slow') await gate.promise;
      ctx.body = bodyOf(ctx.path);
    });
    server = createServer(app.callback()).listen(0, '127.0.0.1');
    await once(server, 'listening');
  }

  function bodyOf(path: string): unknown {
    if (path === '/stream') {
      stream = Readable.from(endless());
      return stream;
    }
    return path === '/slow' || path === '/small' ? path : Buffer.alloc(LARGE_BYTES, 'x');
  }

  async function stop(): Promise<void> {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }

  async function open(...requests: readonly string[]): Promise<Wire> {
    const wire = await openWire((server.address() as AddressInfo).port);
    wires.push(wire);
    wire.send(requests.join(''));
    return wire;
  }

  function times(count: number, request: string): string {
    return request.repeat(count);
  }

  describe('to requests that were sent ahead', () => {
    it('is in their order, whatever comes first', async () => {
      const wire = await open(get('/slow'), post('{}'), get('/small'));
      gate.resolve();
      await until(() => wire.text().endsWith('/small'));
      const [first, second, third] = wire.text().split('HTTP/1.1 200 OK').slice(1);
      expect(first).to.match(/\/slow$/);
      expect(second?.length).to.be.greaterThan(LARGE_BYTES);
      expect(third).to.match(/\/small$/);
    });

    it('makes answers to reads when it is their turn', async () => {
      const wire = await open(get('/slow'), times(10, get('/small')));
      await until(() => begun === 1);
      const other = await open(get('/small'));
      await other.has(/\/small$/);
      expect(begun).to.equal(2);
      gate.resolve();
      await until(() => wire.text().split('/small').length === 11);
    });

    it('takes a hundred that wait, and closes the connection of who sends one more', async () => {
      const enough = await open(get('/slow'), times(MAX_WAITING, get('/small')));
      const tooMany = await open(get('/slow'), times(MAX_WAITING + 1, get('/small')));
      expect(await tooMany.closed).to.equal('');
      gate.resolve();
      await until(() => enough.text().split('/small').length === MAX_WAITING + 1);
    });

    it('takes so many of all connections, and closes who adds one; then there is room again', async () => {
      const waiting: Wire[] = [];
      for (let count = 0; count < MAX_WAITING_OF_ALL; count += MAX_WAITING) {
        waiting.push(await open(get('/slow'), times(MAX_WAITING, get('/small'))));
      }
      await until(() => begun === waiting.length);
      expect(await (await open(get('/slow'), get('/small'))).closed).to.equal('');
      const patient = await open(get('/small'));
      await patient.has(/\/small$/);
      for (const wire of waiting) wire.destroy();
      await Promise.all(waiting.map(({ closed }) => closed));
      const next = await open(get('/small'), times(MAX_WAITING, get('/small')));
      await until(() => next.text().split('/small').length === MAX_WAITING + 2);
    });

    it('goes on for as many as come one after another', async () => {
      const wire = await open();
      for (let count = 0; count <= MAX_WAITING_OF_ALL; count += MAX_WAITING) {
        wire.send(times(MAX_WAITING, get('/small')));
        const seen = count + MAX_WAITING + 1;
        await until(() => wire.isClosed() || wire.text().split('/small').length === seen);
        expect(wire.isClosed()).to.equal(false);
      }
    });

    it('holds nothing any more for a client that has left before its turn', async () => {
      const wire = await open(get('/slow'), post('{}'));
      await until(() => unread.bytes === LARGE_BYTES);
      wire.destroy();
      await until(() => unread.bytes === 0);
    });
  });

  it('holds nothing any more for a reader that has left in the middle of it', async () => {
    const wire = await open(get('/large'));
    wire.socket.pause();
    await until(() => unread.bytes === LARGE_BYTES);
    wire.destroy();
    await until(() => unread.bytes === 0);
  });

  it('makes no more of a stream when its reader has left', async () => {
    const wire = await open(get('/stream'));
    wire.socket.pause();
    await until(() => unread.bytes > 0);
    wire.destroy();
    await until(() => stream?.destroyed === true && unread.bytes === 0);
  });

  it('ends for a reader that takes nothing for too long, and for no other', async () => {
    await stop();
    await start(150);
    const reader = await open(get('/large'));
    const sleeper = await open(get('/large'));
    sleeper.socket.pause();
    await until(() => reader.text().length > LARGE_BYTES);
    await until(() => unread.bytes === 0);
    sleeper.socket.resume();
    expect((await sleeper.closed).length).to.be.lessThan(LARGE_BYTES);
    reader.send(get('/small'));
    await until(() => reader.text().endsWith('/small'));
  });
});

function* endless(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(MIB, 'x');
}
