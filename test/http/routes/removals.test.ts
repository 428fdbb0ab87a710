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
});
