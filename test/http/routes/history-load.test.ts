import { expect } from 'chai';
import { seedFolder } from '../../../bench/seed.ts';
import { type Service, createClock, makeFolder, startService, until } from '../../fixtures.ts';

/** Two run and 100 wait. */
const PLACES = 102;

describe('very many queries of the past at once', function () {
  this.timeout(60_000);

  let folder: ReturnType<typeof makeFolder>;
  let service: Service;

  before(async () => {
    folder = makeFolder();
    seedFolder(folder.path, { sources: 1000, closedDrifts: 200 });
    service = await startService({ dataDir: folder.path, clock: createClock(Date.now()) });
  });
  after(async () => {
    await service.stop();
    folder.remove();
  });

  const paths = ['/history.json?from=1000000000000&limit=100000', '/drifts.json?from=1000000000000&limit=100000'];

  /** Asks so often; every answer is read to its end. */
  function ask(count: number, signal: AbortSignal): { order: string[]; settled: Promise<unknown> } {
    const order: string[] = [];
    const asked = Array.from({ length: count }, async (_, i) => {
      const response = await service.request(paths[i % 2] as string, { signal });
      await response.arrayBuffer();
      order.push(`long ${response.status}`);
    });
    return { order, settled: Promise.allSettled(asked) };
  }

  it('wait in a bounded line; past it they get 503 with Retry-After', async () => {
    const leaving = new AbortController();
    const { order, settled } = ask(PLACES + 20, leaving.signal);
    await until(() => order.filter((entry) => entry === 'long 503').length === 20);
    const response = await service.request(paths[0] as string);
    expect(response.status).to.equal(503);
    expect(response.headers.get('Retry-After')).to.equal('5');
    expect(await response.json()).to.include({ reason: 'overloaded' });
    leaving.abort();
    await settled;
  });

  it('do not keep a detail, a list of now or a probe waiting', async () => {
    const leaving = new AbortController();
    const { order, settled } = ask(PLACES, leaving.signal);
    await until(() => order.length > 0);
    const before = order.length;
    for (const path of ['/api/status/repo-1/server-1', '/summary.json', '/healthz']) {
      expect((await service.request(path)).status).to.equal(200);
    }
    expect(order.length - before, 'long ones that were answered meanwhile').to.be.below(20);
    leaving.abort();
    await settled;
  });

  it('go with their clients: whoever comes after them finds a place', async () => {
    const leaving = new AbortController();
    const { order, settled } = ask(PLACES, leaving.signal);
    await until(() => order.length > 0);
    leaving.abort();
    await settled;
    // were any of them still there, so many would not find a place
    const again = new AbortController();
    const next = ask(PLACES, again.signal);
    await until(() => next.order.length > 1);
    expect(new Set(next.order)).to.deep.equal(new Set(['long 200']));
    again.abort();
    await next.settled;
  });
});
