import { expect } from 'chai';
import { createHistogram, observe } from '../../src/core/reconcile-histogram.ts';
import type { Range, Selection, Store, StoredSource } from '../../src/store/store.ts';
import { NOW, makeFolder, driftsOf, changesOf } from '../fixtures.ts';
import { STALE_AFTER_MS, drivers, removalChange, reportChange } from './drivers.ts';

const MINUTE = 60_000;
const EVER = { from: 0, to: Number.MAX_SAFE_INTEGER };
const LATER = NOW + 1000 * MINUTE;

for (const driver of drivers) {
  describe(`history in the store: ${driver.name}`, () => {
    let folder: ReturnType<typeof makeFolder>;
    let store: Store;

    beforeEach(async () => {
      folder = makeFolder();
      store = await driver.open(folder.path);
    });
    afterEach(async () => {
      await store.close();
      folder.remove();
    });

    /** As a fleet that knows the source would: `minute` after NOW, never STALE unless told so. */
    async function report(
      previous: StoredSource | null,
      names: readonly string[],
      minute: number,
      changes: Record<string, unknown> = {},
    ): Promise<StoredSource> {
      const key = { repo: 'web', server: 'a', stale_after_seconds: 31_536_000, ...changes };
      const { repo, server } = previous?.snapshot ?? key;
      const change = reportChange(previous, names, NOW + minute * MINUTE, { ...key, repo, server });
      expect((await store.commit([change]))[0]).to.have.property('id');
      const detail = await store.detail(repo, server, 0);
      if (detail === null) throw new Error('no such source');
      return { id: detail.id, snapshot: detail.snapshot };
    }

    async function remove(source: StoredSource, minute: number): Promise<void> {
      await store.commit([removalChange(source, NOW + minute * MINUTE)]);
    }

    function minutes(from: number, to: number): Range {
      return { from: NOW + from * MINUTE, to: NOW + to * MINUTE };
    }

    /** `repo server name opened closed` of each, in minutes. */
    async function drifts(range: Range = EVER, limit?: number, selection?: Selection): Promise<string[]> {
      return (await driftsOf(store, range, limit, selection)).map(({ repo, server, name, openedAt, closedAt }) =>
        [repo, server, name, (openedAt - NOW) / MINUTE, (closedAt - NOW) / MINUTE].join(' '),
      );
    }

    /** `minute repo server verdict count` of each. */
    async function history(range: Range, limit?: number, selection?: Selection, now = LATER): Promise<string[]> {
      return (await changesOf(store, range, now, limit, selection)).map(({ time, repo, server, verdict, driftCount }) =>
        [(time - NOW) / MINUTE, repo, server, String(verdict), driftCount].join(' '),
      );
    }

    /** A living source of each of two repos and a removed one, each with a drift of one minute: at 1, 3 and 5. */
    async function makeThree(): Promise<{ web: StoredSource; dns: StoredSource }> {
      const web = await report(await report(await report(null, [], 0), ['f'], 1), [], 2);
      const first = await report(null, [], 0, { repo: 'dns', server: 'b' });
      const dns = await report(await report(first, ['f'], 3), [], 4);
      const gone = await report(await report(await report(null, [], 0, { server: 'gone' }), ['f'], 5), [], 6);
      await remove(gone, 7);
      return { web, dns };
    }

    const selections: readonly (readonly [what: string, selection: Selection, chosen: string[]])[] = [
      ['everything', {}, ['dns b', 'web a', 'web gone']],
      ['a repo', { repos: ['web'] }, ['web a', 'web gone']],
      ['several repos', { repos: ['web', 'dns', 'none'] }, ['dns b', 'web a', 'web gone']],
      ['a server', { servers: ['b'] }, ['dns b']],
      ['a repo and a server', { repos: ['web'], servers: ['a', 'b'] }, ['web a']],
      ['a removed source', { servers: ['gone'] }, ['web gone']],
      ['no repo', { repos: [] }, []],
      ['no source', { ids: [] }, []],
      ['names that have to be quoted', { repos: [`x' OR '1'='1`, '"]', '%'] }, []],
    ];
    it('selects drifts and history by repo, server and id', async () => {
      const { web, dns } = await makeThree();
      const all = [
        ...selections,
        ['an id', { ids: [dns.id] }, ['dns b']],
        ['ids and a repo', { ids: [web.id, dns.id], repos: ['web'] }, ['web a']],
      ] as const;
      for (const [what, selection, chosen] of all) {
        const found = (rows: string[], pattern: RegExp): string[] =>
          [...new Set(rows.map((row) => pattern.exec(row)?.[1] ?? row))].toSorted();
        expect(found(await drifts(EVER, undefined, selection), /^(\S+ \S+)/), what).to.deep.equal(chosen);
        expect(found(await history(EVER, undefined, selection), /^\S+ (\S+ \S+)/), what).to.deep.equal(chosen);
      }
    });

    describe('drifts', () => {
      it('gives those that opened last where there are more than asked for', async () => {
        await makeThree();
        expect(await drifts(EVER, 3)).to.deep.equal(['web a f 1 2', 'dns b f 3 4', 'web gone f 5 6']);
        expect(await drifts(EVER, 2)).to.deep.equal(['dns b f 3 4', 'web gone f 5 6']);
        expect(await drifts(EVER, 1, { repos: ['web'] })).to.deep.equal(['web gone f 5 6']);
        expect(await drifts(minutes(0, 5), 1)).to.deep.equal(['dns b f 3 4']);
      });

      it('gives the same with and without selection, for any range', async () => {
        await makeThree();
        for (let from = 0; from <= 7; from += 1) {
          for (let to = from + 1; to <= 8; to += 1) {
            const chosen = await drifts(minutes(from, to), undefined, { repos: ['web', 'dns'] });
            expect(chosen).to.deep.equal(await drifts(minutes(from, to)));
          }
        }
      });

      it('gives more than one page holds, in order', async () => {
        const names = Array.from({ length: 5000 }, (_, i) => `f${String(i).padStart(4, '0')}`);
        const source = await report(null, names, 0);
        await report(source, [], 1);
        expect((await driftsOf(store, EVER)).map(({ name }) => name)).to.deep.equal(names);
        expect((await driftsOf(store, EVER, 4500)).map(({ name }) => name)).to.deep.equal(names.slice(500));
      });
    });

    describe('history', () => {
      it('is empty when nothing was stored', async () => {
        expect(await history(EVER)).to.deep.equal([]);
      });

      it('is sorted by time, then repo and server', async () => {
        await makeThree();
        expect(await history(minutes(1, 4))).to.deep.equal([
          '1 dns b SYNCED 0',
          '1 web a OUT_OF_SYNC 1',
          '1 web gone SYNCED 0',
          '2 web a SYNCED 0',
          '3 dns b OUT_OF_SYNC 1',
          '4 dns b SYNCED 0',
          '4 web a SYNCED 0',
          '4 web gone SYNCED 0',
        ]);
      });

      describe('where there are more rows than asked for', () => {
        /** What `limit` leaves of minutes 0 to 10, and whether the answer says that it does. */
        async function cut(limit: number, range = minutes(0, 10)): Promise<[rows: string[], isCut: boolean]> {
          return [await history(range, limit), (await store.history(range, LATER, limit)).isCut];
        }

        it('gives whole sources, those that changed last', async () => {
          const { dns } = await makeThree();
          const all = await history(minutes(0, 10));
          const gone = all.filter((row) => row.includes(' gone '));
          expect(gone).to.deep.equal([
            '0 web gone SYNCED 0',
            '5 web gone OUT_OF_SYNC 1',
            '6 web gone SYNCED 0',
            '7 web gone null 0',
          ]);
          // the removal at 7 is newer than the change at 4, and that at 2
          for (const limit of [4, 5, 7]) expect(await cut(limit)).to.deep.equal([gone, true]);
          const two = all.filter((row) => !row.includes('web a'));
          for (const limit of [8, 11]) expect(await cut(limit)).to.deep.equal([two, true]);
          expect(await cut(12)).to.deep.equal([all, false]);
          await report(dns, ['g'], 8);
          const newest = (await history(minutes(0, 10))).filter((row) => row.includes('dns b'));
          expect(newest).to.have.length(5);
          expect(await cut(6)).to.deep.equal([newest, true]);
        });

        it('counts all lives of a source together', async () => {
          const first = await report(null, [], 0);
          await remove(first, 1);
          await report(null, [], 5);
          await report(null, ['f'], 3, { server: 'b' });
          const all = await history(minutes(0, 10));
          expect(all).to.have.length(6);
          expect(await cut(5)).to.deep.equal([all.filter((row) => row.includes('web a')), true]);
        });

        it('prefers those that changed at all, then those that come first by name', async () => {
          for (const server of ['d', 'c', 'b', 'a']) await report(null, [], 0, { server });
          await report(null, [], 0, { server: 'z', repo: 'dns' });
          const source = await store.detail('web', 'd', 0);
          await report(source, ['f'], 2);
          const servers = async (limit: number): Promise<string[]> => {
            const rows = (await history(minutes(1, 3), limit)).map((row) => row.split(' ')[2] as string);
            return [...new Set(rows)].toSorted();
          };
          expect(await servers(3)).to.deep.equal(['d']);
          expect(await servers(5)).to.deep.equal(['d', 'z']);
          expect(await servers(8)).to.deep.equal(['a', 'd', 'z']);
        });

        it('gives the newest rows of a source that alone has more', async () => {
          let source = await report(null, [], 0);
          for (let minute = 1; minute <= 8; minute += 1) {
            source = await report(source, minute % 2 === 0 ? [] : ['f'], minute);
          }
          await report(null, [], 0, { server: 'b' });
          const rows = (await history(minutes(0, 10))).filter((row) => row.includes('web a'));
          for (const limit of [1, 5, rows.length - 1])
            expect(await cut(limit)).to.deep.equal([rows.slice(-limit), true]);
          expect(await cut(rows.length)).to.deep.equal([rows, true]);
        });

        it('gives the newest rows of a source that lived more often', async () => {
          for (let minute = 0; minute < 8; minute += 1) await remove(await report(null, [], minute), minute + 0.5);
          const all = await history(minutes(0, 10));
          expect(all.slice(-4)).to.deep.equal([
            '6 web a SYNCED 0',
            '6.5 web a null 0',
            '7 web a SYNCED 0',
            '7.5 web a null 0',
          ]);
          for (const limit of [1, 2, 3, 5]) expect(await cut(limit)).to.deep.equal([all.slice(-limit), true]);
          expect(await cut(16)).to.deep.equal([all, false]);
        });
      });

      it('ends now, whatever the range', async () => {
        await report(null, ['f'], 0);
        expect(await history(minutes(0, 9), undefined, {}, NOW + 3 * MINUTE)).to.deep.equal([
          '0 web a OUT_OF_SYNC 1',
          '3 web a OUT_OF_SYNC 1',
        ]);
      });

      it('knows what begins in the millisecond in which the range ends, whether it has ended by now or not', async () => {
        const first = await report(null, [], 0);
        const second = await report(first, ['f'], 2);
        for (const names of [undefined, []]) {
          if (names !== undefined) await report(second, names, 3);
          expect(await history(minutes(0, 2))).to.deep.equal(['0 web a SYNCED 0', '2 web a OUT_OF_SYNC 1']);
        }
        await report(null, ['f'], 4, { server: 'b' });
        expect(await history(minutes(3, 4), undefined, { servers: ['b'] })).to.deep.equal(['4 web b OUT_OF_SYNC 1']);
      });

      it('has the lapse that a source is in, and those that are over', async () => {
        const staleMinute = (STALE_AFTER_MS - 5000) / MINUTE;
        const options = { stale_after_seconds: undefined };
        const first = await report(null, ['f'], 0, options);
        const expected = ['0 web a OUT_OF_SYNC 1', `${staleMinute} web a STALE 1`, '20 web a STALE 1'];
        expect(await history(minutes(0, 20))).to.deep.equal(expected);
        await report(first, ['f'], 30, { last_check: new Date(NOW + 30 * MINUTE).toISOString() });
        expect(await history(minutes(0, 20))).to.deep.equal(expected);
        expect(await history(minutes(30, 31))).to.deep.equal(['30 web a OUT_OF_SYNC 1', '31 web a OUT_OF_SYNC 1']);
      });

      it('does not mix a removed source with a new one of the same name', async () => {
        const first = await report(null, ['f'], 0);
        await remove(first, 2);
        await report(null, [], 4);
        expect(await history(minutes(0, 6))).to.deep.equal([
          '0 web a OUT_OF_SYNC 1',
          '2 web a null 0',
          '4 web a SYNCED 0',
          '6 web a SYNCED 0',
        ]);
        expect(await history(minutes(3, 6))).to.deep.equal(['4 web a SYNCED 0', '6 web a SYNCED 0']);
        expect(await history(minutes(2, 3))).to.deep.equal([]);
      });

      it('does not mix them if the new one comes in the millisecond of the removal', async () => {
        const first = await report(null, [], 0);
        await remove(first, 2);
        const second = await report(null, ['f'], 2);
        await remove(second, 3);
        await report(null, [], 3);
        expect(await history(minutes(0, 4))).to.deep.equal([
          '0 web a SYNCED 0',
          '2 web a OUT_OF_SYNC 1',
          '3 web a SYNCED 0',
          '4 web a SYNCED 0',
        ]);
        expect(await history(minutes(0, 2))).to.deep.equal(['0 web a SYNCED 0', '2 web a OUT_OF_SYNC 1']);
      });

      it('shows no removal of what is back in the same millisecond, be it removed twice', async () => {
        await remove(await report(null, ['f'], 0), 2);
        await remove(await report(null, ['g'], 2), 2);
        const third = await report(null, [], 2);
        const expected = ['0 web a OUT_OF_SYNC 1', '2 web a SYNCED 0', '4 web a SYNCED 0'];
        expect(await history(minutes(0, 4))).to.deep.equal(expected);
        await remove(third, 3);
        await remove(await report(null, [], 3), 3);
        expect(await history(minutes(0, 4))).to.deep.equal([...expected.slice(0, 2), '3 web a null 0']);
      });

      it('ends a life where the next one begins, if the clock was set back in between', async () => {
        await remove(await report(null, ['f'], 4), 8);
        await report(null, [], 6);
        expect(await history(minutes(0, 10))).to.deep.equal([
          '4 web a OUT_OF_SYNC 1',
          '6 web a SYNCED 0',
          '10 web a SYNCED 0',
        ]);
        expect(await history(minutes(7, 10))).to.deep.equal(['7 web a SYNCED 0', '10 web a SYNCED 0']);
      });

      it('of a removed source goes with its pruning', async () => {
        const source = await report(null, ['f'], 0);
        await remove(source, 2);
        await store.prune(NOW + 2 * MINUTE, 1000);
        expect(await history(minutes(0, 6))).to.have.length(2);
        await store.prune(NOW + 2 * MINUTE + 1, 1000);
        expect(await history(minutes(0, 6))).to.deep.equal([]);
      });

      it('is the same after a restart', async () => {
        await makeThree();
        const before = await history(minutes(0, 10));
        await store.close();
        store = await driver.open(folder.path);
        expect(await history(minutes(0, 10))).to.deep.equal(before);
      });

      it('gives more than one page holds', async () => {
        const servers = Array.from({ length: 2500 }, (_, i) => `s${String(i).padStart(4, '0')}`);
        const changes = servers.map((server) => reportChange(null, [], NOW, { repo: 'web', server }));
        await store.commit(changes);
        const found = await changesOf(store, minutes(0, 1), LATER);
        expect(found.map(({ server }) => server)).to.deep.equal([...servers, ...servers]);
      });

      it('shows every commit that has resolved', async () => {
        let source = await report(null, [], 0);
        for (let minute = 1; minute <= 20; minute += 1) {
          source = await report(source, minute % 2 === 0 ? [] : ['f'], minute);
          expect(await history(minutes(0, minute))).to.have.length(minute + 1);
        }
      });
    });

    describe('reconcile histograms', () => {
      const counted = (...ms: number[]) => {
        const histogram = createHistogram();
        for (const each of ms) observe(histogram, each);
        return histogram;
      };

      it('are nothing when nothing has come back', async () => {
        await report(null, ['f'], 0);
        expect([...(await store.reconcileHistograms())]).to.deep.equal([]);
      });

      it('count per repo what a report has ended, after a restart too', async () => {
        const source = await report(null, ['f', 'g'], 0);
        await report(await report(source, ['f'], 1), [], 20);
        const other = await report(null, ['f'], 0, { repo: 'dns' });
        await report(other, ['g'], 2);
        for (const restart of [false, true]) {
          if (restart) {
            await store.close();
            store = await driver.open(folder.path);
          }
          expect(Object.fromEntries(await store.reconcileHistograms())).to.deep.equal({
            dns: counted(2 * MINUTE),
            web: counted(MINUTE, 20 * MINUTE),
          });
        }
      });

      it('add up the reports of one batch', async () => {
        const sources = await Promise.all(['a', 'b'].map((server) => report(null, ['f'], 0, { server })));
        await store.commit(sources.map((source) => reportChange(source, [], NOW + MINUTE)));
        expect(Object.fromEntries(await store.reconcileHistograms())).to.deep.equal({ web: counted(MINUTE, MINUTE) });
      });

      it('do not count a removal, nor a report that has lost to another', async () => {
        const source = await report(null, ['f'], 0);
        const winner = await report(source, ['f', 'g'], 1);
        await store.commit([reportChange(source, [], NOW + 2 * MINUTE)]);
        await remove(winner, 3);
        expect([...(await store.reconcileHistograms())]).to.deep.equal([]);
      });

      it('stay when all else is gone', async () => {
        const source = await report(await report(null, ['f'], 0), [], 1);
        await remove(source, 2);
        await store.prune(LATER, 1000);
        expect(await driftsOf(store, EVER)).to.deep.equal([]);
        expect(Object.fromEntries(await store.reconcileHistograms())).to.deep.equal({ web: counted(MINUTE) });
      });
    });
  }).timeout(60_000);
}
