import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { expect } from 'chai';
import { type Service, reportOf, startService } from '../fixtures.ts';

type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string };

describe('a path', () => {
  let service: Service;

  before(async () => {
    service = await startService();
    await service.post(reportOf(['a'], { repo: 'acme', server: 'web' }));
    await service.post(reportOf(['a'], { repo: 'acme/web', server: 'web-1' }));
  });
  after(() => service.stop());

  /** Sends the target as it is: `fetch` and URLs would tidy it up. */
  async function ask(path: string, method = 'GET', headers: Record<string, string> = {}): Promise<Answer> {
    const message = request({ host: '127.0.0.1', port: service.port, method, path, headers }).end();
    const [response] = (await once(message, 'response')) as [IncomingMessage];
    const text = (await response.setEncoding('utf8').toArray()).join('');
    return { status: response.statusCode ?? 0, headers: response.headers, text };
  }

  function detailOf({ text }: Answer): string {
    return (JSON.parse(text) as { detail: string }).detail;
  }

  describe('is exact, so that a proxy that denies one denies all that would reach it:', () => {
    const meant: readonly (readonly [path: string, meant: string])[] = [
      ['/METRICS', '/metrics'],
      ['/Status.json', '/status.json'],
      ['/API/STATUS', '/api/status'],
      ['/api/status/', '/api/status'],
      ['/api/status//', '/api/status'],
      ['/status.json/', '/status.json'],
      ['/metrics/', '/metrics'],
      ['/healthz/', '/healthz'],
      ['/%61pi/status', '/api/status'],
      ['/api%2Fstatus', '/api/status'],
      ['/api%2fstatus', '/api/status'],
      ['/%6Detrics', '/metrics'],
      ['/status%2Ejson', '/status.json'],
      ['/API/status/acme/web', '/api/status/{repo}/{server}'],
      ['/api/status/acme/web/', '/api/status/{repo}/{server}'],
      ['/api/%73tatus/acme/web', '/api/status/{repo}/{server}'],
      ['/api/status%2Facme%2Fweb', '/api/status/{repo}/{server}'],
      ['http://host/METRICS', '/metrics'],
    ];
    for (const [path, other] of meant) {
      for (const method of ['GET', 'DELETE', 'OPTIONS']) {
        it(`${method} ${path} is 404 and asks whether ${other} was meant`, async () => {
          const answer = await ask(path, method);
          expect(answer.status).to.equal(404);
          expect(JSON.parse(answer.text)).to.include({ status: 404, reason: 'not_found' });
          expect(detailOf(answer)).to.contain(`Paths are exact: did you mean ${other}?`);
        });
      }
    }

    const others = [
      '/./metrics',
      '/api/../metrics',
      '/x/../metrics',
      '/%2e/metrics',
      '/metrics%00',
      '/metrics%2F',
      '/metrics%20',
      '/metrics.',
      '/metrics;x',
      '/metrics%3Bx',
      '/metrics%3Fx',
      '/metrics%23x',
      '/%252fmetrics',
      '/%',
      '/%zz',
      '/%ff',
      '/host/metrics',
      '//host/metrics',
      'ftp://host/metrics',
      'http://host',
      'http://host/../metrics',
      'http://host?/metrics',
      '*',
    ];
    for (const path of others) {
      it(`${path} is 404`, async () => {
        const answer = await ask(path);
        expect(answer.status).to.equal(404);
        expect(JSON.parse(answer.text)).to.include({ status: 404, reason: 'not_found' });
      });
    }

    it('a report to a path in other letters is not taken', async () => {
      for (const path of ['/API/status', '/api/status/', '/api/STATUS']) {
        expect((await ask(path, 'POST', { 'Content-Type': 'application/json' })).status, path).to.equal(404);
      }
    });

    it('a deletion by a path in other letters deletes nothing', async () => {
      for (const path of ['/API/STATUS?repo=acme', '/api/status/?repo=acme', '/api/Status/acme/web']) {
        expect((await ask(path, 'DELETE')).status, path).to.equal(404);
      }
      expect(service.fleet.size).to.equal(2);
    });
  });

  describe('may repeat its slashes', () => {
    for (const [path, same] of [
      ['//status.json', '/status.json'],
      ['///healthz', '/healthz'],
      ['//api//status//acme//web', '/api/status/acme/web'],
      ['/api/status/acme//web', '/api/status/acme/web'],
      ['/api//status?repo=acme&server=web', '/api/status?repo=acme&server=web'],
      ['http://host//status.json', '/status.json'],
    ] as const) {
      it(`${path} is ${same}`, async () => {
        const answer = await ask(path);
        expect(answer.status).to.equal(200);
        const { text } = await ask(same);
        expect(answer.text).to.equal(text);
      });
    }

    it('but what is in the query, or percent-encoded, stays as it is', async () => {
      await service.post(reportOf(['a'], { repo: 'git://host', server: 'web' }));
      for (const path of ['/api/status?repo=git://host&server=web', '/api/status/git:%2F%2Fhost/web']) {
        expect(JSON.parse((await ask(path)).text), path).to.include({ repo: 'git://host' });
      }
      expect((await ask('/api/status/git:%2Fhost/web')).status).to.equal(404);
    });
  });

  describe('may come with scheme and host, as clients of a proxy send it', () => {
    for (const path of [
      'http://host/healthz',
      'HTTPS://user@host:1/healthz',
      'http://[bad/healthz',
      'http://h:99999999/healthz',
    ]) {
      it(path, async () => {
        expect(await ask(path)).to.deep.include({ status: 200, text: '{"status":"ok"}' });
      });
    }
  });

  describe('that lost its %2F', () => {
    for (const path of [
      '/api/status/acme/web/web-1',
      '/api/status/acme/web/web-1/',
      '/api/status//acme/web//web-1',
      '/api/status/https:/git.example.org/acme/web/web-1',
    ]) {
      for (const method of ['GET', 'DELETE']) {
        it(`${method} ${path} is 404 and tells how to name the source`, async () => {
          const answer = await ask(path, method);
          expect(answer.status).to.equal(404);
          expect(detailOf(answer)).to.contain('%2F').and.to.contain('/api/status?repo=acme/web&server=web-1');
        });
      }
    }

    it('is found when it has it', async () => {
      for (const path of ['/api/status/acme%2Fweb/web-1', '/api/status/acme%2fweb/web-1']) {
        expect(JSON.parse((await ask(path)).text)).to.include({ repo: 'acme/web', server: 'web-1' });
      }
    });
  });

  describe('of a source that cannot be is 404:', () => {
    const long = 'x'.repeat(10_000);
    for (const [what, path] of [
      ['a broken encoding', '/api/status/%/web'],
      ['a broken encoding', '/api/status/%zz/%'],
      ['bytes that are not UTF-8', '/api/status/%ff/web'],
      ['a slash in more bytes than it needs', '/api/status/acme%c0%afweb/web-1'],
      ['a NUL', '/api/status/acme%00/web'],
      ['line breaks', '/api/status/acme%0d%0aX-Evil:%201/web'],
      ['a name that objects have', '/api/status/__proto__/constructor'],
      ['a name that objects have', '/api/status/constructor/toString'],
      ['a name that is too long', `/api/status/${long}/web`],
      ['a name that is too long', `/api/status/acme/${long}`],
    ] as const) {
      for (const method of ['GET', 'DELETE']) {
        it(`${method} with ${what}: ${path.slice(0, 50)}`, async () => {
          const answer = await ask(path, method);
          expect(answer.status).to.equal(404);
          expect(JSON.parse(answer.text)).to.include({ reason: 'unknown_source' });
          expect(answer.headers).to.not.have.property('x-evil');
          expect(answer.text.length).to.be.below(1000);
        });
      }
    }
  });

  it('that is long is not told in full', async () => {
    for (const method of ['GET', 'PUT']) {
      const { status, text } = await ask(`/${'x'.repeat(10_000)}`, method);
      expect(status).to.equal(404);
      expect(text.length).to.be.below(1000);
    }
  });

  it('has no fragment: where a # was not encoded is 400, since it would cut what is asked for', async () => {
    for (const path of [
      '/metrics#',
      '/metrics#x',
      '/status.json?repo=a#b',
      '/#/status.json',
      'http://host/metrics#x',
    ]) {
      const answer = await ask(path);
      expect(answer.status, path).to.equal(400);
      expect(JSON.parse(answer.text), path).to.include({ reason: 'bad_request' });
    }
    expect((await ask('/status.json?repo=a%23b')).status).to.equal(200);
  });

  describe('and its method', () => {
    it('HEAD is answered as GET wherever that is', async () => {
      for (const path of ['//metrics', '/api/status?repo=acme&server=web', '/api/status/acme/web']) {
        const answer = await ask(path, 'HEAD');
        expect(answer, path).to.include({ status: 200, text: '' });
      }
      expect(await ask('/METRICS', 'HEAD')).to.include({ status: 404, text: '' });
    });

    it('OPTIONS * tells what the service takes at all', async () => {
      const { status, headers, text } = await ask('*', 'OPTIONS');
      expect({ status, text }).to.deep.equal({ status: 200, text: '' });
      expect(headers.allow?.split(', ')).to.have.members(['GET', 'HEAD', 'POST', 'DELETE']);
    });

    it('other methods on * are 404', async () => {
      for (const method of ['GET', 'DELETE', 'PUT']) expect((await ask('*', method)).status, method).to.equal(404);
    });
  });
});

describe('GET /api/status?repo=…&server=…', () => {
  let service: Service;

  before(async () => {
    service = await startService();
    await service.post(reportOf(['a'], { repo: 'acme/web', server: 'web-1' }));
  });
  after(() => service.stop());

  for (const query of ['repo=acme/web&server=web-1', 'repo=acme%2Fweb&server=web-1', 'server=web-1&repo=acme%2fweb']) {
    it(`${query} gives the source as its path does`, async () => {
      const byQuery = await service.request(`/api/status?${query}`);
      const byPath = await service.request('/api/status/acme%2Fweb/web-1');
      expect(byQuery.status).to.equal(200);
      expect(await byQuery.text()).to.equal(await byPath.text());
      for (const name of ['ETag', 'Content-Type', 'Cache-Control', 'Vary']) {
        expect(byQuery.headers.get(name), name).to.equal(byPath.headers.get(name)).and.to.be.a('string');
      }
    });
  }

  it('knows the ETag of either', async () => {
    const etag = (await service.request('/api/status/acme%2Fweb/web-1')).headers.get('ETag') ?? '';
    const headers = { 'If-None-Match': etag };
    expect((await service.request('/api/status?repo=acme/web&server=web-1', { headers })).status).to.equal(304);
  });

  it('is 404 for a source that nobody knows', async () => {
    const response = await service.request('/api/status?repo=acme/web&server=none');
    expect(response.status).to.equal(404);
    expect(await response.json()).to.include({ reason: 'unknown_source', status: 404 });
  });

  for (const query of [
    '',
    'repo=acme/web',
    'server=web-1',
    'repo=&server=web-1',
    'repo=acme/web&server=',
    'repo=acme/web&repo=acme/web&server=web-1',
    'repo=acme/web&server=web-1&server=web-2',
    'repo=acme/web,other&server=web-1',
    'repo=*&server=web-1',
    'repo=acme/web&server={web-1,web-2}',
    'repo=acme/web&server=(web-1|web-2)',
    'repo=${repo}&server=web-1',
    'repo=acme/web&server=%zz',
    'repo=acme/web&server=%ff',
    `repo=acme/web&server=${'x'.repeat(201)}`,
    'Repo=acme/web&Server=web-1',
  ]) {
    it(`"${query.slice(0, 50)}" does not name one source: 400`, async () => {
      const response = await service.request(`/api/status?${query}`);
      expect(response.status).to.equal(400);
      expect(await response.json()).to.include({ reason: 'bad_query', status: 400 });
    });
  }
});

describe('a query', () => {
  let service: Service;

  before(async () => {
    service = await startService();
    await service.post(reportOf(['a']));
  });
  after(() => service.stop());

  it('may name many in a list', async () => {
    const names = Array.from({ length: 1500 }, (_, index) => `server-${index}`);
    const response = await service.request(`/status.json?server=${[...names, 'rsyslog-lab'].join(',').slice(-14_000)}`);
    expect(await response.json()).to.have.lengthOf(1);
  });

  it('may repeat a name a thousand times, not more often', async () => {
    const repeated = (times: number): string => `server=rsyslog-lab${'&server='.repeat(times - 1)}`;
    const most = await service.request(`/status.json?${repeated(1000)}`);
    expect(await most.json()).to.have.lengthOf(1);
    for (const path of ['/status.json', '/metrics', '/nope']) {
      const response = await service.request(`${path}?${repeated(1001)}`);
      expect(response.status, path).to.equal(400);
      expect(await response.json()).to.include({ reason: 'bad_query' });
    }
    const deletion = await service.request(`/api/status?${repeated(1001)}`, { method: 'DELETE' });
    expect(deletion.status).to.equal(400);
    expect(service.fleet.size).to.equal(1);
  });

  it('may hold the names that objects have', async () => {
    for (const name of ['__proto__', 'constructor', 'hasOwnProperty']) {
      const list = await service.request(`/status.json?repo=${name}`);
      expect(await list.json(), name).to.deep.equal([]);
      const detail = await service.request(`/api/status?repo=${name}&server=${name}`);
      expect(detail.status, name).to.be.oneOf([400, 404]);
      const deletion = await service.request(`/api/status?${name}=1`, { method: 'DELETE' });
      expect(deletion.status, name).to.equal(400);
    }
  });
});
