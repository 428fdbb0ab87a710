import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { NOW, type Service, reportBody, reportOf, startService } from '../../fixtures.ts';
import { until } from '../../process.ts';

describe('GET /status.json', () => {
  let service: Service;

  beforeEach(async () => {
    service = await startService();
  });
  afterEach(() => service.stop());

  async function list(query = ''): Promise<Record<string, unknown>[]> {
    const response = await service.request(`/status.json${query}`);
    expect(response.status).to.equal(200);
    return (await response.json()) as Record<string, unknown>[];
  }

  it('is an empty list as long as nothing was reported', async () => {
    const response = await service.request('/status.json');
    expect(response.status).to.equal(200);
    expect(await response.text()).to.equal('[]\n');
  });

  it('has one flat row per source', async () => {
    await service.post(reportBody({ commit: 'a1b2c3' }));
    expect(await list()).to.deep.equal([
      {
        ...reportBody(),
        files_truncated: false,
        unknown_since: null,
        message: null,
        labels: {},
        last_check_ms: Date.parse('2026-04-21T10:32:15Z'),
        last_rejected_at: null,
        reported_by: null,
        commit: 'a1b2c3',
        pipeline_url: null,
        verdict: 'OUT_OF_SYNC',
        out_of_sync: 1,
        stale: false,
        status_since: '2026-04-21T10:32:20.000Z',
        received_at: '2026-04-21T10:32:20.000Z',
        stale_at: '2026-04-21T10:42:15.000Z',
        files_text: 'rsyslog.conf, rsyslog.d/30-lab.conf',
      },
    ]);
  });

  it('never shows diffs', async () => {
    await service.post(reportBody({ drift_count: 1, files: [{ name: 'a', diff: '-old\n+new\n' }] }));
    expect((await list())[0]?.files).to.deep.equal([{ name: 'a' }]);
  });

  it('is sorted by repo, then server, whatever came first', async () => {
    const sources = ['b z', 'a-b a', 'a z', 'B a', 'a b', 'a/b a', 'a 10', 'a 9'].map((text) => text.split(' '));
    for (const [repo, server] of sources) await service.post(reportBody({ repo, server }));
    const sorted = ['B a', 'a 10', 'a 9', 'a b', 'a z', 'a-b a', 'a/b a', 'b z'];
    expect((await list()).map(({ repo, server }) => `${repo as string} ${server as string}`)).to.deep.equal(sorted);
  });

  it('allows any use but no keeping without asking', async () => {
    const { headers } = await service.request('/status.json');
    expect(headers.get('Content-Type')).to.equal('application/json; charset=utf-8');
    expect(headers.get('Cache-Control')).to.equal('no-cache');
    expect(headers.get('Vary')).to.equal('Accept-Encoding');
  });

  describe('filtered', () => {
    beforeEach(async () => {
      for (const [repo, server] of [
        ['web', 'a'],
        ['web', 'b'],
        ['acme/dns', 'a'],
      ]) {
        await service.post(reportOf(server === 'a' ? [] : ['f'], { repo, server }));
      }
      await service.post(reportBody({ repo: 'mail', server: 'c', last_check: '2026-04-20T10:00:00Z' }));
    });

    const ALL = ['acme/dns a', 'mail c', 'web a', 'web b'];
    const filters: readonly (readonly [query: string, expected: string[]])[] = [
      ['?repo=web', ['web a', 'web b']],
      ['?repo=acme%2Fdns', ['acme/dns a']],
      ['?repo=acme/dns', ['acme/dns a']],
      ['?repo=web,mail', ['mail c', 'web a', 'web b']],
      ['?repo=web&repo=mail', ['mail c', 'web a', 'web b']],
      ['?repo=web%2C%20mail', ['mail c', 'web a', 'web b']],
      ['?repo=web&server=a', ['web a']],
      ['?server=a', ['acme/dns a', 'web a']],
      ['?verdict=STALE', ['mail c']],
      ['?verdict=SYNCED', ['acme/dns a', 'web a']],
      ['?verdict=OUT_OF_SYNC,STALE', ['mail c', 'web b']],
      ['?repo=', ALL],
      ['?repo=*', ALL],
      ['?repo=web,*', ALL],
      ['?repo=${repo}', ALL],
      ['?repo=${repo:csv}&server=${server}', ALL],
      ['?__proto__=web', ALL],
      ['?repo=nothing', []],
      ['?verdict=synced', ['acme/dns a', 'web a']],
      ['?repo=we', []],
      ['?repo=__proto__', []],
      ['?repo=%ff', []],
    ];
    for (const [query, expected] of filters) {
      it(`by ${query}`, async () => {
        const rows = await list(query);
        expect(rows.map(({ repo, server }) => `${repo as string} ${server as string}`)).to.deep.equal(expected);
      });
    }

    it('by nothing that exists is an empty list', async () => {
      expect(await (await service.request('/status.json?repo=nothing')).text()).to.equal('[]\n');
    });

    it('with the same rows as the whole list', async () => {
      const whole = await list();
      expect(await list('?repo=web')).to.deep.equal(whole.filter(({ repo }) => repo === 'web'));
    });
  });

  describe('asked again', () => {
    async function etag(query = ''): Promise<string> {
      return (await service.request(`/status.json${query}`)).headers.get('ETag') ?? '';
    }
    async function askAgain(tag: string, query = ''): Promise<Response> {
      return service.request(`/status.json${query}`, { headers: { 'If-None-Match': tag } });
    }

    beforeEach(async () => {
      await service.post(reportOf([]));
    });

    it('is 304 without a body while nothing has changed', async () => {
      const tag = await etag();
      const response = await askAgain(tag);
      expect(response.status).to.equal(304);
      expect(response.headers.get('ETag')).to.equal(tag);
      expect(await response.text()).to.equal('');
    });

    it('is 304 even for a reader that asks past caches', async () => {
      const headers = { 'If-None-Match': await etag(), 'Cache-Control': 'no-cache' };
      expect((await service.request('/status.json', { headers })).status).to.equal(304);
    });

    for (const query of ['', '?verdict=SYNCED']) {
      it(`is whole again after a report ${query}`, async () => {
        const tag = await etag(query);
        await service.post(reportOf([], { server: 'other' }));
        const response = await askAgain(tag, query);
        expect(response.status).to.equal(200);
        expect(await response.json()).to.have.lengthOf(2);
      });

      it(`is whole again when a source has become STALE by time alone ${query}`, async () => {
        const tag = await etag(query);
        service.clock.set(NOW - 5000 + 600_000 - 1);
        expect((await askAgain(tag, query)).status).to.equal(304);
        service.clock.advance(1);
        const response = await askAgain(tag, query);
        expect(response.status).to.equal(200);
        expect(await response.json()).to.have.lengthOf(query === '' ? 1 : 0);
      });
    }

    it('is whole again after a source was forgotten', async () => {
      const tag = await etag();
      await service.request('/api/status/rsyslog/rsyslog-lab', { method: 'DELETE' });
      expect((await askAgain(tag)).status).to.equal(200);
    });

    it('is 304 after a report that was superseded, or whose source is not known', async () => {
      const tag = await etag();
      await service.post(reportOf(['a'], { last_check: '2026-04-21T10:00:00Z' }));
      await service.post(reportOf(['a'], { server: 'other', drift_count: 7 }));
      expect((await askAgain(tag)).status).to.equal(304);
    });

    it('is whole for a tag of an earlier start of the service', async () => {
      const other = await startService({ bootId: 'another' });
      await other.post(reportOf([]));
      const tag = (await other.request('/status.json')).headers.get('ETag') ?? '';
      await other.stop();
      expect((await askAgain(tag)).status).to.equal(200);
    });
  });

  it('turns a source STALE by time alone, in every output alike', async () => {
    await service.post(reportOf([]));
    const fresh = { verdict: 'SYNCED', stale: false, out_of_sync: 0 };
    const stale = { verdict: 'STALE', stale: true, out_of_sync: 1 };
    const labels = '{repo="rsyslog",server="rsyslog-lab"}';
    for (const [at, expected] of [
      [NOW - 5000 + 600_000 - 1, fresh],
      [NOW - 5000 + 600_000, stale],
    ] as const) {
      service.clock.set(at);
      expect((await list())[0])
        .to.include(expected)
        .and.include({ sync_status: 'SYNCED' });
      expect(await (await service.request('/api/status/rsyslog/rsyslog-lab')).json()).to.include(expected);
      expect(await list(`?verdict=${expected.verdict}`)).to.have.lengthOf(1);
      const metrics = await (await service.request('/metrics')).text();
      expect(metrics).to.contain(`gitops_stale${labels} ${expected.out_of_sync}\n`);
      expect(metrics).to.contain(`gitops_in_sync${labels} ${1 - expected.out_of_sync}\n`);
      expect(metrics).to.contain(`gitops_sources{verdict="STALE"} ${expected.out_of_sync}\n`);
    }
    await service.post(reportOf([], { last_check: new Date(service.clock.now()).toISOString() }));
    expect((await list())[0]).to.include(fresh);
  });

  describe('with gzip', () => {
    async function getRaw(
      path: string,
      encoding?: string,
    ): Promise<{ headers: IncomingMessage['headers']; bytes: Buffer }> {
      const headers = encoding === undefined ? {} : { 'Accept-Encoding': encoding };
      const [response] = (await once(request(service.url + path, { headers }).end(), 'response')) as [IncomingMessage];
      return { headers: response.headers, bytes: Buffer.concat(await response.toArray()) };
    }

    for (const path of ['/status.json', '/status.json?repo=rsyslog', '/metrics']) {
      it(`${path} is the same, only smaller`, async () => {
        for (let i = 0; i < 30; i += 1) await service.post(reportBody({ server: `server-${i}` }));
        const plain = await getRaw(path);
        const packed = await getRaw(path, 'br, gzip;q=0.8');
        expect(packed.headers['content-encoding']).to.equal('gzip');
        expect(plain.headers).to.not.have.property('content-encoding');
        expect(packed.headers.etag).to.equal(plain.headers.etag);
        expect(packed.bytes.length).to.be.lessThan(plain.bytes.length / 2);
        expect(sourceLines(gunzipSync(packed.bytes))).to.deep.equal(sourceLines(plain.bytes));
      });
    }

    for (const encoding of ['identity', 'gzip;q=0', 'br']) {
      it(`is not used for a reader that sends Accept-Encoding: ${encoding}`, async () => {
        for (let i = 0; i < 30; i += 1) await service.post(reportBody({ server: `server-${i}` }));
        expect((await getRaw('/status.json', encoding)).headers).to.not.have.property('content-encoding');
      });
    }
  });

  describe('of more than fits in one portion', () => {
    const files = Array.from({ length: 8000 }, (_, i) => `etc/some/long/path/to/file-number-${i}.conf`);

    beforeEach(async () => {
      for (let i = 0; i < 6; i += 1) await service.post(reportOf(files, { server: `server-${i}` }));
    });

    it('is whole, gzipped or not, filtered or not', async () => {
      for (const encoding of ['identity', 'gzip']) {
        for (const [query, length] of [
          ['', 6],
          ['?server=server-1,server-2,server-3,server-4', 4],
        ] as const) {
          const response = await service.request(`/status.json${query}`, { headers: { 'Accept-Encoding': encoding } });
          expect(response.headers.get('Content-Encoding')).to.equal(encoding === 'gzip' ? 'gzip' : null);
          const rows = (await response.json()) as Record<string, unknown>[];
          expect(rows).to.have.lengthOf(length);
          for (const row of rows) expect(row.files_text).to.equal(files.join(', '));
        }
      }
    });

    it('is 304 too while nothing has changed', async () => {
      const response = await service.request('/status.json');
      await response.arrayBuffer();
      const headers = { 'If-None-Match': response.headers.get('ETag') ?? '' };
      expect((await service.request('/status.json', { headers })).status).to.equal(304);
    });

    for (const encoding of ['identity', 'gzip']) {
      for (const path of ['/status.json', '/metrics']) {
        it(`may be left half-way by its reader: ${path} (${encoding})`, async () => {
          const leaving = request(service.url + path, { headers: { 'Accept-Encoding': encoding } }).end();
          leaving.on('error', () => {});
          const [response] = (await once(leaving, 'response')) as [IncomingMessage];
          response.on('error', () => {});
          await once(response, 'data');
          leaving.destroy();
          await until(() => service.log.find((line) => line.msg === 'request' && line.path === path));
          expect(service.log.filter(({ level }) => Number(level) >= 40)).to.deep.equal([]);
          expect((await service.request('/healthz')).status).to.equal(200);
        });
      }
    }
  });
});

/** All that does not change by itself from one scrape to the next. */
function sourceLines(bytes: Buffer): string[] {
  return bytes
    .toString()
    .split('\n')
    .filter((line) => line.includes('rsyslog'));
}
