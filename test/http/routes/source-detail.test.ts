import { expect } from 'chai';
import { type Service, reportBody, reportOf, startService } from '../../fixtures.ts';

const LAB = '/api/status/rsyslog/rsyslog-lab';

describe('one source over HTTP', () => {
  let service: Service;

  beforeEach(async () => {
    service = await startService();
  });
  afterEach(() => service.stop());

  async function get(path: string): Promise<Record<string, unknown>> {
    return (await (await service.request(path)).json()) as Record<string, unknown>;
  }

  async function servers(): Promise<unknown[]> {
    const rows = (await (await service.request('/status.json')).json()) as Record<string, unknown>[];
    return rows.map((row) => row.server);
  }

  async function expectProblem(response: Response, status: number): Promise<string> {
    expect(response.status).to.equal(status);
    expect(response.headers.get('Content-Type')).to.equal('application/problem+json');
    return ((await response.json()) as { detail: string }).detail;
  }

  describe('is shown', () => {
    it('in full: diffs, since when each file differs, and its drifts', async () => {
      await service.post(reportBody({ drift_count: 1, files: [{ name: 'a', diff: '-1\n+2\n' }] }));
      service.clock.advance(60_000);
      const files = [{ name: 'a', diff: '-1\n+3\n' }, { name: 'b' }];
      await service.post(reportBody({ files, last_check: '2026-04-21T10:33:15Z' }));
      const { files: shown, drifts, ...rest } = await get(LAB);
      expect(shown).to.deep.equal([
        { name: 'a', since: '2026-04-21T10:32:20.000Z', times_drifted: 1, diff: '-1\n+3\n' },
        { name: 'b', since: '2026-04-21T10:33:20.000Z', times_drifted: 1, diff: null },
      ]);
      expect(drifts).to.deep.equal([
        { name: 'a', opened_at: '2026-04-21T10:32:20.000Z', closed_at: null, duration_seconds: 60 },
        { name: 'b', opened_at: '2026-04-21T10:33:20.000Z', closed_at: null, duration_seconds: 0 },
      ]);
      expect(rest).to.include({ first_seen: '2026-04-21T10:32:20.000Z', received_at: '2026-04-21T10:33:20.000Z' });
    });

    it('with the drifts that are over, and how often a file has drifted', async () => {
      for (const [minute, names] of [['a'], [], ['a']].entries()) {
        await service.post(reportOf(names, { last_check: `2026-04-21T10:3${minute}:15Z` }));
        service.clock.advance(60_000);
      }
      const { files, drifts } = await get(LAB);
      expect(files).to.have.deep.nested.property('[0].times_drifted', 2);
      expect(drifts).to.deep.include({
        name: 'a',
        opened_at: '2026-04-21T10:32:20.000Z',
        closed_at: '2026-04-21T10:33:20.000Z',
        duration_seconds: 60,
      });
    });

    it('with names that must be percent-encoded', async () => {
      await service.post(reportBody({ repo: 'acme/web', server: 'node:9100/a@b' }));
      expect(await get('/api/status/acme%2Fweb/node%3A9100%2Fa%40b')).to.include({
        repo: 'acme/web',
        server: 'node:9100/a@b',
      });
      expect(await get('/api/status/acme%2fweb/node:9100%2fa@b')).to.include({ repo: 'acme/web' });
    });

    it('with 304 until it changes or becomes STALE', async () => {
      await service.post(reportBody());
      const again = async (tag: string): Promise<Response> =>
        service.request(LAB, { headers: { 'If-None-Match': tag } });
      const first = (await service.request(LAB)).headers.get('ETag') ?? '';
      expect((await again(first)).status).to.equal(304);
      await service.post(reportBody({ last_check: '2026-04-21T10:32:16Z' }));
      const second = await again(first);
      expect(second.status).to.equal(200);
      service.clock.advance(3_600_000);
      expect((await again(second.headers.get('ETag') ?? '')).status).to.equal(200);
    });

    for (const names of [['f'], []]) {
      it(`with 304 while nothing but the clock changes, with ${names.length} files that differ`, async () => {
        await service.post(reportOf(names));
        const tag = (await service.request(LAB)).headers.get('ETag') ?? '';
        expect(tag).to.match(/^W\//);
        for (const ms of [1, 1000, 60_000]) {
          service.clock.advance(ms);
          const again = await service.request(LAB, { headers: { 'If-None-Match': tag } });
          expect([again.status, again.headers.get('ETag')]).to.deep.equal([304, tag]);
        }
      });
    }

    it('anew whenever anything but a duration has changed', async () => {
      const last_check = '2026-04-21T10:32:19Z';
      const changes: readonly (readonly [what: string, change: () => unknown])[] = [
        ['a refused report', () => service.post(reportBody({ drift_count: 7 }))],
        ['a report that changes nothing', () => service.post(reportBody({ last_check }))],
        ['another commit', () => service.post(reportBody({ last_check, commit: 'abc' }))],
        ['a check that could not tell', () => service.post(reportOf([], { last_check, sync_status: 'UNKNOWN' }))],
        ['one file less', () => service.post(reportOf(['rsyslog.conf'], { last_check }))],
        ['becoming STALE', () => service.clock.advance(600_000)],
        ['an older clock', () => service.clock.advance(-600_000)],
      ];
      await service.post(reportBody());
      for (const [what, change] of changes) {
        const before = await service.request(LAB);
        await change();
        const headers = { 'If-None-Match': before.headers.get('ETag') ?? '' };
        const after = await service.request(LAB, { headers });
        expect(after.status, what).to.equal(200);
        expect(await after.text()).to.not.equal(await before.text());
      }
    });

    it('anew when it was forgotten and has come back', async () => {
      await service.post(reportBody());
      const headers = { 'If-None-Match': (await service.request(LAB)).headers.get('ETag') ?? '' };
      await service.request(LAB, { method: 'DELETE' });
      await service.post(reportBody());
      expect((await service.request(LAB, { headers })).status).to.equal(200);
    });

    it('with 404 when it is unknown', async () => {
      const names = ['rsyslog/other', 'other/rsyslog-lab', 'RSYSLOG/rsyslog-lab', '__proto__/constructor', '%00/%ff'];
      await service.post(reportBody());
      for (const name of names) await expectProblem(await service.request(`/api/status/${name}`), 404);
      expect(await expectProblem(await service.request('/api/status/a%2Fb/c'), 404))
        .to.contain('a/b')
        .and.contain('c');
    });
  });

  describe('is forgotten', () => {
    beforeEach(async () => {
      await service.post(reportBody());
    });

    it('by DELETE: 204, and it is gone from every output', async () => {
      const response = await service.request(LAB, { method: 'DELETE' });
      expect(response.status).to.equal(204);
      expect(await response.text()).to.equal('');
      expect(await servers()).to.deep.equal([]);
      expect((await service.request(LAB)).status).to.equal(404);
      expect(await (await service.request('/metrics')).text()).to.not.contain('rsyslog');
    });

    it('once: the second DELETE is 404', async () => {
      await service.request(LAB, { method: 'DELETE' });
      await expectProblem(await service.request(LAB, { method: 'DELETE' }), 404);
    });

    it('once, by two at the same time', async () => {
      const responses = await Promise.all([1, 2, 3].map(() => service.request(LAB, { method: 'DELETE' })));
      expect(responses.map(({ status }) => status)).to.have.members([204, 404, 404]);
    });

    it('by its percent-encoded name', async () => {
      await service.post(reportBody({ repo: 'acme/web' }));
      expect((await service.request('/api/status/acme%2Fweb/rsyslog-lab', { method: 'DELETE' })).status).to.equal(204);
      expect(await servers()).to.deep.equal(['rsyslog-lab']);
    });

    it('and then reported anew: created, even by a report that is older than the last one', async () => {
      await service.request(LAB, { method: 'DELETE' });
      const response = await service.post(reportBody({ last_check: '2026-04-21T10:31:00Z' }));
      expect(response.status).to.equal(201);
      expect(await response.json()).to.include({ result: 'created', previous_status: null });
    });
  });
});

describe('DELETE /api/status', () => {
  let service: Service;

  beforeEach(async () => {
    service = await startService();
    for (const name of ['web a', 'web b', 'dns a', 'acme/dns c']) {
      const [repo, server] = name.split(' ');
      await service.post(reportOf(server === 'b' ? ['f'] : [], { repo, server }));
    }
  });
  afterEach(() => service.stop());

  async function remove(query: string): Promise<unknown> {
    const response = await service.request(`/api/status${query}`, { method: 'DELETE' });
    expect(response.status).to.equal(200);
    return response.json();
  }

  async function left(): Promise<string[]> {
    const rows = (await (await service.request('/status.json')).json()) as { repo: string; server: string }[];
    return rows.map(({ repo, server }) => `${repo} ${server}`);
  }

  const filters: readonly (readonly [query: string, remaining: string[]])[] = [
    ['?repo=web', ['acme/dns c', 'dns a']],
    ['?server=a', ['acme/dns c', 'web b']],
    ['?repo=web&server=a', ['acme/dns c', 'dns a', 'web b']],
    ['?repo=web,dns', ['acme/dns c']],
    ['?repo=web&repo=dns', ['acme/dns c']],
    ['?repo=acme%2Fdns', ['dns a', 'web a', 'web b']],
    ['?verdict=OUT_OF_SYNC', ['acme/dns c', 'dns a', 'web a']],
    ['?repo=nothing', ['acme/dns c', 'dns a', 'web a', 'web b']],
    ['?repo=web&dry_run=false', ['acme/dns c', 'dns a']],
  ];
  for (const [query, remaining] of filters) {
    it(`${query} forgets all that match, and tells how many`, async () => {
      expect(await remove(query)).to.deep.equal({ deleted: 4 - remaining.length });
      expect(await left()).to.deep.equal(remaining);
    });
  }

  it('only counts with dry_run=true', async () => {
    const before = await left();
    expect(await remove('?repo=web&dry_run=true')).to.deep.equal({ deleted: 2 });
    expect(await left()).to.deep.equal(before);
  });

  it('forgets what has become STALE by now', async () => {
    service.clock.advance(3_600_000);
    await service.post(
      reportOf([], { repo: 'web', server: 'a', last_check: new Date(service.clock.now()).toISOString() }),
    );
    expect(await remove('?verdict=STALE')).to.deep.equal({ deleted: 3 });
    expect(await left()).to.deep.equal(['web a']);
  });

  const refused: readonly (readonly [query: string, what: string])[] = [
    ['', 'no filter'],
    ['?', 'no filter'],
    ['?dry_run=true', 'no filter'],
    ['?repo=', 'an empty filter'],
    ['?repo=*', 'everything'],
    ['?repo=${repo}', 'a variable that was not filled in'],
    ['?repo=web&server=${server}', 'one variable of two that was not filled in'],
    ['?repo=web,${other}', 'a list with a variable that was not filled in'],
    ['?repos=web', 'a word that it does not know'],
    ['?repo=web&sever=a', 'one word of two that it does not know'],
    ['?repo=web&dry_run=yes', 'dry_run that is neither true nor false'],
    ['?repo=web&dry_run', 'dry_run without a value'],
    ['?repo=web&dry_run=true&dry_run=false', 'dry_run twice'],
  ];
  for (const [query, what] of refused) {
    it(`refuses ${what} with 400 and forgets nothing: ${query || '(nothing)'}`, async () => {
      const response = await service.request(`/api/status${query}`, { method: 'DELETE' });
      expect(response.status).to.equal(400);
      expect(response.headers.get('Content-Type')).to.equal('application/problem+json');
      expect(await left()).to.have.lengthOf(4);
    });
  }
});
