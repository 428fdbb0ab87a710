import { expect } from 'chai';
import { BUCKETS, createHistogram, observe } from '../../src/core/reconcile-histogram.ts';
import { toIso } from '../../src/core/timestamp.ts';
import { type Service, createClock, makeFolder, reportOf, startService, driftsOf } from '../fixtures.ts';

const MINUTE = 60_000;

describe('the reconcile histogram', () => {
  it('counts each drift in the first bucket that holds it', () => {
    const histogram = createHistogram();
    expect(histogram).to.deep.equal({ counts: [0, 0, 0, 0, 0, 0, 0, 0, 0], sumMs: 0 });
    for (const [index, seconds] of BUCKETS.entries()) {
      observe(histogram, seconds * 1000);
      observe(histogram, seconds * 1000 + 1);
      expect(histogram.counts.slice(0, index + 2), `${seconds} s`).to.deep.equal([
        1,
        ...Array<number>(index).fill(2),
        1,
      ]);
    }
    observe(histogram, 0);
    expect(histogram.counts[0]).to.equal(2);
  });
});

describe('gitops_drift_duration_seconds', () => {
  let folder: ReturnType<typeof makeFolder>;
  let service: Service;
  const clock = createClock();
  beforeEach(async () => {
    folder = makeFolder();
    service = await start();
  });
  afterEach(async () => {
    await service.stop();
    folder.remove();
  });

  function start(): Promise<Service> {
    return startService({ dataDir: folder.path, clock });
  }

  async function restart(): Promise<void> {
    await service.stop();
    service = await start();
  }

  async function report(names: readonly string[], changes: Record<string, unknown> = {}): Promise<void> {
    const last_check = toIso(clock.now());
    const response = await service.post(reportOf(names, { repo: 'web', server: 'a', last_check, ...changes }));
    expect(response.ok).to.equal(true);
  }

  /** The file drifts for so long. */
  async function drift(name: string, minutes: number, changes: Record<string, unknown> = {}): Promise<void> {
    await report([name], changes);
    clock.advance(minutes * MINUTE);
    await report([], changes);
  }

  /** The lines of the histogram, without its name. */
  async function lines(): Promise<string[]> {
    const text = await (await service.request('/metrics')).text();
    const name = 'gitops_drift_duration_seconds';
    return text
      .split('\n')
      .filter((line) => line.startsWith(name))
      .map((line) => line.slice(name.length));
  }

  /** Count and sum of each repo. */
  async function totals(): Promise<string[]> {
    return (await lines()).filter((line) => !line.startsWith('_bucket'));
  }

  const ONE_OF_A_MINUTE = ['_sum{repo="web"} 60', '_count{repo="web"} 1'];

  it('is described, and has no series as long as nothing has come back', async () => {
    await report(['f']);
    expect(await lines()).to.deep.equal([]);
    expect(await (await service.request('/metrics')).text()).to.contain(
      '# TYPE gitops_drift_duration_seconds histogram\n',
    );
  });

  it('has cumulative buckets per repo', async () => {
    await drift('f', 1);
    await drift('f', 2);
    await drift('g', 30);
    await drift('h', 100 * 24 * 60);
    await drift('f', 3, { repo: 'acme/dns' });
    const web = (await lines()).filter((line) => line.includes('repo="web"'));
    expect(web).to.deep.equal([
      '_bucket{repo="web",le="60"} 1',
      '_bucket{repo="web",le="300"} 2',
      '_bucket{repo="web",le="900"} 2',
      '_bucket{repo="web",le="3600"} 3',
      '_bucket{repo="web",le="14400"} 3',
      '_bucket{repo="web",le="86400"} 3',
      '_bucket{repo="web",le="604800"} 3',
      '_bucket{repo="web",le="2592000"} 3',
      '_bucket{repo="web",le="+Inf"} 4',
      '_sum{repo="web"} 8641980',
      '_count{repo="web"} 4',
    ]);
    expect(await totals()).to.include.members(['_sum{repo="acme/dns"} 180', '_count{repo="acme/dns"} 1']);
  });

  it('observes each file of a report that closes several', async () => {
    await report(['f', 'g']);
    clock.advance(MINUTE);
    await report(['f', 'g', 'h']);
    clock.advance(MINUTE);
    await report(['f']);
    expect(await totals()).to.deep.equal(['_sum{repo="web"} 180', '_count{repo="web"} 2']);
  });

  it('observes nothing for unchanged and superseded reports', async () => {
    await drift('f', 1);
    await report([]);
    await report(['x'], { last_check: toIso(clock.now() - MINUTE) });
    expect(await totals()).to.deep.equal(ONE_OF_A_MINUTE);
  });

  it('does not take the removal of a source for repair', async () => {
    await report([], { server: 'b' });
    await drift('f', 1);
    await report(['g']);
    clock.advance(MINUTE);
    await service.request('/api/status/web/a', { method: 'DELETE' });
    expect(await totals()).to.deep.equal(ONE_OF_A_MINUTE);
    await restart();
    expect(await totals()).to.deep.equal(ONE_OF_A_MINUTE);
  });

  it('survives restarts without counting twice and without losing what was closed', async () => {
    await drift('f', 1);
    await drift('g', 10, { repo: 'dns' });
    const before = await lines();
    for (let i = 0; i < 2; i += 1) {
      await restart();
      expect((await lines()).toSorted()).to.deep.equal(before.toSorted());
    }
    await report(['open']);
    clock.advance(MINUTE);
    await restart();
    clock.advance(MINUTE);
    await report([]);
    expect(await totals()).to.include.members(['_sum{repo="web"} 180', '_count{repo="web"} 2']);
    await restart();
    expect(await totals()).to.include.members(['_sum{repo="web"} 180', '_count{repo="web"} 2']);
  });

  it('loses nothing when old drifts are pruned', async () => {
    await drift('f', 1);
    await service.store.prune(clock.now() + MINUTE, 1000);
    expect(await driftsOf(service.store, { from: 0, to: clock.now() + MINUTE })).to.deep.equal([]);
    expect(await totals()).to.deep.equal(ONE_OF_A_MINUTE);
    await restart();
    expect(await totals()).to.deep.equal(ONE_OF_A_MINUTE);
  });

  it('vanishes with the last source of its repo, and goes on counting when the repo comes back', async () => {
    await drift('f', 1);
    await report([], { server: 'b' });
    await service.request('/api/status/web/a', { method: 'DELETE' });
    expect(await totals()).to.deep.equal(ONE_OF_A_MINUTE);
    await service.request('/api/status/web/b', { method: 'DELETE' });
    expect(await lines()).to.deep.equal([]);
    await restart();
    expect(await lines()).to.deep.equal([]);
    await drift('f', 2);
    expect(await totals()).to.deep.equal(['_sum{repo="web"} 180', '_count{repo="web"} 2']);
  });
}).timeout(60_000);
