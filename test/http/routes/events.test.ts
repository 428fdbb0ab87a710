import { once } from 'node:events';
import { type IncomingMessage, type Server, createServer, get } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { expect } from 'chai';
import { EventSource } from 'eventsource';
import { type EventStream, createEventStream } from '../../../src/http/event-stream.ts';
import { Refusal } from '../../../src/core/refusal.ts';
import { parseReport } from '../../../src/core/report.ts';
import { toIso } from '../../../src/core/timestamp.ts';
import { headersOf } from '../../../src/http/problem.ts';
import {
  type Clock,
  type Disk,
  NOW,
  type Service,
  createClock,
  createDisk,
  makeFolder,
  reportOf,
  startService,
  until,
} from '../../fixtures.ts';

type Seen = { readonly type: string; readonly id: string; readonly data: Record<string, unknown> };

describe('GET /api/events', () => {
  let folder: ReturnType<typeof makeFolder>;
  let service: Service;
  let sources: EventSource[];
  let clock: Clock;
  let starts = 0;
  beforeEach(async () => {
    folder = makeFolder();
    sources = [];
    clock = createClock();
    service = await start();
  });
  afterEach(async () => {
    for (const source of sources) source.close();
    await service.stop();
    folder.remove();
  });

  function start(): Promise<Service> {
    starts += 1;
    return startService({ dataDir: folder.path, clock, bootId: `boot${starts}` });
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
    for (const type of ['change', 'stale', 'removed', 'refused', 'ping', 'reset']) {
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

  it('has one for a report that the disk took after its sender was told that it may not have', async () => {
    await service.stop();
    let disk: Disk | undefined;
    service = await startService({
      clock,
      commitTimeoutMs: 100,
      wrapStore(store) {
        disk = createDisk(store);
        return disk.store;
      },
    });
    const { events } = await listen();
    disk?.hang();
    const { status } = await service.post(reportOf(['a']));
    expect(status).to.equal(503);
    disk?.heal();
    await until(() => events.length > 0);
    expect(events.map(({ type, data }) => `${type} ${data.result as string}`)).to.deep.equal(['change created']);
    expect(events[0]?.data.opened).to.deep.equal(['a']);
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

  it('has ids that follow one another, and that no other start gives', async () => {
    const ids: string[] = [];
    for (let run = 0; run < 3; run += 1) {
      const { events, source } = await listen();
      await report([`a${run}`]);
      await report([`b${run}`]);
      await until(() => events.length === 2);
      ids.push(...events.map(({ id }) => id));
      source.close();
      await service.stop();
      service = await start();
    }
    expect(new Set(ids).size).to.equal(6);
    expect(ids.map((id) => id.split('-')[1])).to.deep.equal(['1', '2', '1', '2', '1', '2']);
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
    expect(after.events).to.have.lengthOf(1);
    await report(['b']);
    await until(() => after.events.length === 2);
    const resumed = await listen(after.events[0]?.id);
    await until(() => resumed.events.length > 0);
    expect(resumed.events).to.deep.equal(after.events.slice(1));
  });

  for (const id of [
    '0',
    '-1',
    'abc',
    'BOOT-2',
    'BOOT-',
    'BOOT--1',
    'BOOT-1e0',
    'BOOT-99999999999999999999',
    'other-1',
    '1776767540000000',
    ' ',
  ]) {
    it(`says reset to who comes with "${id}"`, async () => {
      await report(['a']);
      const { events } = await listen(id === ' ' ? '%20' : id.replace('BOOT', `boot${starts}`));
      await until(() => events.length > 0);
      expect(events[0]?.type).to.equal('reset');
    });
  }

  it('resumes as far as 1,000 events back, and says reset beyond', async () => {
    const first = await listen();
    for (let i = 0; i < 2500; i += 1) service.events.publish('change', JSON.stringify({ i }));
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
    service.events.publish('change', '{}');
    await until(() => events.length === 1);
    source.close();
    const [boot, first] = [events[0]?.id.split('-')[0], Number(events[0]?.id.split('-')[1])];
    const data = JSON.stringify({ text: 'x'.repeat(1_000_000) });
    for (let i = 1; i <= 100; i += 1) service.events.publish('change', data);
    const [far, near] = await Promise.all([listen(`${boot}-${first + 80}`), listen(`${boot}-${first + 95}`)]);
    await until(() => far.events.length >= 1 && near.events.length >= 5);
    expect(far.events.map(({ type }) => type)).to.deep.equal(['reset']);
    expect(near.events.map(({ id }) => Number(id.split('-')[1]) - first)).to.deep.equal([96, 97, 98, 99, 100]);
  });

  describe('tells of a source', () => {
    const MINUTE = 60_000;
    const told = (events: readonly Seen[]): string[] =>
      events.map(({ type, data }) => `${type} ${data.server as string} ${data.time as string}`);

    /** Beats once, and waits until everything before has arrived. */
    async function beat(events: Seen[]): Promise<string[]> {
      await service.pulse.beat();
      service.events.publish('change', '{"server":"end"}');
      await until(() => events.at(-1)?.data.server === 'end');
      return told(events.splice(0).slice(0, -1));
    }

    it('that became stale, once, and again after it had reported', async () => {
      const { events } = await listen();
      await report(['a']);
      await report([], { server: 'long', stale_after_seconds: 3600 });
      await beat(events);
      clock.set(Date.parse('2026-04-21T10:42:14.999Z'));
      expect(await beat(events)).to.deep.equal([]);
      clock.advance(1);
      expect(await beat(events)).to.deep.equal(['stale rsyslog-lab 2026-04-21T10:42:15.000Z']);
      clock.advance(MINUTE);
      expect(await beat(events)).to.deep.equal([]);
      await report(['a'], { last_check: toIso(clock.now()) });
      // that it is no longer stale is a change, though nothing else is
      const back = await beat(events);
      expect(back).to.have.lengthOf(1);
      expect(back[0]).to.match(/^change rsyslog-lab/);
      clock.advance(11 * MINUTE);
      expect(await beat(events)).to.deep.equal(['stale rsyslog-lab 2026-04-21T10:53:15.000Z']);
    });

    it('whose unchanged report is stale on arrival', async () => {
      await report(['a']);
      await service.pulse.beat();
      const { events } = await listen();
      clock.advance(5000);
      await report(['a'], { last_check: '2026-04-21T10:32:16Z', stale_after_seconds: 1 });
      const lines: string[] = [];
      for (let beats = 0; beats < 5; beats += 1) lines.push(...(await beat(events)));
      expect(lines).to.deep.equal([`stale rsyslog-lab ${toIso(clock.now())}`]);
    });

    it('not that a report has come in time for', async () => {
      const { events } = await listen();
      await report(['a']);
      clock.advance(9 * MINUTE);
      await report(['a'], { last_check: toIso(clock.now()) });
      await beat(events);
      clock.advance(2 * MINUTE);
      expect(await beat(events)).to.deep.equal([]);
    });

    it('not of those that are stale at the start', async () => {
      await report(['a']);
      await service.stop();
      clock.advance(60 * MINUTE);
      service = await start();
      const { events } = await listen();
      expect(await beat(events)).to.deep.equal([]);
    });

    it('whose last check turns out to lie ahead of the clock', async () => {
      clock.advance(120 * MINUTE);
      await report(['a'], { last_check: toIso(clock.now()) });
      const { events } = await listen();
      await beat(events);
      clock.set(NOW);
      expect(await beat(events)).to.deep.equal([`stale rsyslog-lab ${toIso(NOW)}`]);
    });

    it('that was removed, however', async () => {
      for (const server of ['a', 'b', 'c', 'd']) await report([], { server });
      const { events } = await listen();
      clock.advance(1000);
      const time = toIso(clock.now());
      await service.request('/api/status/rsyslog/a', { method: 'DELETE' });
      await service.request('/api/status?server=b,c', { method: 'DELETE' });
      await service.fleet.remove(service.fleet.list());
      await service.request('/api/status/rsyslog/a', { method: 'DELETE' });
      expect(await beat(events)).to.deep.equal(['a', 'b', 'c', 'd'].map((server) => `removed ${server} ${time}`));
      // nothing of it is left to become stale
      clock.advance(60 * MINUTE);
      expect(await beat(events)).to.deep.equal([]);
    });

    it('whose report was refused, if it is known, once a second', async () => {
      await report(['a']);
      const { events } = await listen();
      for (let i = 0; i < 5; i += 1) await report(['a'], { drift_count: 7 });
      await report(['a'], { server: 'nobody', drift_count: 7 });
      await until(() => events.length > 0);
      expect(events[0]).to.deep.include({ type: 'refused' });
      expect(events[0]?.data).to.deep.equal({
        repo: 'rsyslog',
        server: 'rsyslog-lab',
        time: toIso(clock.now()),
        status: 422,
        reason: 'invalid',
      });
      expect(await beat(events)).to.have.lengthOf(1);
      clock.advance(1000);
      await report(['a'], { drift_count: 7 });
      expect(await beat(events)).to.have.lengthOf(1);
    });

    it('of thousands that become stale at once, to who reads', async () => {
      const stored = Array.from({ length: 3000 }, (_, i) => `s${i}`);
      await Promise.all(stored.map((server) => service.fleet.submit(parseReport(reportOf([], { server }), NOW), 200)));
      await service.pulse.beat();
      const { events } = await listen();
      clock.advance(11 * MINUTE);
      const lines = await beat(events);
      expect(lines).to.have.lengthOf(3000);
      expect(lines.every((line) => line.startsWith('stale s'))).to.equal(true);
    });
  });

  it('pings every 15 beats with the ETag of the list, which a reader may send', async () => {
    await report(['a']);
    const { events } = await listen();
    for (let beats = 0; beats < 30; beats += 1) await service.pulse.beat();
    await until(() => events.length === 2);
    const [{ type, id, data } = {} as Seen] = events;
    expect([type, id]).to.deep.equal(['ping', '']);
    expect(data.time).to.equal(toIso(clock.now()));
    expect(data.etag).to.equal((await service.request('/status.json')).headers.get('ETag'));
    const headers = { 'If-None-Match': data.etag as string };
    expect((await service.request('/status.json', { headers })).status).to.equal(304);
    await report(['b']);
    expect((await service.request('/status.json', { headers })).status).to.equal(200);
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
    service.events.disconnect();
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
    now = NOW;
    expiresAt = undefined;
    events = createEventStream('boot', () => now);
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

  it('sends pings without an id, which a resumption would go by', async () => {
    const { text } = await read();
    await until(() => text() !== '');
    expect(text()).to.equal('retry: 5000\n\n');
    events.publish('change', '{}');
    events.ping('{"n":1}');
    events.ping('{"n":2}');
    const ping = (n: number): string => `event: ping\ndata: {"n":${n}}\n\n`;
    const expected = `retry: 5000\n\nid: boot-1\nevent: change\ndata: {}\n\n${ping(1)}${ping(2)}`;
    await until(() => text().length >= expected.length);
    expect(text()).to.equal(expected);
  });

  it('sends nothing to who may no longer listen, and ends the stream, at the next ping at the latest', async () => {
    expiresAt = NOW + 1000;
    const [first, second] = [await read(), await read()];
    expiresAt = undefined;
    const forever = await read();
    now = NOW + 999;
    events.publish('change', '"in time"');
    now = NOW + 1000;
    const ended = Promise.all([once(first.message, 'end'), once(second.message, 'end')]);
    events.ping('{}');
    await ended;
    events.publish('change', '"late"');
    await until(() => forever.text().includes('late'));
    for (const { text } of [first, second]) expect(text()).to.contain('in time').and.not.contain('late');
  });

  it('says nothing late to who may no longer listen, though no ping came between', async () => {
    expiresAt = NOW + 1000;
    const { message, text } = await read();
    const ended = once(message, 'end');
    now = NOW + 1000;
    events.publish('change', '"late"');
    await ended;
    expect(text()).to.not.contain('late');
  });

  it('goes on with its pings after all had to come again', async () => {
    events.disconnect();
    const { text } = await read();
    events.ping('{}');
    await until(() => text().includes('event: ping'));
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
      events.publish('change', data);
      sent += 1;
      await until(() => text().split('\n\n').length > sent + 1);
    }
    slow.resume();
    await dropped;
    events.publish('change', '"last"');
    await until(() => text().endsWith('data: "last"\n\n'));
  });

  it('takes 1,000 listeners, then none until one leaves', async () => {
    const listeners = await Promise.all(Array.from({ length: 1000 }, read));
    const [refused] = (await once(get({ port: port(), agent: false }), 'response')) as [IncomingMessage];
    refused.resume();
    expect(refused.statusCode).to.equal(503);
    expect(refusals[0]).to.be.instanceOf(Refusal).and.to.include({ reason: 'too_many_listeners' });
    expect(headersOf(refusals[0] as Refusal)).to.have.property('Retry-After');
    events.publish('change', '{}');
    await until(() => listeners.every(({ text }) => text().includes('event: change')));
    listeners[0]?.message.destroy();
    let status: number | undefined;
    while (status !== 200) {
      const { message } = await read();
      status = message.statusCode;
    }
  });

  it('ends all streams at the end, and takes what is published then without harm', async () => {
    const { message, text } = await read();
    await stare();
    for (let i = 0; i < 3; i += 1) events.publish('change', JSON.stringify('x'.repeat(300_000)));
    const ended = once(message, 'end');
    events.disconnect();
    events.publish('change', '"late"');
    await ended;
    expect(text()).not.to.include('late');
  });
}).timeout(60_000);
