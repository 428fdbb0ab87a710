import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { expect } from 'chai';
import { type Service, reportBody, startService } from '../fixtures.ts';
import { until } from '../process.ts';

describe('over HTTP, the service', () => {
  let service: Service;

  beforeEach(async () => {
    service = await startService({ publicUrl: 'https://status.example.org' });
  });
  afterEach(() => service.stop());

  /** As `fetch`, with methods and headers that it does not let through. */
  async function send(method: string, path: string, headers: Record<string, string> = {}): Promise<Answer> {
    const message = request(`${service.url}${path}`, { method, headers }).end();
    const [response] = (await once(message, 'response')) as [IncomingMessage];
    const text = (await response.setEncoding('utf8').toArray()).join('');
    return { status: response.statusCode ?? 0, headers: response.headers, text };
  }

  describe('has a problem for', () => {
    const unknown = ['/', '/nope', '/api', '/api/status/a', '/api/status/a/b/c', '/%', '/status.json/x'];
    for (const path of unknown) {
      it(`an unknown path: ${path} is 404`, async () => {
        expectProblem(await send('GET', path), 404);
      });
    }

    for (const method of ['HEAD', 'OPTIONS', 'DELETE', 'PROPFIND']) {
      it(`an unknown path, asked for with ${method}, is 404`, async () => {
        expectProblem(await send(method, '/nope'), 404, method);
      });
    }

    const wrong: readonly (readonly [method: string, path: string, allowed: string[]])[] = [
      ['PUT', '/api/status', ['GET', 'HEAD', 'POST', 'DELETE']],
      ['PATCH', '/api/status?repo=a', ['GET', 'HEAD', 'POST', 'DELETE']],
      ['POST', '/status.json', ['GET', 'HEAD']],
      ['DELETE', '/metrics', ['GET', 'HEAD']],
      ['PATCH', '/api/status/a/b', ['GET', 'HEAD', 'DELETE']],
      ['PROPFIND', '/status.json', ['GET', 'HEAD']],
      ['TRACE', '/healthz', ['GET', 'HEAD']],
    ];
    for (const [method, path, allowed] of wrong) {
      it(`a wrong method: ${method} ${path} is 405 and tells what is allowed`, async () => {
        const answer = await send(method, path);
        expectProblem(answer, 405, method);
        expect(answer.headers.allow?.split(', ')).to.have.members(allowed);
      });
    }
  });

  it('tells by OPTIONS what a route takes', async () => {
    for (const [path, allowed] of [
      ['/api/status', ['GET', 'HEAD', 'POST', 'DELETE']],
      ['/api/status/a/b', ['GET', 'HEAD', 'DELETE']],
      ['/status.json', ['GET', 'HEAD']],
    ] as const) {
      const { status, headers, text } = await send('OPTIONS', path);
      expect({ status, text }).to.deep.equal({ status: 200, text: '' });
      expect(headers.allow?.split(', ')).to.have.members(allowed);
    }
  });

  describe('answers HEAD as GET, without the body', () => {
    for (const encoding of ['identity', 'gzip']) {
      for (const path of [
        '/status.json',
        '/metrics',
        '/api/status/rsyslog/rsyslog-lab',
        '/openapi.json',
        '/healthz',
        '/readyz',
      ]) {
        it(`${path} (${encoding})`, async () => {
          await service.post(reportBody());
          const head = await send('HEAD', path, { 'Accept-Encoding': encoding });
          const get = await send('GET', path, { 'Accept-Encoding': encoding });
          expect(head.text).to.equal('');
          expect(head.status).to.equal(200);
          for (const name of ['content-type', 'etag', 'cache-control', 'content-encoding']) {
            expect(head.headers[name], name).to.equal(get.headers[name]);
          }
          if (path !== '/metrics') expect(head.headers['content-length']).to.equal(get.headers['content-length']);
        });
      }
    }
  });

  describe('gives each answer an id', () => {
    it("that is the request's own", async () => {
      const { headers } = await send('GET', '/healthz', { 'X-Request-Id': 'ci/job:17.3+a=b@host-1' });
      expect(headers['x-request-id']).to.equal('ci/job:17.3+a=b@host-1');
    });

    it('that it makes, another each time, where there is none', async () => {
      const ids = [(await send('GET', '/healthz')).headers, (await send('GET', '/nope')).headers];
      expect(ids.map((headers) => headers['x-request-id'])).to.deep.equal(['request-1', 'request-2']);
    });

    for (const [what, id] of [
      ['is too long', 'x'.repeat(129)],
      ['has spaces', 'a b'],
      ['could forge a line of a log', 'a"},{"level":50'],
      ['is empty', ''],
    ] as const) {
      it(`that it makes where the sent one ${what}`, async () => {
        expect((await send('GET', '/healthz', { 'X-Request-Id': id })).headers['x-request-id']).to.equal('request-1');
      });
    }

    it('that stands in the problem and in the log too', async () => {
      const body = '{"repo":';
      const response = await service.post(body, { 'X-Request-Id': 'mine' });
      expect(((await response.json()) as { request_id: string }).request_id).to.equal('mine');
      expect(service.log.find(({ msg }) => msg === 'report')).to.include({ request_id: 'mine' });
    });
  });

  describe('logs', () => {
    it('one line per report: source, result, milliseconds, request id', async () => {
      await service.post(reportBody());
      const lines = service.log.filter(({ msg }) => msg === 'report');
      expect(lines).to.have.lengthOf(1);
      expect(lines[0]).to.include({
        level: 30,
        repo: 'rsyslog',
        server: 'rsyslog-lab',
        result: 'created',
        status: 201,
      });
      expect(lines[0]).to.include({ request_id: 'request-1' });
      expect(lines[0]?.ms).to.be.a('number');
    });

    it('for a refused report its source and where it was wrong', async () => {
      await service.post(reportBody({ drift_count: 9, files: [{ name: 1 }] }));
      const line = service.log.find(({ msg }) => msg === 'report');
      expect(line).to.include({ level: 40, repo: 'rsyslog', server: 'rsyslog-lab', status: 422 });
      expect(line).to.include({ result: 'rejected', reason: 'invalid' });
      expect(line?.broken).to.have.members(['/drift_count', '/files/0/name']);
    });

    it('who deletes what', async () => {
      await service.post(reportBody());
      await send('DELETE', '/api/status/rsyslog/rsyslog-lab');
      expect(service.log.find(({ msg }) => msg === 'request')).to.include({
        level: 30,
        method: 'DELETE',
        path: '/api/status/rsyslog/rsyslog-lab',
        status: 204,
      });
    });

    it('neither bodies nor tokens', async () => {
      const secret = 'hunter2';
      const headers = { Authorization: `Bearer ${secret}`, Cookie: `session=${secret}`, 'X-Api-Key': secret };
      const files = [{ name: `${secret}.conf`, diff: `-password=${secret}` }];
      await service.post(reportBody({ drift_count: 1, files, note: secret }), headers);
      await service.post(
        reportBody({ drift_count: secret, sync_status: secret, files: [{ name: `\n${secret}` }] }),
        headers,
      );
      await service.post(`{"repo":"${secret}`, headers);
      await service.post(secret, headers);
      await service.post(reportBody({ repo: `password is ${secret}` }), headers);
      await service.request(`/status.json?token=${secret}`, { headers });
      await service.request(`/api/status?token=${secret}`, { method: 'DELETE', headers });
      await until(() => service.log.filter(({ msg }) => msg === 'request').length >= 2 || undefined);
      expect(service.log.filter(({ msg }) => msg === 'report')).to.have.lengthOf(5);
      expect(JSON.stringify(service.log)).to.not.contain(secret);
    });
  });

  it('is healthy and ready', async () => {
    expect(await send('GET', '/healthz')).to.deep.include({ status: 200, text: '{"status":"ok"}' });
    expect(await send('GET', '/readyz')).to.deep.include({ status: 200, text: '{"status":"ready"}' });
  });

  it('is healthy but not ready when it stops, and keeps no connection', async () => {
    service.setStopping(true);
    const health = await send('GET', '/healthz', { Connection: 'keep-alive' });
    expect(health.status).to.equal(200);
    expect(health.headers.connection).to.equal('close');
    const readiness = await send('GET', '/readyz');
    expectProblem(readiness, 503);
    expect(readiness.text).to.contain('stopping');
  });

  it('describes itself, with the address that users know it by', async () => {
    const { status, headers, text } = await send('GET', '/openapi.json');
    expect(status).to.equal(200);
    expect(headers['content-type']).to.match(/^application\/json/);
    const { openapi, servers, paths } = JSON.parse(text) as Record<string, object>;
    expect(openapi).to.match(/^3\.1\./);
    expect(servers).to.deep.equal([{ url: 'https://status.example.org' }]);
    expect(paths).to.include.all.keys(
      '/api/status',
      '/status.json',
      '/metrics',
      '/api/status/{repo_name}/{server_name}',
    );
  });

  it('measures each request by its route, never by its path', async () => {
    await service.post(reportBody());
    await send('GET', '/api/status/rsyslog/rsyslog-lab');
    await send('GET', '/api/status/some/other');
    await send('GET', '/wp-login.php');
    const { text } = await send('GET', '/metrics');
    for (const labels of [
      'method="POST",route="/api/status",status="201"',
      'method="GET",route="/api/status/{repo}/{server}",status="200"',
      'method="GET",route="/api/status/{repo}/{server}",status="404"',
      'method="GET",route="unmatched",status="404"',
    ]) {
      expect(text).to.contain(`http_request_duration_seconds_count{${labels}} 1\n`);
    }
    expect(text).to.not.contain('wp-login');
  });
});

type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string };

function expectProblem({ status, headers, text }: Answer, expected: number, method = 'GET'): void {
  expect(status).to.equal(expected);
  expect(headers['content-type']).to.equal('application/problem+json');
  if (method === 'HEAD') expect(text).to.equal('');
  else
    expect(JSON.parse(text)).to.include({ type: 'about:blank', status: expected, request_id: headers['x-request-id'] });
}
