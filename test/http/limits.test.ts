import { expect } from 'chai';
import { parseTokens } from '../../src/access/tokens.ts';
import {
  type Clock,
  type Service,
  createClock,
  makeFolder,
  reportOf,
  sha256,
  startService,
  tokensText,
  driftsOf,
} from '../fixtures.ts';

type Row = Record<string, unknown> & { readonly files: { readonly name: string }[] };

/** So many names of about 20 characters. */
function names(count: number, prefix = 'etc/some/file-'): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`);
}

describe('limits of the service', () => {
  let folder: ReturnType<typeof makeFolder>;
  let service: Service;
  let clock: Clock;

  beforeEach(async () => {
    folder = makeFolder();
    clock = createClock();
    await start(1000);
  });
  afterEach(async () => {
    await service.stop();
    folder.remove();
  });

  async function start(maxOpenDrifts: number, tokens?: () => ReturnType<typeof parseTokens>): Promise<void> {
    service = await startService({ dataDir: folder.path, clock, maxOpenDrifts, ...(tokens && { tokens }) });
  }

  async function restart(maxOpenDrifts: number, tokens?: () => ReturnType<typeof parseTokens>): Promise<void> {
    await service.stop();
    await start(maxOpenDrifts, tokens);
  }

  /** Posts a report whose check is a second later than the one before. */
  async function post(
    server: string,
    files: readonly string[],
    changes: Record<string, unknown> = {},
    token?: string,
  ): Promise<{ status: number; body: Record<string, unknown> }> {
    clock.advance(1000);
    const last_check = new Date(clock.now()).toISOString();
    const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const response = await service.post(reportOf(files, { server, last_check, ...changes }), headers);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  async function rows(): Promise<Map<string, Row>> {
    const list = (await (await service.request('/status.json')).json()) as Row[];
    return new Map(list.map((row) => [row.server as string, row]));
  }

  async function metric(name: string): Promise<number> {
    const text = await (await service.request('/metrics')).text();
    const line = text.split('\n').find((each) => each.startsWith(`${name} `));
    return Number(line?.split(' ')[1]);
  }

  describe('open drifts', () => {
    beforeEach(async () => {
      await post('a', names(600));
      await post('b', names(400));
    });

    it('refuse a report that would add one more, by name and in the counters', async () => {
      const { status, body } = await post('c', ['one']);
      expect(status).to.equal(429);
      expect(body.detail).to.include('MAX_OPEN_DRIFTS (1000)');
      expect(await metric('gitops_open_drifts')).to.equal(1000);
      const metrics = await (await service.request('/metrics')).text();
      expect(metrics).to.include('gitops_reports_rejected_total{reason="too_many_drifts"} 1\n');
      expect(metrics).to.include('gitops_limit{limit="open_drifts"} 1000\n');
      expect((await rows()).has('c')).to.equal(false);
    });

    it('let everything else go on: the same again, fewer, others, none', async () => {
      expect((await post('a', names(600))).body.result).to.equal('unchanged');
      expect((await post('a', [...names(599), 'other'])).status).to.equal(200);
      expect((await post('d', [])).status).to.equal(201);
      expect((await post('a', names(10))).status).to.equal(200);
      expect((await post('c', names(500))).status).to.equal(201);
      expect(await metric('gitops_open_drifts')).to.equal(910);
    });

    it('have room again after a source is forgotten', async () => {
      expect((await service.request('/api/status/rsyslog/a', { method: 'DELETE' })).status).to.equal(204);
      expect((await post('c', names(600))).status).to.equal(201);
      expect((await post('d', ['x'])).status).to.equal(429);
    });

    it('are counted over a batch, too', async () => {
      await post('a', []);
      await post('b', []);
      const last_check = new Date(clock.now()).toISOString();
      const answers = await Promise.all(
        names(20, 's').map((server) => service.post(reportOf(names(100), { server, last_check }))),
      );
      expect(answers.filter(({ status }) => status === 201)).to.have.length(10);
      expect(answers.filter(({ status }) => status === 429)).to.have.length(10);
      expect(await metric('gitops_open_drifts')).to.equal(1000);
    });
  });

  describe('text', () => {
    const long = (count: number): string[] => names(count, `${'x'.repeat(900)}-`);

    it('of names is bounded by 128 bytes for each drift that may be open', async () => {
      expect((await post('a', long(140))).status).to.equal(201);
      const { status, body } = await post('b', long(10));
      expect(status).to.equal(429);
      expect(body.detail).to.include('128000 bytes');
      expect((await post('a', long(100))).status).to.equal(200);
      expect((await post('b', long(10))).status).to.equal(201);
      expect(await metric('gitops_name_bytes')).to.equal(
        [...long(100), ...long(10)].reduce((sum, name) => sum + name.length, 0),
      );
    });

    it('counts characters beyond Latin-1 as what they take', async () => {
      expect((await post('a', ['日'.repeat(100)])).status).to.equal(201);
      expect(await metric('gitops_name_bytes')).to.equal(300);
    });

    it('of URLs and names of sources is bounded apart from it', async () => {
      const url = `https://ci.example.org/${'p'.repeat(2000)}`;
      let status = 201;
      let taken = 0;
      for (; status === 201 && taken < 100; taken += 1)
        ({ status } = await post(`s${taken}`, [], { pipeline_url: url }));
      expect(status).to.equal(429);
      expect(taken).to.be.within(60, 64);
      expect((await post('s0', [], { pipeline_url: url })).status).to.equal(200);
      expect((await post('s0', ['a'])).status).to.equal(200);
      const metrics = await (await service.request('/metrics')).text();
      expect(metrics).to.include('gitops_reports_rejected_total{reason="too_much_text"} 1\n');
      expect(await metric('gitops_text_bytes')).to.be.below(128_000);
    });
  });

  describe('that were lowered below what is stored', () => {
    const files = names(900);

    beforeEach(async () => {
      await restart(10_000);
      for (const server of ['a', 'b', 'c']) await post(server, files);
      await restart(1000);
    });

    it('leave the counts true, and say which rows do not name all', async () => {
      const found = await rows();
      for (const server of ['a', 'b', 'c']) expect(found.get(server)?.drift_count, server).to.equal(900);
      expect([...found.values()].map((row) => row.files.length).toSorted((x, y) => x - y)).to.deep.equal([
        100, 100, 900,
      ]);
      for (const row of found.values()) expect(row.files_truncated).to.equal(row.files.length < 900);
      expect(found.get('c')?.files).to.deep.equal(files.slice(0, 100).map((name) => ({ name })));
      expect(await metric('gitops_open_drifts')).to.equal(2700);
      const metrics = await (await service.request('/metrics')).text();
      expect(metrics).to.include('gitops_drift_count{repo="rsyslog",server="c"} 900\n');
      expect(await (await service.request('/summary.json')).json()).to.include({ drift_count: 2700 });
      const detail = (await (await service.request('/api/status/rsyslog/c')).json()) as Row;
      expect(detail.files).to.have.length(900);
      expect(detail.files_truncated).to.equal(false);
    });

    it('are told by lists of files, which do not name all of them', async () => {
      for (const path of ['/files.json', '/drifts.json']) {
        expect((await service.request(path)).headers.get('X-Truncated'), path).to.equal('true');
        const whole = await service.request(`${path}?server=a`);
        expect(whole.headers.get('X-Truncated'), path).to.equal(null);
        expect(await whole.json()).to.have.length(900);
      }
    });

    it('are told by /readyz', async () => {
      const { status, warnings } = (await (await service.request('/readyz')).json()) as {
        status: string;
        warnings: string[];
      };
      expect(status).to.equal('ready');
      expect(warnings[0]).to.include('2700 of 1000').and.to.include('2 sources');
    });

    it('leave the past of a source as it was when its next report comes', async () => {
      const { body } = await post('c', [...files.slice(1), 'new']);
      expect(body).to.include({ result: 'changed', drift_count: 900 });
      expect(body).to.deep.include({ opened: ['new'], closed: ['etc/some/file-0'] });
      const detail = (await (await service.request('/api/status/rsyslog/c')).json()) as Row;
      expect(detail.files).to.have.length(900);
      const [first] = detail.files as unknown as { since: string }[];
      expect(first?.since).to.equal('2026-04-21T10:32:23.000Z');
      expect((await post('c', [...files.slice(1), 'new'])).body.result).to.equal('unchanged');
    });

    it('refuse what adds, and take what takes away, until there is room', async () => {
      expect((await post('c', [...files, 'new'])).status).to.equal(429);
      expect((await post('d', ['new'])).status).to.equal(429);
      expect((await post('c', files)).body.result).to.equal('unchanged');
      expect((await post('c', [])).body).to.deep.include({ result: 'changed', closed: files });
      expect((await post('b', names(50))).status).to.equal(200);
      expect((await post('a', names(50))).status).to.equal(200);
      expect((await post('d', ['new'])).status).to.equal(201);
      const found = await rows();
      expect([...found.values()].map((row) => row.files_truncated)).to.deep.equal([false, false, false, false]);
      expect(await (await service.request('/readyz')).json()).to.deep.equal({ status: 'ready' });
    });

    it('close all drifts of a source that is forgotten, also those that memory does not have', async () => {
      expect((await service.request('/api/status?repo=rsyslog', { method: 'DELETE' })).status).to.equal(200);
      const { fleet, store } = service;
      expect(fleet.usage.openDrifts).to.equal(0);
      expect(await driftsOf(store, { from: 0, to: Number.MAX_SAFE_INTEGER })).to.have.length(2700);
    });

    it('come back whole when the limit is raised again', async () => {
      await restart(10_000);
      for (const row of (await rows()).values()) {
        expect(row.files).to.have.length(900);
        expect(row.files_truncated).to.equal(false);
      }
    });
  });

  describe('the share of a token', () => {
    const tokens = (): ReturnType<typeof parseTokens> =>
      parseTokens(
        tokensText(
          [
            { name: 'small', sha256: sha256('small'), scopes: ['report'], max_sources: 2, max_open_drifts: 10 },
            { name: 'wide', sha256: sha256('wide'), scopes: ['report'] },
          ],
          ['read', 'delete'],
        ),
      );

    beforeEach(() => restart(1000, tokens));

    it('bounds the sources whose newest report came with it, and names itself', async () => {
      expect((await post('a', [], {}, 'small')).status).to.equal(201);
      expect((await post('b', [], {}, 'small')).status).to.equal(201);
      const { status, body } = await post('c', [], {}, 'small');
      expect(status).to.equal(429);
      expect(body.detail).to.include('small').and.to.include('max_sources 2');
      expect((await post('c', [], {}, 'wide')).status).to.equal(201);
      expect((await post('a', ['x'], {}, 'small')).status).to.equal(200);
      expect((await rows()).get('a')?.reported_by).to.equal('small');
    });

    it('bounds their open drifts, and lets go on what adds none', async () => {
      expect((await post('a', names(8), {}, 'small')).status).to.equal(201);
      const { status, body } = await post('b', names(3), {}, 'small');
      expect(status).to.equal(429);
      expect(body.detail).to.include('small').and.to.include('max_open_drifts 10');
      expect((await post('a', names(8), {}, 'small')).status).to.equal(200);
      expect((await post('a', names(2), {}, 'small')).status).to.equal(200);
      expect((await post('b', names(3), {}, 'small')).status).to.equal(201);
    });

    it('agrees after a restart', async () => {
      await post('a', names(8), {}, 'small');
      await post('b', [], {}, 'small');
      await restart(1000, tokens);
      expect((await post('b', names(3), {}, 'small')).status).to.equal(429);
      expect((await post('c', [], {}, 'small')).status).to.equal(429);
      expect((await post('b', names(2), {}, 'small')).status).to.equal(200);
    });

    it('is left by a source that another token reports, and that comes to it by doing so', async () => {
      await post('a', names(8), {}, 'small');
      await post('a', names(8), {}, 'wide');
      expect((await post('b', names(10), {}, 'small')).status).to.equal(201);
      expect((await post('a', names(8), {}, 'small')).status).to.equal(429);
      expect((await post('a', [], {}, 'small')).status).to.equal(200);
      expect((await post('c', [], {}, 'small')).status).to.equal(429);
    });

    it('has room again after its source is forgotten', async () => {
      await post('a', names(8), {}, 'small');
      await post('b', [], {}, 'small');
      await service.request('/api/status/rsyslog/a', { method: 'DELETE' });
      expect((await post('c', names(10), {}, 'small')).status).to.equal(201);
    });

    it('is counted over a batch, too', async () => {
      const last_check = new Date(clock.now()).toISOString();
      const answers = await Promise.all(
        names(6, 's').map((server) =>
          service.post(reportOf([], { server, last_check }), { Authorization: 'Bearer small' }),
        ),
      );
      expect(answers.filter(({ status }) => status === 201)).to.have.length(2);
    });
  });
});
