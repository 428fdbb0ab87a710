import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { parseTokens } from '../../src/access/tokens.ts';
import type { Store } from '../../src/store/store.ts';
import {
  type Disk,
  type Service,
  createDisk,
  reportBody,
  reportOf,
  sha256,
  startService,
  tokensText,
  until,
} from '../fixtures.ts';

const TOKENS = parseTokens(
  tokensText([{ name: 'reader', sha256: sha256('reader'), scopes: ['read'] }], ['report', 'read', 'delete']),
);
const LAB = '/api/status/rsyslog/rsyslog-lab';

type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string };

describe('over HTTP', () => {
  let service: Service;
  let disk: Disk;
  let detail: Store['detail'] | undefined;

  beforeEach(async () => {
    detail = undefined;
    service = await startService({
      maxSources: 1,
      maxBodyBytes: 4096,
      tokens: () => TOKENS,
      wrapStore(store) {
        disk = createDisk(store);
        return { ...disk.store, detail: (...key) => (detail ?? store.detail)(...key) };
      },
    });
    await service.post(reportBody());
  });
  afterEach(async () => {
    disk.heal();
    await service.stop();
  });

  async function ask(method: string, path: string, headers: Record<string, string> = {}, body = ''): Promise<Answer> {
    const message = request({ host: '127.0.0.1', port: service.port, method, path, headers }).end(body);
    const [response] = (await once(message, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, headers: response.headers, text: await text(response) };
  }

  const JSON_TYPE = { 'Content-Type': 'application/json' };
  const post = (body: unknown, headers: Record<string, string> = JSON_TYPE): Promise<Answer> =>
    ask('POST', '/api/status', headers, typeof body === 'string' ? body : JSON.stringify(body));
  const failRead = (): void => {
    detail = () => Promise.reject(new Error('SELECT secret FROM internals'));
  };

  const problems: readonly (readonly [status: number, reason: string, what: string, () => Promise<Answer>])[] = [
    [400, 'malformed', 'a report that is no JSON', () => post('{')],
    [400, 'bad_query', 'a range without sense', () => ask('GET', '/history.json?from=2&to=1')],
    [400, 'bad_query', 'a deletion of everything', () => ask('DELETE', '/api/status')],
    [400, 'bad_request', 'a target with a fragment', () => ask('GET', '/status.json#x')],
    [401, 'unauthorized', 'an unknown token', () => ask('GET', LAB, { Authorization: 'Bearer nobody' })],
    [404, 'unknown_source', 'an unknown source', () => ask('GET', '/api/status/some/other')],
    [404, 'unknown_source', 'an unknown source to delete', () => ask('DELETE', '/api/status/some/other')],
    [404, 'not_found', 'an unknown path', () => ask('GET', '/nope')],
    [405, 'method_not_allowed', 'a wrong method', () => ask('PUT', '/status.json')],
    [412, 'precondition_failed', 'a deletion of what has changed', () => ask('DELETE', LAB, { 'If-Match': '"other"' })],
    [413, 'too_large', 'a report that is too large', () => post(reportBody({ note: 'x'.repeat(5000) }))],
    [415, 'unsupported_media_type', 'a report of another type', () => post('a=b', { 'Content-Type': 'text/plain' })],
    [422, 'invalid', 'a report that breaks rules', () => post(reportBody({ repo: '' }))],
    [429, 'too_many_sources', 'a source too many', () => post(reportOf([], { server: 'another' }))],
    [
      500,
      'internal',
      'a fault of the service',
      () => {
        failRead();
        return ask('GET', LAB);
      },
    ],
    [
      503,
      'store_unavailable',
      'a disk that is full',
      () => {
        disk.fail('disk full');
        return post(reportOf(['x']));
      },
    ],
    [
      503,
      'stopping',
      'a service that stops',
      () => {
        service.setStopping(true);
        return ask('GET', '/readyz');
      },
    ],
  ];
  for (const [status, reason, what, send] of problems) {
    it(`a problem says which one it is: ${status} ${reason} for ${what}`, async () => {
      const answer = await send();
      expect(answer.status, answer.text).to.equal(status);
      expect(answer.headers['content-type']).to.equal('application/problem+json');
      expect(JSON.parse(answer.text)).to.include({ status, reason, type: 'about:blank' });
      expect(answer.headers['x-content-type-options']).to.equal('nosniff');
    });
  }

  it('a problem says which one it is: 403 forbidden for a token for other things', async () => {
    const only = parseTokens(tokensText([{ name: 'reader', sha256: sha256('reader'), scopes: ['read'] }]));
    const other = await startService({ tokens: () => only });
    try {
      const response = await other.post(reportBody(), { Authorization: 'Bearer reader' });
      expect(response.status).to.equal(403);
      expect(await response.json()).to.include({ reason: 'forbidden' });
      expect(response.headers.get('X-Content-Type-Options')).to.equal('nosniff');
    } finally {
      await other.stop();
    }
  });

  it('the reason of a refused report is the one that metrics count', async () => {
    const { text: sent } = await post('{');
    const { reason } = JSON.parse(sent) as { reason: string };
    const { text: metrics } = await ask('GET', '/metrics');
    expect(metrics).to.contain(`gitops_reports_rejected_total{reason="${reason}"} 1\n`);
  });

  it('no browser guesses the type of any answer', async () => {
    const etag = String((await ask('GET', '/status.json')).headers.etag);
    const answers: readonly (readonly [status: number, method: string, path: string, Record<string, string>?])[] = [
      [200, 'GET', '/status.json'],
      [200, 'GET', '/status.json', { 'Accept-Encoding': 'gzip' }],
      [200, 'HEAD', '/status.json'],
      [304, 'GET', '/status.json', { 'If-None-Match': etag }],
      [304, 'HEAD', '/status.json', { 'If-None-Match': etag }],
      [200, 'GET', '/files.json'],
      [200, 'GET', '/summary.json'],
      [200, 'GET', '/history.json'],
      [200, 'GET', '/drifts.json'],
      [200, 'GET', LAB],
      [200, 'GET', '/metrics'],
      [200, 'GET', '/openapi.json'],
      [200, 'GET', '/healthz'],
      [200, 'GET', '/readyz'],
      [200, 'HEAD', '/api/events'],
      [200, 'OPTIONS', '/api/status'],
      [200, 'OPTIONS', '*'],
      [404, 'HEAD', '/nope'],
      [405, 'TRACE', '/metrics'],
      [200, 'DELETE', '/api/status?repo=none'],
      [204, 'DELETE', LAB],
    ];
    for (const [status, method, path, headers] of answers) {
      const answer = await ask(method, path, headers);
      expect(answer.status, `${method} ${path}`).to.equal(status);
      expect(answer.headers['x-content-type-options'], `${method} ${path}`).to.equal('nosniff');
    }
    const posted = await post(reportBody());
    expect([posted.status, posted.headers['x-content-type-options']]).to.deep.equal([201, 'nosniff']);
  });

  it('no browser guesses the type of the stream of events', async () => {
    const stop = new AbortController();
    const response = await service.request('/api/events', { signal: stop.signal });
    expect(response.headers.get('Content-Type')).to.contain('text/event-stream');
    expect(response.headers.get('X-Content-Type-Options')).to.equal('nosniff');
    stop.abort();
  });

  describe('a fault of the service', () => {
    it('is not shown to the client, but to the log under the id that the client gets', async () => {
      failRead();
      const { text: sent } = await ask('GET', LAB);
      expect(sent).to.not.contain('internals');
      const { request_id: id } = JSON.parse(sent) as { request_id: string };
      const line = service.log.find(({ level, request_id }) => level === 50 && request_id === id);
      expect(JSON.stringify(line)).to.contain('SELECT secret FROM internals');
    });

    it('is no different when what measures and logs requests fails', async () => {
      service.metrics.requestDone = () => {
        throw new Error('secret internals');
      };
      for (const path of ['/status.json', '/openapi.json', '/nope']) {
        const { status, headers, text: sent } = await ask('GET', path, { 'Accept-Encoding': 'gzip' });
        expect(status).to.equal(500);
        expect(headers['content-type']).to.equal('application/problem+json');
        for (const name of ['content-encoding', 'etag']) expect(headers).to.not.have.property(name);
        expect(headers['x-content-type-options']).to.equal('nosniff');
        expect(JSON.parse(sent)).to.include({ reason: 'internal', request_id: headers['x-request-id'] });
        expect(sent).to.not.contain('secret');
        const line = service.log.find(({ request_id }) => request_id === headers['x-request-id']);
        expect(JSON.stringify(line)).to.contain('secret internals');
      }
    });

    it('in a body of which nothing was sent yet is a 500, and in the log under the id', async () => {
      service.metrics.render = () => Promise.reject(new Error('secret internals'));
      const { status, text: sent } = await ask('GET', '/metrics', { 'X-Request-Id': 'mine' });
      expect(status).to.equal(500);
      expect(JSON.parse(sent)).to.include({ reason: 'internal', request_id: 'mine' });
      expect(sent).to.not.contain('secret');
      const line = service.log.find(({ level }) => level === 50);
      expect(line).to.include({ msg: 'response failed', request_id: 'mine' });
    });

    it('in the middle of a body cuts it off, and is in the log under the id', async () => {
      // more than is gathered before it is sent
      service.metrics.render = () => Promise.resolve('x'.repeat(4_000_000));
      Object.assign(service.fleet, {
        list() {
          throw new Error('secret internals');
        },
      });
      let failure: unknown;
      await ask('GET', '/metrics', { 'X-Request-Id': 'mine' }).catch((error: unknown) => {
        failure = error;
      });
      expect(failure).to.be.an('error');
      await until(() => service.log.some(({ level }) => level === 50));
      const line = service.log.find(({ level }) => level === 50);
      expect(line).to.include({ msg: 'response failed', request_id: 'mine' });
      expect((await ask('GET', '/healthz')).status).to.equal(200);
    });
  });

  describe('the line of a request in the log', () => {
    const paths = (): unknown[] => service.log.filter(({ msg }) => msg === 'request').map(({ path }) => path);

    it('has the path, up to two hundred characters', async () => {
      await ask('GET', '/nope');
      await ask('GET', `/${'x'.repeat(10_000)}`);
      await ask('DELETE', `/api/status/acme%2Fweb/${'x'.repeat(10_000)}`);
      expect(paths()).to.deep.equal(['/nope', `/${'x'.repeat(199)}…`, `/api/status/acme%2Fweb/${'x'.repeat(177)}…`]);
    });

    it('has no control characters of the client', async () => {
      await ask('GET', '/api/status/a%0a%7b%22level%22:50%7d/%1b[2J');
      expect(paths()).to.deep.equal(['/api/status/a%0a%7b%22level%22:50%7d/%1b[2J']);
    });

    for (const path of [
      '/api/status/https:%2F%2Fuser:hunter2@git.example.org%2Fweb/web-1',
      '/api/status/https%3A%2F%2Fuser%3Ahunter2%40git.example.org%2Fweb/web-1',
      '/api/status/https%253A%252F%252Fuser%253Ahunter2%2540git.example.org%252Fweb/web-1',
      '/api/status/https%25253A%25252F%25252Fuser%25253Ahunter2%252540git.example.org/web-1',
      '/api/status/web%253Ftoken%253Dhunter2/web-1',
      '/api/status/https://user:hunter2@git.example.org/web/web-1',
      '/api/status/user:hunter2:hunter2@host/web-1',
      '/api/status/user::hunter2@@host/web-1',
      '/status.json?token=hunter2',
      '/status.json%3Ftoken=hunter2',
      '/status.json;token=hunter2',
      '/status.json&token=hunter2',
      '/api/status/a/b?token=hunter2',
      'http://user:hunter2@127.0.0.1/status.json',
      '/nope#hunter2',
    ]) {
      it(`has no secret of ${path}`, async () => {
        await ask('GET', path);
        await ask('DELETE', path);
        await ask('GET', path, { Authorization: 'Bearer hunter2' });
        expect(paths()).to.have.lengthOf(3);
        expect(JSON.stringify(service.log)).to.not.contain('hunter2');
      });
    }

    it('takes no time for a path that is made to take some', async () => {
      for (const part of [':', '%3a', '@', ':@', '%2f', '?', 'a:']) {
        await ask('GET', `/${part.repeat(Math.floor(15_000 / part.length))}`);
      }
      expect(paths()).to.have.lengthOf(7);
    });
  });

  describe('an id that the client sends', () => {
    for (const id of [
      'x'.repeat(10_000),
      '{"a":1}',
      '<script>',
      '\u00e9',
      '%0d%0aX-Evil:1;',
      '../../etc',
      '__proto__',
    ]) {
      it(`forges nothing: ${id.slice(0, 20)}`, async () => {
        const { status, headers, text: sent } = await ask('GET', '/nope', { 'X-Request-Id': id });
        expect(status).to.equal(404);
        expect(headers['x-request-id']).to.match(/^[\w.:/+=@-]{1,128}$/);
        expect(JSON.parse(sent)).to.include({ request_id: headers['x-request-id'] });
        expect(headers).to.not.have.property('x-evil');
      });
    }
  });
});
