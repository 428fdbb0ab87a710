import { expect } from 'chai';
import { toIso } from '../../../src/core/timestamp.ts';
import { NOW, type Service, reportOf, startService } from '../../fixtures.ts';

const MINUTE = 60_000;

describe('/files.json and /summary.json', () => {
  let service: Service;
  beforeEach(async () => {
    service = await startService();
  });
  afterEach(() => service.stop());

  /** Reports these files, as found right now. */
  async function report(names: readonly string[], changes: Record<string, unknown> = {}): Promise<void> {
    const last_check = toIso(service.clock.now());
    const response = await service.post(reportOf(names, { repo: 'web', server: 'a', last_check, ...changes }));
    expect(response.ok).to.equal(true);
  }

  async function files(query = ''): Promise<Record<string, unknown>[]> {
    const response = await service.request(`/files.json${query}`);
    expect(response.status).to.equal(200);
    return (await response.json()) as Record<string, unknown>[];
  }

  async function summary(query = ''): Promise<Record<string, unknown>> {
    const response = await service.request(`/summary.json${query}`);
    expect(response.status).to.equal(200);
    return (await response.json()) as Record<string, unknown>;
  }

  /** Each verdict once, in two repos, on three servers. */
  async function makeFleet(): Promise<void> {
    await report(['g', 'f'], { stale_after_seconds: 60 });
    service.clock.advance(2 * MINUTE);
    await report(['f'], { server: 'b' });
    await report([], { server: 'c' });
    await report(['f'], { repo: 'acme/dns' });
  }

  describe('GET /files.json', () => {
    it('is an empty list when nothing was reported, and when nothing differs', async () => {
      for (const names of [undefined, []]) {
        if (names !== undefined) await report(names);
        const response = await service.request('/files.json');
        expect([response.status, await response.text()]).to.deep.equal([200, '[]\n']);
      }
    });

    it('has one flat row per file that differs', async () => {
      await report(['f'], { commit: 'a1b2', pipeline_url: 'https://ci.example.org/7' });
      expect(await files()).to.deep.equal([
        {
          repo: 'web',
          server: 'a',
          name: 'f',
          since: toIso(NOW),
          last_check: toIso(NOW),
          times_drifted: 1,
          servers_drifted: 1,
          servers: 1,
          commit: 'a1b2',
          pipeline_url: 'https://ci.example.org/7',
        },
      ]);
    });

    it('is sorted by repo, server and name, however they were posted', async () => {
      await report(['b', 'a', 'C']);
      await report(['z'], { server: 'B' });
      await report(['y'], { repo: 'web-1' });
      await report(['x'], { repo: 'acme/dns' });
      expect((await files()).map(({ repo, server, name }) => [repo, server, name].join(' '))).to.deep.equal([
        'acme/dns a x',
        'web B z',
        'web a C',
        'web a a',
        'web a b',
        'web-1 a y',
      ]);
    });

    it('has the time of the first report of a drift, and of the newest check', async () => {
      await report(['f']);
      service.clock.advance(MINUTE);
      await report(['f', 'g']);
      expect((await files()).map(({ since, last_check }) => [since, last_check])).to.deep.equal([
        [toIso(NOW), toIso(NOW + MINUTE)],
        [toIso(NOW + MINUTE), toIso(NOW + MINUTE)],
      ]);
    });

    it('counts how often a file has drifted on its server', async () => {
      for (const names of [['f'], [], ['f', 'g'], ['g'], ['f', 'g']]) {
        await report(names);
        service.clock.advance(MINUTE);
      }
      await report(['f'], { server: 'b' });
      expect((await files()).map(({ server, name, times_drifted: times }) => [server, name, times])).to.deep.equal([
        ['a', 'f', 3],
        ['a', 'g', 1],
        ['b', 'f', 1],
      ]);
    });

    it('begins to count anew with a new life', async () => {
      for (const names of [['f'], [], ['f']]) await report(names);
      await service.request('/api/status/web/a', { method: 'DELETE' });
      service.clock.advance(MINUTE);
      await report(['f']);
      expect((await files())[0]).to.include({ times_drifted: 1, since: toIso(NOW + MINUTE) });
    });

    it('counts on how many servers of how many in the repo a file differs, whatever the filter', async () => {
      await makeFleet();
      const counts = (rows: Record<string, unknown>[]): string[] =>
        rows.map((row) => [row.repo, row.server, row.name, row.servers_drifted, row.servers].join(' '));
      expect(counts(await files())).to.deep.equal(['acme/dns a f 1 1', 'web a f 2 3', 'web a g 1 3', 'web b f 2 3']);
      expect(counts(await files('?server=b'))).to.deep.equal(['web b f 2 3']);
      await report([], { server: 'b' });
      await service.request('/api/status/web/c', { method: 'DELETE' });
      expect(counts(await files('?repo=web'))).to.deep.equal(['web a f 1 2', 'web a g 1 2']);
    });

    const filters: readonly (readonly [query: string, expected: string[]])[] = [
      ['?repo=web', ['a f', 'a g', 'b f']],
      ['?repo=acme%2Fdns', ['a f']],
      ['?server=b,c', ['b f']],
      ['?server=b&server=a&repo=web', ['a f', 'a g', 'b f']],
      ['?verdict=STALE', ['a f', 'a g']],
      ['?verdict=OUT_OF_SYNC&repo=web', ['b f']],
      ['?verdict=SYNCED', []],
      ['?repo=*&server=${server}&verdict=', ['a f', 'a f', 'a g', 'b f']],
      ['?repo=none', []],
    ];
    it('filters as every list does', async () => {
      await makeFleet();
      for (const [query, expected] of filters) {
        const found = (await files(query)).map(({ server, name }) => `${server as string} ${name as string}`);
        expect(found, query).to.deep.equal(expected);
      }
    });

    it('keeps any name of a file as it is', async () => {
      const names = ['__proto__', 'a"b', 'a\\b', '</script>', '日本.conf'];
      await report(names);
      expect((await files()).map(({ name }) => name)).to.deep.equal(names.toSorted());
    });

    it('comes in several pieces when it is long, and says the same filtered', async () => {
      const names = Array.from({ length: 9000 }, (_, i) => `etc/file-${String(i).padStart(5, '0')}`);
      await report(names);
      const whole = await files();
      expect(whole.map(({ name }) => name)).to.deep.equal(names);
      expect(await files('?repo=web')).to.deep.equal(whole);
    });
  });

  describe('GET /summary.json', () => {
    it('is zeros, not nulls, when nothing was reported', async () => {
      expect(await summary()).to.deep.equal({
        sources: 0,
        synced: 0,
        out_of_sync: 0,
        unknown: 0,
        stale: 0,
        drift_count: 0,
        repos: 0,
        servers: 0,
        oldest_drift_since: null,
        generated_at: toIso(NOW),
      });
    });

    it('counts sources by verdict, and what differs', async () => {
      await makeFleet();
      expect(await summary()).to.deep.equal({
        sources: 4,
        synced: 1,
        out_of_sync: 2,
        unknown: 0,
        stale: 1,
        drift_count: 4,
        repos: 2,
        servers: 3,
        oldest_drift_since: toIso(NOW),
        generated_at: toIso(NOW + 2 * MINUTE),
      });
    });

    const filters: readonly (readonly [query: string, expected: Record<string, unknown>])[] = [
      ['?repo=web', { sources: 3, drift_count: 3, repos: 1, servers: 3 }],
      ['?server=a', { sources: 2, stale: 1, out_of_sync: 1, synced: 0, repos: 2, servers: 1 }],
      ['?verdict=SYNCED', { sources: 1, synced: 1, drift_count: 0, oldest_drift_since: null }],
      ['?verdict=OUT_OF_SYNC', { sources: 2, oldest_drift_since: toIso(NOW + 2 * MINUTE) }],
      ['?repo=none', { sources: 0, repos: 0, oldest_drift_since: null }],
      ['?repo=${repo:csv}&server=*', { sources: 4 }],
    ];
    it('filters as every list does', async () => {
      await makeFleet();
      for (const [query, expected] of filters) expect(await summary(query), query).to.include(expected);
    });

    it('counts what becomes STALE by itself', async () => {
      await report(['f']);
      service.clock.advance(10 * MINUTE - 1);
      expect(await summary()).to.include({ stale: 0, out_of_sync: 1 });
      service.clock.advance(1);
      expect(await summary()).to.include({ stale: 1, out_of_sync: 0, drift_count: 1 });
    });
  });

  for (const path of [
    '/files.json',
    '/summary.json',
    '/files.json?verdict=OUT_OF_SYNC,STALE',
    '/summary.json?repo=web',
  ]) {
    it(`${path} is 304 until a report comes or a source becomes STALE`, async () => {
      let etag = '';
      const status = async (): Promise<number> => {
        const response = await service.request(path, { headers: { 'If-None-Match': etag } });
        etag = response.headers.get('ETag') ?? '';
        expect((await response.text()) === '').to.equal(response.status === 304);
        return response.status;
      };
      await report(['f']);
      expect([await status(), await status()]).to.deep.equal([200, 304]);
      service.clock.advance(MINUTE);
      expect(await status()).to.equal(304);
      await report(['f', 'g']);
      expect([await status(), await status()]).to.deep.equal([200, 304]);
      service.clock.advance(10 * MINUTE);
      expect([await status(), await status()]).to.deep.equal([200, 304]);
      await service.request('/api/status/web/a', { method: 'DELETE' });
      expect([await status(), await status()]).to.deep.equal([200, 304]);
    });
  }
}).timeout(60_000);
