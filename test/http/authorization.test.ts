import { expect } from 'chai';
import { parseTokens } from '../../src/access/tokens.ts';
import { type Service, NOW, createClock, reportBody, reportOf, sha256, startService, tokensText } from '../fixtures.ts';

const ENTRIES = [
  { name: 'ci-rsyslog', sha256: sha256('ci'), scopes: ['report'], repos: ['rsyslog'], servers: ['rsyslog-*'] },
  { name: 'ci-lab', sha256: sha256('lab'), scopes: ['report'], repos: ['rsyslog'], servers: ['rsyslog-lab'] },
  { name: 'grafana', sha256: sha256('grafana'), scopes: ['read'] },
  { name: 'cleaner', sha256: sha256('cleaner'), scopes: ['delete'], repos: ['rsyslog'] },
  { name: 'on-call', sha256: sha256('on-call'), scopes: ['report', 'read', 'delete'] },
  { name: 'last-year', sha256: sha256('old'), scopes: ['report', 'read'], expires_at: '2026-04-21T10:32:21Z' },
];
const READS = [
  '/status.json',
  '/files.json',
  '/summary.json',
  '/history.json',
  '/drifts.json',
  '/api/status/rsyslog/rsyslog-lab',
  '/api/status?repo=rsyslog&server=rsyslog-lab',
  '/metrics',
];
const DELETES = ['/api/status/rsyslog/rsyslog-lab', '/api/status?repo=rsyslog'];
const OPEN = ['/healthz', '/readyz', '/openapi.json'];

describe('with access control, the service', () => {
  let service: Service;
  let tokens: string;

  beforeEach(async () => {
    tokens = tokensText(ENTRIES);
    service = await startService({ clock: createClock(NOW), tokens: () => parseTokens(tokens) });
    await post('on-call', reportBody());
  });
  afterEach(() => service.stop());

  const bearer = (token: string): Record<string, string> => ({ Authorization: `Bearer ${token}` });
  const post = (token: string, body: unknown): Promise<Response> => service.post(body, bearer(token));
  const send = (method: string, path: string, headers: Record<string, string> = {}): Promise<Response> =>
    service.request(path, { method, headers });
  const scrape = async (): Promise<string> => (await send('GET', '/metrics', bearer('on-call'))).text();

  async function expectRefusal(response: Response, status: 401 | 403, ...parts: string[]): Promise<void> {
    const { detail, ...problem } = (await response.json()) as Record<string, string>;
    expect(response.status, detail).to.equal(status);
    expect(response.headers.get('Content-Type')).to.equal('application/problem+json');
    expect(problem).to.include({ title: status === 401 ? 'Unauthorized' : 'Forbidden', status });
    const challenge = response.headers.get('WWW-Authenticate') ?? '';
    expect(challenge).to.match(/^Bearer realm="gitops-status-server"(, \w+="[^"]*")*$/);
    for (const part of parts) expect(`${detail} ${challenge}`).to.contain(part);
  }

  describe('without a token', () => {
    it('takes no report', async () => {
      await expectRefusal(await service.post(reportBody()), 401, 'Authorization: Bearer TOKEN');
    });

    for (const path of READS) {
      it(`does not show ${path}`, async () => {
        await expectRefusal(await send('GET', path), 401);
        expect((await send('HEAD', path)).status).to.equal(401);
      });
    }

    it('lets nobody listen', async () => {
      await expectRefusal(await send('GET', '/api/events'), 401);
    });

    for (const path of DELETES) {
      it(`does not delete ${path}`, async () => {
        await expectRefusal(await send('DELETE', path), 401);
        expect(service.fleet.size).to.equal(1);
      });
    }

    for (const path of OPEN) {
      it(`answers ${path}`, async () => {
        expect((await send('GET', path)).status).to.equal(200);
      });
    }

    it('says of nothing whether it is there', async () => {
      await expectRefusal(await send('GET', '/api/status/some/other'), 401);
      await expectRefusal(await send('GET', '/api/status?repo=some&server=other'), 401);
      await expectRefusal(await send('GET', '/api/status?repo=some'), 401);
      await expectRefusal(await send('DELETE', '/api/status/some/other'), 401);
    });

    it('does not say what is new to one who has an old ETag', async () => {
      const etag = (await send('GET', '/status.json', bearer('grafana'))).headers.get('ETag') ?? '';
      await expectRefusal(await send('GET', '/status.json', { 'If-None-Match': etag }), 401);
    });

    it('does what the file lets everybody do', async () => {
      tokens = tokensText(ENTRIES, ['read', 'report']);
      for (const path of READS) expect((await send('GET', path)).status, path).to.equal(200);
      expect((await service.post(reportBody({ server: 'new' }))).status).to.equal(201);
      await expectRefusal(await send('DELETE', DELETES[0] as string), 401);
    });

    it('refuses a large body, and goes on with the next request on the connection', async () => {
      await expectRefusal(await service.post(reportBody({ note: 'x'.repeat(3_000_000) })), 401);
      expect((await post('ci', reportBody())).status).to.equal(200);
    });
  });

  describe('refuses as no token', () => {
    const headers: readonly (readonly [header: string, ...parts: string[]])[] = [
      ['Bearer wrong', 'not known', 'error="invalid_token"'],
      ['Bearer CI', 'not known'],
      ['Bearer ci,', 'not known'],
      ['Bearer', 'must be: Bearer TOKEN'],
      ['Bearer ', 'must be: Bearer TOKEN'],
      ['Bearer ci more', 'must be: Bearer TOKEN', 'a character that no token has', 'line break'],
      ['Bearer \u00ef\u00bb\u00bfci', 'a character that no token has', 'byte order mark'],
      ['Bearer ci\tmore', 'a character that no token has', 'line break'],
      ['ci', 'must be: Bearer TOKEN'],
      ['Basic Y2k6Y2k=', 'must be: Bearer TOKEN'],
    ];
    for (const [header, ...parts] of headers) {
      it(`"${header}"`, async () => {
        await expectRefusal(await service.post(reportBody(), { Authorization: header }), 401, ...parts);
      });
    }

    it('a wrong one, also where none is needed', async () => {
      tokens = tokensText(ENTRIES, ['read']);
      service.clock.advance(60_000);
      for (const header of ['Bearer wrong', 'Bearer old', 'Basic Y2k6Y2k=']) {
        await expectRefusal(await send('GET', '/status.json', { Authorization: header }), 401);
      }
    });

    it('one that has expired, from that moment on', async () => {
      service.clock.set(Date.UTC(2026, 3, 21, 10, 32, 21) - 1);
      expect((await post('old', reportBody())).status).to.equal(200);
      service.clock.advance(1);
      await expectRefusal(await post('old', reportBody()), 401, 'last-year expired at 2026-04-21T10:32:21.000Z');
    });

    it('one that has expired while it listened, and tells it nothing more', async () => {
      const stream = await send('GET', '/api/events', bearer('old'));
      expect(stream.status).to.equal(200);
      service.clock.advance(60_000);
      await post('on-call', reportOf([]));
      expect(await stream.text()).to.not.contain('event: change');
    });

    it('one that the file has no more', async () => {
      expect((await post('ci', reportBody())).status).to.equal(200);
      tokens = tokensText(ENTRIES.slice(1));
      await expectRefusal(await post('ci', reportBody()), 401);
    });
  });

  it('takes the word Bearer in any case', async () => {
    expect((await service.post(reportBody(), { Authorization: 'bearer  ci' })).status).to.equal(200);
  });

  describe('lets a token do what it is for, and nothing else:', () => {
    it('a job reports its servers', async () => {
      expect((await post('ci', reportBody())).status).to.equal(200);
      expect((await post('ci', reportBody({ server: 'rsyslog-2' }))).status).to.equal(201);
    });

    it('a job reports no other repo or server', async () => {
      await expectRefusal(
        await post('ci', reportBody({ repo: 'web' })),
        403,
        'ci-rsyslog may not report server rsyslog-lab of repo web',
        'error="insufficient_scope"',
      );
      expect((await post('ci', reportBody({ repo: 'web' }))).headers.get('WWW-Authenticate')).to.not.contain('scope=');
      await expectRefusal(await post('ci', reportBody({ server: 'web-1' })), 403);
      expect(service.fleet.size).to.equal(1);
    });

    it('a job is told what is wrong with its report before anything else', async () => {
      expect((await post('ci', reportBody({ repo: 'web', drift_count: 7 }))).status).to.equal(422);
    });

    it('a job does not read or delete', async () => {
      for (const path of READS)
        await expectRefusal(await send('GET', path, bearer('ci')), 403, 'may report, but not read');
      for (const path of DELETES) await expectRefusal(await send('DELETE', path, bearer('ci')), 403, 'but not delete');
    });

    it('a reader reads, and does not report or delete', async () => {
      for (const path of READS) expect((await send('GET', path, bearer('grafana'))).status, path).to.equal(200);
      await expectRefusal(
        await post('grafana', reportBody()),
        403,
        'grafana may read, but not report',
        'scope="report"',
      );
      for (const path of DELETES) await expectRefusal(await send('DELETE', path, bearer('grafana')), 403);
    });

    it('a cleaner deletes what it is for', async () => {
      await post('on-call', reportBody({ repo: 'web' }));
      await expectRefusal(
        await send('DELETE', '/api/status/web/rsyslog-lab', bearer('cleaner')),
        403,
        'may not delete',
      );
      expect((await send('DELETE', '/api/status/rsyslog/rsyslog-lab', bearer('cleaner'))).status).to.equal(204);
      expect(service.fleet.size).to.equal(1);
    });

    it('a cleaner does not learn what there is that is not for it', async () => {
      await post('on-call', reportBody({ repo: 'web' }));
      for (const server of ['rsyslog-lab', 'unknown']) {
        await expectRefusal(await send('DELETE', `/api/status/web/${server}`, bearer('cleaner')), 403);
      }
      for (const query of ['repo=web', 'repo=unknown', 'repo=web&dry_run=true']) {
        const response = await send('DELETE', `/api/status?${query}`, bearer('cleaner'));
        expect(await response.json(), query).to.deep.equal({ deleted: 0 });
      }
      expect(service.fleet.size).to.equal(2);
    });

    it('a cleaner deletes, of all that match, those that are for it', async () => {
      await post('on-call', reportBody({ repo: 'web' }));
      const clean = async (query: string): Promise<unknown> =>
        (await send('DELETE', `/api/status?${query}`, bearer('cleaner'))).json();
      expect(await clean('server=rsyslog-lab&dry_run=true')).to.deep.equal({ deleted: 1 });
      expect(await clean('server=rsyslog-lab')).to.deep.equal({ deleted: 1 });
      expect(service.fleet.list().map(({ snapshot }) => snapshot.repo)).to.deep.equal(['web']);
    });

    it('what everybody may do, each may do with any valid token', async () => {
      tokens = tokensText(ENTRIES, ['read', 'report']);
      expect((await send('GET', '/status.json', bearer('ci'))).status).to.equal(200);
      // a limit is one of what the token itself allows
      expect((await post('cleaner', reportBody({ repo: 'web' }))).status).to.equal(201);
      await expectRefusal(await post('ci', reportBody({ repo: 'web' })), 403);
    });
  });

  describe('tells who it was', () => {
    it('in the log, by name', async () => {
      await post('ci', reportBody());
      await post('ci', reportBody({ repo: 'web' }));
      await send('DELETE', '/api/status/rsyslog/rsyslog-lab', bearer('cleaner'));
      await post('grafana', reportBody());
      service.clock.advance(60_000);
      await post('old', reportBody());
      const names = service.log.map(({ msg, status, token }) => [msg, status, token]);
      expect(names).to.deep.include.members([
        ['report', 200, 'ci-rsyslog'],
        ['report', 403, 'ci-rsyslog'],
        ['report', 403, 'grafana'],
        ['report', 401, 'last-year'],
        ['request', 204, 'cleaner'],
      ]);
    });

    it('in the log, by address, where the token is not known', async () => {
      await post('wrong', reportBody());
      await send('GET', '/status.json', bearer('wrong'));
      await send('DELETE', '/api/status/rsyslog/rsyslog-lab');
      const lines = service.log.filter(({ status }) => status === 401);
      expect(lines).to.have.lengthOf(3);
      for (const line of lines) {
        expect(line).to.include({ level: 40, reason: 'unauthorized', client_address: '127.0.0.1' });
        expect(line).to.not.have.property('token');
      }
    });

    it('in the log, by name only, where the token is known', async () => {
      await send('GET', '/status.json', bearer('ci'));
      const line = service.log.find(({ status }) => status === 403);
      expect(line).to.include({ level: 40, reason: 'forbidden', token: 'ci-rsyslog' });
      expect(line).to.not.have.property('client_address');
    });

    it('but never the token, right or wrong', async () => {
      const wrong = 'some-very-secret-token';
      await service.post(reportBody(), bearer(wrong));
      await service.post(reportBody(), { Authorization: `Basic ${wrong}` });
      await post('on-call', reportBody({ drift_count: 9 }));
      expect(JSON.stringify(service.log)).to.not.contain(wrong).and.not.contain('Bearer');
    });
  });

  describe('counts a refused report', () => {
    it('by its reason', async () => {
      await service.post(reportBody());
      await post('wrong', reportBody());
      await post('ci', reportBody({ repo: 'web' }));
      const text = await scrape();
      expect(text).to.contain('gitops_reports_rejected_total{reason="unauthorized"} 2\n');
      expect(text).to.contain('gitops_reports_rejected_total{reason="forbidden"} 1\n');
      expect(text).to.contain('gitops_reports_total{result="rejected"} 3\n');
    });

    const refused = /^gitops_last_rejected_timestamp_seconds\{repo="rsyslog",server="rsyslog-lab"\} 1776767540$/m;

    it('with its source, where the token may report for it', async () => {
      expect((await post('ci', reportBody({ drift_count: 9 }))).status).to.equal(422);
      expect(await scrape()).to.match(refused);
    });

    it('but not with a source that the token may not report for', async () => {
      await post('cleaner', reportBody());
      await post('cleaner', reportBody({ drift_count: 9 }));
      tokens = tokensText([{ ...ENTRIES[0], servers: ['other'] }, ...ENTRIES.slice(1)]);
      await expectRefusal(await post('ci', reportBody()), 403);
      expect((await post('ci', reportBody({ drift_count: 9 }))).status).to.equal(422);
      await post('ci', JSON.stringify(reportBody()).slice(0, -1));
      expect(await scrape()).to.not.match(refused);
      expect(service.fleet.list()[0]?.snapshot.lastRejectedAt).to.equal(null);
    });

    it('with its source, where the token can be for one source only', async () => {
      expect((await post('lab', 'no JSON at all')).status).to.equal(400);
      expect(await scrape()).to.match(refused);
    });

    it('with its source, where that token has expired', async () => {
      tokens = tokensText([...ENTRIES.slice(2), { ...ENTRIES[1], expires_at: '2026-04-21T10:32:20Z' }]);
      await expectRefusal(await post('lab', reportBody()), 401, 'expired');
      expect(await scrape()).to.match(refused);
      expect(service.log.at(-2)).to.include({ repo: 'rsyslog', server: 'rsyslog-lab', token: 'ci-lab' });
    });

    it('with no source, where it cannot be known whose it is', async () => {
      await post('ci', 'no JSON at all');
      await service.post(reportBody());
      await post('wrong', reportOf([]));
      expect(await scrape()).to.not.match(refused);
    });
  });
});

describe('without access control, the service', () => {
  it('does not look at tokens', async () => {
    const service = await startService();
    try {
      expect((await service.post(reportBody(), { Authorization: 'Bearer any' })).status).to.equal(201);
      expect((await service.request('/status.json', { headers: { Authorization: 'Basic' } })).status).to.equal(200);
    } finally {
      await service.stop();
    }
  });
});
