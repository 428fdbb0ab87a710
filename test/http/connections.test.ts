import { setTimeout, setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'chai';
import { type Service, type ServiceOptions, reportBody, startService } from '../fixtures.ts';
import { type Wire, exchange, get, openWire, parseAnswer, post } from '../wire.ts';

const MAX = 20;
const REPORT = JSON.stringify(reportBody());
const HALF_A_HEAD = 'GET /healthz HTTP/1.1\r\nHost: ser';
const HALF_A_REPORT = post('{"repo":', 500);
/** A new connection has a second to begin with its request. */
const NEWCOMER_MS = 1100;

describe('connections', () => {
  let service: Service;
  let wires: Wire[];

  async function start(options: ServiceOptions = {}): Promise<void> {
    service = await startService({ maxConnections: MAX, ...options });
  }
  beforeEach(() => {
    wires = [];
  });
  afterEach(async () => {
    for (const wire of wires) wire.destroy();
    await service.stop();
  });

  /** Opens so many, one after the other, and lets each begin. */
  async function open(count: number, begin: (wire: Wire) => unknown): Promise<Wire[]> {
    const opened: Wire[] = [];
    for (let i = 0; i < count; i += 1) {
      const wire = await openWire(service.port);
      wires.push(wire);
      opened.push(wire);
      await begin(wire);
    }
    return opened;
  }

  /** Asks once, and keeps the connection. */
  async function askAndKeep(wire: Wire): Promise<void> {
    wire.send(get('/healthz'));
    await wire.has(/"ok"/);
  }

  async function follow(wire: Wire): Promise<void> {
    wire.send(get('/api/events'));
    await wire.has(/retry/);
  }

  async function expectServed(): Promise<void> {
    const probe = await exchange(service.port, get('/healthz', 'Connection: close'));
    expect(parseAnswer(probe).status).to.equal(200);
    const report = await exchange(service.port, post(REPORT, REPORT.length, 'Connection: close'));
    expect(parseAnswer(report).status).to.be.oneOf([200, 201]);
  }

  async function sample(name: string): Promise<number> {
    const text = await service.metrics.render();
    return Number(new RegExp(`^${name.replace(/[{}"]/g, String.raw`\$&`)} (.*)$`, 'm').exec(text)?.[1]);
  }

  /** Mocha's time limit ends it. */
  async function untilThereAre(connections: number): Promise<void> {
    while ((await sample('gitops_connections')) > connections) await nextTurn();
  }

  it('are counted, and so is how many there may be', async () => {
    await start();
    await open(3, askAndKeep);
    expect(await sample('gitops_connections')).to.equal(3);
    expect(await sample('gitops_limit{limit="connections"}')).to.equal(MAX);
  });

  it('that sleep after an answer lock nobody out: the one that slept longest goes first', async () => {
    await start();
    const sleeping = await open(MAX, askAndKeep);
    const first = sleeping[0] as Wire;
    first.send(get('/healthz'));
    await first.has(/"ok"[^]*"ok"/);
    await open(2, askAndKeep);
    await Promise.all(sleeping.slice(1, 3).map(({ closed }) => closed));
    expect(sleeping.map(({ isClosed }) => isClosed())).to.deep.equal(sleeping.map((_, i) => i === 1 || i === 2));
  });

  it('that never sent anything lock nobody out', async () => {
    await start();
    const silent = await open(MAX, () => {});
    await expectServed();
    expect(silent.filter(({ isClosed }) => isClosed())).to.not.be.empty;
  });

  for (const [what, bytes] of [
    ['heads', HALF_A_HEAD],
    ['bodies', HALF_A_REPORT],
  ] as const) {
    it(`that never complete their ${what} lock nobody out`, async () => {
      await start();
      await open(MAX, (wire) => wire.send(bytes));
      for (let i = 0; i < 3; i += 1) {
        await expectServed();
        await open(2, (wire) => wire.send(bytes));
      }
      expect(await sample('gitops_connections')).to.be.at.most(MAX);
      expect(await sample('http_protocol_errors_total{code="other"}')).to.be.greaterThan(0);
    });
  }

  it('that sleep are closed before a slow report is', async () => {
    await start();
    const [slow] = await open(1, (wire) => wire.send(post(REPORT).slice(0, -10)));
    await open(MAX - 1, askAndKeep);
    for (let i = 0; i < 5; i += 1) await expectServed();
    slow?.send(REPORT.slice(-10));
    expect(parseAnswer((await slow?.has(/\}\n$/)) ?? '').status).to.be.oneOf([200, 201]);
  });

  it('that have been silent for a second are closed before a slow report is', async () => {
    await start();
    const [slow] = await open(1, (wire) => wire.send(post(REPORT).slice(0, -10)));
    await open(MAX - 1, () => {});
    await setTimeout(NEWCOMER_MS);
    for (let i = 0; i < 5; i += 1) await expectServed();
    slow?.send(REPORT.slice(-10));
    expect(parseAnswer((await slow?.has(/\}\n$/)) ?? '').status).to.be.oneOf([200, 201]);
  });

  it('that all have an answer under way refuse a new one, and say so', async () => {
    await start();
    const followers = await open(MAX, follow);
    for (let i = 0; i < 3; i += 1) {
      const { status, headers, problem } = parseAnswer(await exchange(service.port, get('/healthz')));
      expect(status).to.equal(503);
      expect(headers.get('content-type')).to.equal('application/problem+json');
      expect(Number(headers.get('retry-after'))).to.be.greaterThan(0);
      expect(problem).to.include({ reason: 'overloaded' });
      expect(problem.detail).to.contain('MAX_CONNECTIONS');
    }
    expect(await sample('http_protocol_errors_total{code="other"}')).to.equal(3);
    expect(followers.some(({ isClosed }) => isClosed())).to.equal(false);
    followers[0]?.destroy();
    await untilThereAre(MAX - 1);
    await expectServed();
  });

  it('refused beyond the bound stay within it', async () => {
    await start();
    await open(MAX, follow);
    await open(2 * MAX, () => {});
    expect(await sample('gitops_connections')).to.be.at.most(MAX + 1);
  });

  it('that pipeline requests get all answers before they count as idle', async () => {
    await start();
    const [wire] = await open(1, (opened) => opened.send(get('/healthz').repeat(3)));
    await wire?.has(/("ok"[^]*){3}/);
    await open(MAX - 1, askAndKeep);
    await expectServed();
    expect(wire?.isClosed()).to.equal(true);
  });

  it('of clients that have gone count no more', async () => {
    await start();
    const gone = await open(5, (wire) => wire.send(HALF_A_REPORT));
    for (const { socket } of gone) socket.resetAndDestroy();
    await untilThereAre(0);
  });

  it('in the thousands sleep without locking out a probe or a report', async function () {
    this.timeout(60_000);
    await start({ maxConnections: 2000 });
    await Promise.all(Array.from({ length: 2000 }, () => open(1, askAndKeep)));
    await expectServed();
    await Promise.all(Array.from({ length: 2000 }, () => open(1, () => {})));
    await expectServed();
    expect(await sample('gitops_connections')).to.be.at.most(2000);
  });
});
