import { once } from 'node:events';
import { type IncomingMessage, type Server, createServer, get } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { mock } from 'node:test';
import { expect } from 'chai';
import { EventSource } from 'eventsource';
import { type EventStream, createEventStream } from '../../../src/http/event-stream.ts';
import { Refusal } from '../../../src/core/refusal.ts';
import { headersOf } from '../../../src/http/problem.ts';
import { NOW, type Service, createClock, makeFolder, reportOf, startService, until } from '../../fixtures.ts';

type Seen = { readonly type: string; readonly id: string; readonly data: Record<string, unknown> };

describe('GET /api/events', () => {
  let folder: ReturnType<typeof makeFolder>;
  let service: Service;
  let sources: EventSource[];
  const clock = createClock();
  beforeEach(async () => {
    folder = makeFolder();
    sources = [];
    service = await start();
  });
  afterEach(async () => {
    for (const source of sources) source.close();
    await service.stop();
    folder.remove();
  });

  function start(): Promise<Service> {
    return startService({ dataDir: folder.path, clock });
  }

  /** Listens; when the service has been started anew it finds it there, as behind one address. */
  async function listen(lastEventId?: string): Promise<{ readonly events: Seen[]; readonly source: EventSource }> {
    const events: Seen[] = [];
    const source = new EventSource(`${service.url}/api/events`, {
      fetch: (_, init) =>
        fetch(`${service.url}/api/events`, {
          ...init,
          headers: { ...init.headers, ...(lastEventId !== undefined && { 'Last-Event-ID': lastEventId }) },
        }),
    });
    sources.push(source);
    for (const type of ['change', 'reset']) {
      source.addEventListener(type, ({ data, lastEventId: id }: { data: string; lastEventId: string }) => {
        events.push({ type, id, data: JSON.parse(data) as Record<string, unknown> });
      });
    }
    await until(() => source.readyState === EventSource.OPEN);
    return { events, source };
  }

  async function report(names: readonly string[], changes: Record<string, unknown> = {}): Promise<unknown> {
    return (await service.post(reportOf(names, changes))).json();
  }

  it('has an event for each report that created or changed a source, with its receipt', async () => {
    const { events } = await listen();
    const receipts = [await report(['a', 'b']), await report(['b', 'c']), await report([], { server: 'other' })];
    await until(() => events.length === 3);
    expect(events.map(({ data }) => data)).to.deep.equal(receipts);
    expect(events.map(({ type, data }) => `${type} ${data.result as string}`)).to.deep.equal([
      'change created',
      'change changed',
      'change created',
    ]);
  });

  it('has none for reports that change nothing', async () => {
    const { events } = await listen();
    await report(['a']);
    await report(['a']);
    await report([], { last_check: '2026-04-21T10:00:00Z' });
    await report([], { repo: '' });
    await report(['b']);
    await until(() => events.length >= 2);
    expect(events.map(({ data }) => data.result)).to.deep.equal(['created', 'changed']);
  });

  it('keeps names with line breaks of any kind in one event', async () => {
    const { events } = await listen();
    const names = ['a\u2028b', '日本\u2029', 'id: 7', 'data:'];
    await report(names);
    await until(() => events.length === 1);
    expect(events[0]?.data.opened).to.deep.equal(names);
  });

  it('has the same for all who listen', async () => {
    const listeners = await Promise.all([listen(), listen(), listen()]);
    await report(['a']);
    await until(() => listeners.every(({ events }) => events.length === 1));
    const [first, ...others] = listeners.map(({ events }) => events);
    for (const other of others) expect(other).to.deep.equal(first);
  });

  it('shows a reader of lists what an event has told', async () => {
    const { events } = await listen();
    await report(['a']);
    await until(() => events.length === 1);
    expect(await (await service.request('/status.json')).json()).to.have.length(1);
  });

  it('goes on with what was missed when the stream breaks and a listener comes back by itself', async () => {
    const { events, source } = await listen();
    await report(['a']);
    await until(() => events.length === 1);
    const reconnected = once(source as unknown as EventTarget, 'open');
    service.events.disconnect();
    await report(['b']);
    await report(['c']);
    await reconnected;
    await until(() => events.length >= 3);
    expect(events.map(({ type, data }) => `${type} ${(data.opened as string[]).join(' ')}`)).to.deep.equal([
      'change a',
      'change b',
      'change c',
    ]);
  });

  it('resumes after the event that a listener has seen last', async () => {
    const { events } = await listen();
    for (const name of ['a', 'b', 'c']) await report([name]);
    await until(() => events.length === 3);
    const resumed = await listen(events[0]?.id);
    await until(() => resumed.events.length === 2);
    expect(resumed.events).to.deep.equal(events.slice(1));
    const last = await listen(events[2]?.id);
    await report(['d']);
    await until(() => last.events.length > 0);
    expect(last.events[0]?.data.opened).to.deep.equal(['d']);
  });

  it('begins with what comes, for who has seen nothing yet', async () => {
    await report(['a']);
    const { events } = await listen();
    await report(['b']);
    await until(() => events.length > 0);
    expect(events[0]?.data.opened).to.deep.equal(['b']);
  });

  it('has ids that grow strictly, over restarts too', async () => {
    const ids: number[] = [];
    for (let run = 0; run < 3; run += 1) {
      const { events, source } = await listen();
      await report([`a${run}`]);
      await report([`b${run}`]);
      await until(() => events.length === 2);
      ids.push(...events.map(({ id }) => Number(id)));
      source.close();
      await service.stop();
      clock.advance(1);
      service = await start();
    }
    expect(ids).to.deep.equal([...new Set(ids)].toSorted((a, b) => a - b));
    expect(ids).to.have.length(6);
  });

  it('says reset to who was away during a restart, and goes on from there', async () => {
    const before = await listen();
    await report(['a']);
    await until(() => before.events.length === 1);
    await service.stop();
    clock.advance(60_000);
    service = await start();
    const after = await listen(before.events[0]?.id);
    await until(() => after.events.length === 1);
    expect(after.events[0]).to.deep.include({ type: 'reset', data: {} });
    expect(Number(after.events[0]?.id)).to.be.above(Number(before.events[0]?.id));
    await report(['b']);
    await until(() => after.events.length === 2);
    const resumed = await listen(after.events[0]?.id);
    await until(() => resumed.events.length > 0);
    expect(resumed.events).to.deep.equal(after.events.slice(1));
  });

  for (const id of ['0', '-1', 'abc', '9007199254740993', '99999999999999999999', '1e9', ' ']) {
    it(`says reset to who comes with "${id}"`, async () => {
      await report(['a']);
      const { events } = await listen(id === ' ' ? '%20' : id);
      await until(() => events.length > 0);
      expect(events[0]?.type).to.equal('reset');
    });
  }

  it('resumes as far as 1,000 events back, and says reset beyond', async () => {
    const first = await listen();
    for (let i = 0; i < 2500; i += 1) service.events.publish(JSON.stringify({ i }));
    await until(() => first.events.length === 2500);
    const near = await listen(first.events[1499]?.id);
    await until(() => near.events.length >= 1000);
    expect(near.events).to.deep.equal(first.events.slice(1500));
    const far = await listen(first.events[0]?.id);
    await until(() => far.events.length > 0);
    expect(far.events.map(({ type, id }) => `${type} ${id}`)).to.deep.equal([`reset ${first.events[2499]?.id}`]);
  });

  it('remembers fewer of them when they are long', async () => {
    const { events, source } = await listen();
    service.events.publish('{}');
    await until(() => events.length === 1);
    source.close();
    const first = Number(events[0]?.id);
    const data = JSON.stringify({ text: 'x'.repeat(1_000_000) });
    for (let i = 1; i <= 100; i += 1) service.events.publish(data);
    const [far, near] = await Promise.all([listen(String(first + 80)), listen(String(first + 95))]);
    await until(() => far.events.length >= 1 && near.events.length >= 5);
    expect(far.events.map(({ type }) => type)).to.deep.equal(['reset']);
    expect(near.events.map(({ id }) => Number(id) - first)).to.deep.equal([96, 97, 98, 99, 100]);
  });

  it('asks proxies to pass events on at once, and nobody to keep them', async () => {
    const stop = new AbortController();
    const { status, headers } = await service.request('/api/events', { signal: stop.signal });
    stop.abort();
    expect(status).to.equal(200);
    expect(headers.get('Content-Type')).to.equal('text/event-stream; charset=utf-8');
    expect(headers.get('Cache-Control')).to.equal('no-cache');
    expect(headers.get('X-Accel-Buffering')).to.equal('no');
    expect(headers.get('X-Request-Id')).to.match(/^request-/);
  });

  it('answers HEAD and ends', async () => {
    const response = await service.request('/api/events', { method: 'HEAD' });
    expect([response.status, await response.text()]).to.deep.equal([200, '']);
    expect(response.headers.get('Content-Type')).to.match(/^text\/event-stream/);
  });

  it('ends when the service stops, and a service that stops takes no listener', async () => {
    const { source } = await listen();
    service.setStopping(true);
    service.events.close();
    await until(() => source.readyState !== EventSource.OPEN);
    source.close();
    const response = await service.request('/api/events');
    expect(response.status).to.equal(503);
    expect(response.headers.get('Content-Type')).to.match(/^application\/problem\+json/);
  });
}).timeout(60_000);

describe('events', () => {
  let events: EventStream;
  let now: number;
  /** Until when those may listen who come now. */
  let expiresAt: number | undefined;
  let server: Server;
  let refusals: unknown[];
  let sockets: Socket[];
  /** They come from two clients in turn. */
  let requests: number;

  beforeEach(async () => {
    mock.timers.enable({ apis: ['setInterval'] });
    now = NOW;
    expiresAt = undefined;
    events = createEventStream(() => now);
    refusals = [];
    sockets = [];
    requests = 0;
    server = createServer((request, response) => {
      try {
        const lastEventId = String(request.headers['last-event-id'] ?? '');
        const client = String(request.headers['x-client'] ?? requests % 2);
        requests += 1;
        events.subscribe(response, { client, lastEventId, until: expiresAt });
      } catch (error) {
        refusals.push(error);
        response.writeHead(503).end();
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(() => {
    mock.timers.reset();
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  });

  const port = (): number => (server.address() as AddressInfo).port;

  /** The raw text of a stream, as it grows. */
  async function read(): Promise<{ text(): string; readonly message: IncomingMessage }> {
    const [message] = (await once(get({ port: port(), agent: false }), 'response')) as [IncomingMessage];
    let text = '';
    message.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    message.on('error', () => {});
    return { text: () => text, message };
  }

  /** Listens without ever reading; resolves when the answer has begun. */
  async function stare(): Promise<Socket> {
    const socket = connect(port(), '127.0.0.1');
    sockets.push(socket);
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'readable');
    return socket;
  }

  it('sends a comment every 15 s, so that nobody between takes the stream for dead', async () => {
    const { text } = await read();
    await until(() => text() !== '');
    expect(text()).to.equal('retry: 5000\n\n');
    mock.timers.tick(14_999);
    events.publish('{}');
    mock.timers.tick(1);
    mock.timers.tick(15_000);
    const id = NOW * 1000;
    const expected = `retry: 5000\n\nid: ${id}\nevent: change\ndata: {}\n\n: ping\n\n: ping\n\n`;
    await until(() => text().length >= expected.length);
    expect(text()).to.equal(expected);
  });

  it('sends nothing to who may no longer listen, and ends the stream, at the next ping at the latest', async () => {
    expiresAt = NOW + 1000;
    const [first, second] = [await read(), await read()];
    expiresAt = undefined;
    const forever = await read();
    now = NOW + 999;
    events.publish('"in time"');
    now = NOW + 1000;
    const ended = Promise.all([once(first.message, 'end'), once(second.message, 'end')]);
    mock.timers.tick(15_000);
    await ended;
    events.publish('"late"');
    await until(() => forever.text().includes('late'));
    for (const { text } of [first, second]) expect(text()).to.contain('in time').and.not.contain('late');
  });

  it('says nothing late to who may no longer listen, though no ping came between', async () => {
    expiresAt = NOW + 1000;
    const { message, text } = await read();
    const ended = once(message, 'end');
    now = NOW + 1000;
    events.publish('"late"');
    await ended;
    expect(text()).to.not.contain('late');
  });

  it('goes on with its comments after all had to come again', async () => {
    events.disconnect();
    const { text } = await read();
    mock.timers.tick(15_000);
    await until(() => text().includes(': ping'));
  });

  it('drops who does not read, and only those', async () => {
    const { text } = await read();
    const slow = await stare();
    const dropped = once(slow, 'close');
    const data = JSON.stringify('x'.repeat(256 * 1024));
    let sent = 0;
    const connections = (): Promise<number> =>
      new Promise((resolve) => {
        server.getConnections((_, count) => resolve(count));
      });
    while ((await connections()) > 1) {
      events.publish(data);
      sent += 1;
      await until(() => text().split('\n\n').length > sent + 1);
    }
    slow.resume();
    await dropped;
    events.publish('"last"');
    await until(() => text().endsWith('data: "last"\n\n'));
  });

  it('takes 1,000 listeners, then none until one leaves', async () => {
    const listeners = await Promise.all(Array.from({ length: 1000 }, read));
    const [refused] = (await once(get({ port: port(), agent: false }), 'response')) as [IncomingMessage];
    refused.resume();
    expect(refused.statusCode).to.equal(503);
    expect(refusals[0]).to.be.instanceOf(Refusal).and.to.include({ reason: 'too_many_listeners' });
    expect(headersOf(refusals[0] as Refusal)).to.have.property('Retry-After');
    events.publish('{}');
    await until(() => listeners.every(({ text }) => text().includes('event: change')));
    listeners[0]?.message.destroy();
    let status: number | undefined;
    while (status !== 200) {
      const { message } = await read();
      status = message.statusCode;
    }
  });

  it('ends all streams on close, and takes what is published then without harm', async () => {
    const { message, text } = await read();
    await stare();
    for (let i = 0; i < 3; i += 1) events.publish(JSON.stringify('x'.repeat(300_000)));
    const ended = once(message, 'end');
    events.close();
    events.publish('"late"');
    await ended;
    expect(text()).not.to.include('late');
  });
}).timeout(60_000);
