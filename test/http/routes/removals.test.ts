import { expect } from 'chai';
import { parseTokens } from '../../../src/access/tokens.ts';
import { type Store, StoreError } from '../../../src/store/store.ts';
import { type Service, reportOf, sha256, startService, tokensText } from '../../fixtures.ts';

const TOKENS = parseTokens(
  tokensText([
    { name: 'woodpecker', sha256: sha256('ci'), scopes: ['report'] },
    { name: 'cleaner', sha256: sha256('cleaner'), scopes: ['delete'], repos: ['acme'] },
    { name: 'grafana', sha256: sha256('grafana'), scopes: ['read'] },
  ]),
);

describe('a deletion', () => {
  let service: Service;
  let stored: Store;
  /** Instead of the store's own. */
  let commit: Store['commit'] | undefined;

  async function start(tokens = false): Promise<void> {
    commit = undefined;
    service = await startService({
      ...(tokens ? { tokens: () => TOKENS } : {}),
      wrapStore(store) {
        stored = store;
        return { ...store, commit: (changes) => (commit ?? store.commit)(changes) };
      },
    });
  }
  afterEach(() => service.stop());

  const remove = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
    service.request(`/api/status${path}`, { method: 'DELETE', headers });
  const lines = (): Record<string, unknown>[] => service.log.filter(({ msg }) => msg === 'deleted sources');

  async function report(...servers: readonly string[]): Promise<void> {
    await Promise.all(servers.map((server) => service.post(reportOf([], { repo: 'acme', server }))));
  }

  describe('leaves one line in the log', () => {
    beforeEach(() => start());

    it('of one source', async () => {
      await report('web-1', 'web-2');
      expect((await remove('/acme/web-1', { 'X-Request-Id': 'mine' })).status).to.equal(204);
      expect(lines()).to.have.lengthOf(1);
      expect(lines()[0]).to.deep.include({
        level: 30,
        client_address: '127.0.0.1',
        filters: { repo: 'acme', server: 'web-1' },
        deleted: 1,
        sources: ['acme web-1'],
        request_id: 'mine',
      });
    });

    it('of all that match, with the filters as they were given', async () => {
      await report('web-1', 'web-2', 'web-3');
      const response = await remove('?server=web-1,web-2&server=none&repo=acme&dry_run=false');
      expect(await response.json()).to.deep.equal({ deleted: 2 });
      expect(lines()).to.have.lengthOf(1);
      expect(lines()[0]).to.deep.include({
        filters: { server: ['web-1,web-2', 'none'], repo: 'acme' },
        deleted: 2,
        sources: ['acme web-1', 'acme web-2'],
      });
    });

    it('with a hundred names, however many there were', async () => {
      const servers = Array.from({ length: 120 }, (_, index) => `web-${String(index).padStart(3, '0')}`);
      await report(...servers);
      expect(await (await remove('?repo=acme')).json()).to.deep.equal({ deleted: 120 });
      expect(lines()).to.have.lengthOf(1);
      expect(lines()[0]).to.deep.include({
        deleted: 120,
        sources: servers.slice(0, 100).map((name) => `acme ${name}`),
      });
    });

    it('also where there was nothing to delete', async () => {
      await report('web-1');
      expect(await (await remove('?repo=none')).json()).to.deep.equal({ deleted: 0 });
      expect((await remove('/acme/none')).status).to.equal(404);
      const none = { deleted: 0, sources: [] };
      expect(lines()).to.have.lengthOf(2);
      expect(lines()[0]).to.deep.include({ ...none, filters: { repo: 'none' } });
      expect(lines()[1]).to.deep.include({ ...none, filters: { repo: 'acme', server: 'none' } });
    });

    it('also where it broke off: what was gone until then', async () => {
      await report('web-1', 'web-2', 'web-3');
      // the first is removed; of the others, another process has written since, and then the disk is full
      commit = async (changes) => {
        commit = () => Promise.reject(new StoreError('disk full'));
        const others = await Promise.all(['web-2', 'web-3'].map((server) => stored.source('acme', server)));
        const done = await stored.commit(changes.slice(0, 1));
        return [...done, ...others.map((conflict) => ({ conflict }))];
      };
      expect((await remove('?repo=acme')).status).to.equal(503);
      expect(service.fleet.list().map(({ snapshot }) => snapshot.server)).to.deep.equal(['web-2', 'web-3']);
      expect(lines()).to.have.lengthOf(1);
      expect(lines()[0]).to.deep.include({ level: 30, deleted: 1, sources: ['acme web-1'], failed: 2 });
    });

    it('also where nothing could be deleted', async () => {
      await report('web-1');
      commit = () => Promise.reject(new StoreError('disk full'));
      expect((await remove('/acme/web-1')).status).to.equal(503);
      expect(lines()).to.have.lengthOf(1);
      expect(lines()[0]).to.deep.include({ deleted: 0, sources: [], failed: 1 });
    });

    it('not of a dry run', async () => {
      await report('web-1');
      expect(await (await remove('?repo=acme&dry_run=true')).json()).to.deep.equal({ deleted: 1 });
      expect(lines()).to.deep.equal([]);
    });

    it('not of one that was refused before it began', async () => {
      expect((await remove('')).status).to.equal(400);
      expect((await remove('?repo=${repo}')).status).to.equal(400);
      expect(lines()).to.deep.equal([]);
    });

    it('that is no longer than it must be, and holds no password', async () => {
      await remove(`?repo=${'x'.repeat(5000)}&server=https://user:hunter2@host/web${'&server=a'.repeat(500)}`);
      expect(JSON.stringify(lines()).length).to.be.within(1000, 4000);
      expect(JSON.stringify(service.log)).to.not.contain('hunter2');
    });
  });

  describe('with access control leaves one line in the log', () => {
    beforeEach(async () => {
      await start(true);
      for (const repo of ['acme', 'other']) {
        await service.post(reportOf([], { repo, server: 'web-1' }), { Authorization: 'Bearer ci' });
      }
    });

    it('with the name of the token, and only the sources that it may delete', async () => {
      const response = await remove('?server=web-1', { Authorization: 'Bearer cleaner' });
      expect(await response.json()).to.deep.equal({ deleted: 1 });
      expect(lines()).to.have.lengthOf(1);
      expect(lines()[0]).to.deep.include({ token: 'cleaner', deleted: 1, sources: ['acme web-1'] });
      expect(JSON.stringify(lines())).to.not.contain('Bearer');
    });

    it('none where the token may not', async () => {
      expect((await remove('?server=web-1', { Authorization: 'Bearer grafana' })).status).to.equal(403);
      expect((await remove('/other/web-1', { Authorization: 'Bearer cleaner' })).status).to.equal(403);
      expect((await remove('?server=web-1')).status).to.equal(401);
      expect(lines()).to.deep.equal([]);
    });
  });

  describe('with If-Match', () => {
    const PATH = '/acme/web-1';
    const etag = async (path = PATH): Promise<string> =>
      (await service.request(`/api/status${path}`)).headers.get('ETag') ?? '';
    const removeIf = (condition: string, path = PATH): Promise<Response> => remove(path, { 'If-Match': condition });

    beforeEach(async () => {
      await start();
      await report('web-1', 'web-2');
    });

    async function expectKept(response: Response): Promise<void> {
      expect(response.status).to.equal(412);
      expect(response.headers.get('Content-Type')).to.equal('application/problem+json');
      expect(await response.json()).to.include({ status: 412, reason: 'precondition_failed' });
      expect(service.fleet.size).to.equal(2);
    }

    const holding: readonly (readonly [what: string, condition: (tag: string) => string])[] = [
      ['the ETag of its detail', (tag) => tag],
      ['it as a strong one', (tag) => tag.replace('W/', '')],
      ['it as a proxy has rewritten it', (tag) => tag.replace(/"$/, '-gzip"')],
      ['it in a list', (tag) => `"a", ${tag}`],
      ['* for a source that exists', () => '*'],
    ];
    for (const [what, condition] of holding) {
      it(`is done for ${what}`, async () => {
        expect((await removeIf(condition(await etag()))).status).to.equal(204);
        expect(service.fleet.size).to.equal(1);
      });
    }

    it('is done for the ETag of the other form of its URL, whatever the clock says', async () => {
      await service.post(reportOf(['a'], { repo: 'acme', server: 'web-1' }));
      const tag = await etag('?repo=acme&server=web-1');
      service.clock.advance(1000);
      expect((await removeIf(tag)).status).to.equal(204);
    });

    for (const condition of ['"other"', 'W/"boot"', 'not an ETag', '', '"*"']) {
      it(`is refused for ${condition || 'nothing'}`, async () => expectKept(await removeIf(condition)));
    }

    it('is refused for the ETag of another source', async () => expectKept(await removeIf(await etag('/acme/web-2'))));

    it('is refused once a report has come, was refused, or the source has become STALE', async () => {
      const body = reportOf([], { repo: 'acme', server: 'web-1' });
      for (const change of [
        () => service.post({ ...body, commit: 'abc' }),
        () => service.post({ ...body, drift_count: 7 }),
        async () => service.clock.advance(600_000),
      ]) {
        const tag = await etag();
        await change();
        await expectKept(await removeIf(tag));
      }
    });

    it('is refused where the report comes while the deletion waits', async () => {
      const tag = await etag();
      const gate = Promise.withResolvers<void>();
      const began = Promise.withResolvers<void>();
      commit = async (changes) => {
        began.resolve();
        await gate.promise;
        return stored.commit(changes);
      };
      const reported = service.post(reportOf(['a'], { repo: 'acme', server: 'web-1' }));
      await began.promise;
      const refused = removeIf(tag);
      // the deletion waits behind the report
      await service.request('/healthz');
      gate.resolve();
      expect((await reported).status).to.equal(200);
      await expectKept(await refused);
    });

    it('is 404 for a source that does not exist, whatever it says', async () => {
      for (const condition of ['*', '"other"']) {
        const response = await removeIf(condition, '/acme/none');
        expect(response.status).to.equal(404);
        expect(await response.json()).to.include({ reason: 'unknown_source' });
      }
    });

    it('is done once by two at the same time: the other finds nothing', async () => {
      const tag = await etag();
      const responses = await Promise.all([removeIf(tag), removeIf(tag)]);
      expect(responses.map(({ status }) => status)).to.have.members([204, 404]);
    });

    for (const condition of ['*', '"other"', '']) {
      it(`${condition || 'nothing'} is refused with 400 where a filter says what to delete`, async () => {
        for (const query of ['?repo=acme', '?repo=acme&server=web-1', '?repo=acme&dry_run=true']) {
          const response = await removeIf(condition, query);
          expect(response.status).to.equal(400);
          expect(await response.json()).to.include({ reason: 'bad_request' });
        }
        expect(service.fleet.size).to.equal(2);
      });
    }
  });

  it('with If-Match by a token that may not delete the source says no more than without', async () => {
    await start(true);
    await service.post(reportOf([], { repo: 'other', server: 'web-1' }), { Authorization: 'Bearer ci' });
    for (const token of ['cleaner', 'grafana']) {
      const headers = { Authorization: `Bearer ${token}`, 'If-Match': '"other"' };
      expect((await remove('/other/web-1', headers)).status).to.equal(403);
    }
  });
});
