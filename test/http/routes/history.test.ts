import { expect } from 'chai';
import { toIso } from '../../../src/core/timestamp.ts';
import { NOW, type Service, reportOf, startService } from '../../fixtures.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe('/history.json and /drifts.json', () => {
  let service: Service;

  /** Reports these files, as found right now. */
  async function report(names: readonly string[], changes: Record<string, unknown> = {}): Promise<void> {
    const last_check = toIso(service.clock.now());
    const response = await service.post(reportOf(names, { repo: 'web', server: 'a', last_check, ...changes }));
    expect(response.ok).to.equal(true);
  }

  async function get(path: string): Promise<Record<string, unknown>[]> {
    const response = await service.request(path);
    expect(response.status).to.equal(200);
    return (await response.json()) as Record<string, unknown>[];
  }

  async function remove(server = 'a'): Promise<void> {
    const { status } = await service.request(`/api/status/web/${server}`, { method: 'DELETE' });
    expect(status).to.equal(204);
  }

  /** Two repos, a removed source, a drift that is over and three that are open; an hour and a half in all. */
  async function makeFleet(): Promise<void> {
    await report(['f', 'g']);
    await report(['f'], { server: 'b' });
    await report(['h'], { repo: 'acme/dns', server: 'a' });
    await report(['f'], { server: 'gone' });
    service.clock.advance(HOUR);
    await report(['g']);
    await report([], { server: 'b' });
    await remove('gone');
    service.clock.advance(HOUR / 2);
  }

  describe('filtered', () => {
    before(async () => {
      service = await startService({ staleAfterMs: DAY });
      await makeFleet();
    });
    after(() => service.stop());

    const filters: readonly (readonly [query: string, sources: string[]])[] = [
      ['', ['acme/dns a', 'web a', 'web b', 'web gone']],
      ['repo=*&server=${server:csv}', ['acme/dns a', 'web a', 'web b', 'web gone']],
      ['repo=', ['acme/dns a', 'web a', 'web b', 'web gone']],
      ['repo=web', ['web a', 'web b', 'web gone']],
      ['repo=acme%2Fdns', ['acme/dns a']],
      ['repo=web,acme/dns&server=a', ['acme/dns a', 'web a']],
      ['server=b&server=gone', ['web b', 'web gone']],
      ['server=gone', ['web gone']],
      ['repo=nothing', []],
      ['repo=__proto__', []],
      ['verdict=OUT_OF_SYNC', ['acme/dns a', 'web a']],
      ['verdict=SYNCED', ['web b']],
      ['verdict=SYNCED,OUT_OF_SYNC&repo=web', ['web a', 'web b']],
      ['verdict=STALE', []],
      ['verdict=OUT_OF_SYNC&server=b', []],
    ];
    for (const path of ['/history.json', '/drifts.json']) {
      for (const [query, sources] of filters) {
        it(`${path} by ?${query}`, async () => {
          const rows = await get(`${path}?${query}`);
          const found = rows.map(({ repo, server }) => `${repo as string} ${server as string}`);
          expect([...new Set(found)].toSorted()).to.deep.equal(sources);
        });
      }
    }
  });

  describe('over HTTP', () => {
    beforeEach(async () => {
      service = await startService({ staleAfterMs: DAY });
    });
    afterEach(() => service.stop());

    for (const path of ['/history.json', '/drifts.json']) {
      describe(`GET ${path}`, () => {
        it('is an empty list when nothing was reported', async () => {
          const response = await service.request(path);
          expect(response.status).to.equal(200);
          expect(await response.text()).to.equal('[]\n');
          expect(response.headers.get('Content-Type')).to.equal('application/json; charset=utf-8');
          expect(response.headers.get('X-Truncated')).to.equal(null);
        });

        for (const query of [
          'from=7',
          'to=yesterday',
          `from=${NOW}&to=${NOW}`,
          'limit=0',
          'limit=100001',
          'to=1&to=2',
        ]) {
          it(`refuses ?${query}`, async () => {
            const response = await service.request(`${path}?${query}`);
            expect(response.status).to.equal(400);
            expect(response.headers.get('Content-Type')).to.match(/^application\/problem\+json/);
            expect(await response.json()).to.include({ title: 'Bad query', status: 400 });
          });
        }

        it('is an empty list for a time before anything was reported', async () => {
          await report(['f']);
          service.clock.advance(MINUTE);
          expect(await get(`${path}?to=${NOW - 1}`)).to.deep.equal([]);
        });

        it('is an empty list for a time that is yet to come', async () => {
          await report(['f']);
          expect(await get(`${path}?from=${NOW + HOUR}&to=${NOW + DAY}`)).to.deep.equal([]);
        });

        it('is 304 for who has it, until something has happened or time has passed', async () => {
          await makeFleet();
          const ask = (etag: string): Promise<Response> =>
            service.request(path, { headers: { 'If-None-Match': etag } });
          const first = await service.request(path);
          const etag = first.headers.get('ETag') ?? '';
          const again = await ask(etag);
          expect([again.status, await again.text()]).to.deep.equal([304, '']);
          service.clock.advance(1);
          expect((await ask(etag)).status).to.equal(200);
        });

        it('is never 304 when it says something else, be its range long over', async () => {
          await makeFleet();
          const query = `${path}?from=${NOW}&to=${NOW + 2 * HOUR}`;
          service.clock.advance(HOUR);
          const first = await service.request(query);
          const before = await first.text();
          const headers = { 'If-None-Match': first.headers.get('ETag') ?? '' };
          service.clock.advance(HOUR);
          const second = await service.request(query, { headers });
          if (second.status === 200) return;
          expect(second.status).to.equal(304);
          expect(await (await service.request(query)).text()).to.equal(before);
        });

        it('is gzipped for those who ask', async () => {
          await makeFleet();
          const { port } = service;
          const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { 'Accept-Encoding': 'gzip' } });
          expect(response.headers.get('Content-Encoding')).to.equal('gzip');
          expect(await response.json()).not.to.be.empty;
        });

        it('takes names and limits together', async () => {
          await makeFleet();
          const rows = await get(`${path}?repo=web&server=b&limit=1`);
          expect(rows.map(({ repo, server }) => [repo, server])).to.deep.equal([['web', 'b']]);
        });

        it('says where it cuts, and keeps the newest', async () => {
          for (let i = 0; i < 12; i += 1) {
            await report(i % 2 === 0 ? ['f'] : []);
            service.clock.advance(MINUTE);
          }
          const whole = await get(path);
          for (const limit of [1, 3, whole.length - 1]) {
            const response = await service.request(`${path}?limit=${limit}`);
            expect(response.headers.get('X-Truncated')).to.equal('true');
            expect(await response.json()).to.deep.equal(whole.slice(-limit));
          }
          const response = await service.request(`${path}?limit=${whole.length}`);
          expect(response.headers.get('X-Truncated')).to.equal(null);
          expect(await response.json()).to.deep.equal(whole);
        });

        it('comes whole, in one piece and gzipped, when it is long', async () => {
          const servers = Array.from({ length: 2100 }, (_, i) => `s${String(i).padStart(4, '0')}`);
          for (let i = 0; i < servers.length; i += 500) {
            await Promise.all(servers.slice(i, i + 500).map((server) => report(['f'], { server })));
          }
          service.clock.advance(MINUTE);
          const rows = await get(`${path}?limit=100000`);
          expect(new Set(rows.map(({ server }) => server)).size).to.equal(servers.length);
          const response = await service.request(`${path}?limit=100000`, {
            headers: { 'Accept-Encoding': 'identity' },
          });
          expect(await response.json()).to.deep.equal(rows);
        });

        it('asked for with HEAD, has no body', async () => {
          await makeFleet();
          const response = await service.request(path, { method: 'HEAD' });
          expect([response.status, await response.text()]).to.deep.equal([200, '']);
        });
      });
    }

    describe('history', () => {
      it('has flat rows that ascend in time: as it was at from, each change, as it is at the end', async () => {
        await report(['f', 'g']);
        service.clock.advance(MINUTE);
        await report([]);
        service.clock.advance(MINUTE);
        const row = (time: number, verdict: string, state: number, drift_count: number) => ({
          time: toIso(time),
          time_ms: time,
          repo: 'web',
          server: 'a',
          source: 'web/a',
          verdict,
          state,
          drift_count,
        });
        expect(await get(`/history.json?from=${NOW + 1000}`)).to.deep.equal([
          row(NOW + 1000, 'OUT_OF_SYNC', 1, 2),
          row(NOW + MINUTE, 'SYNCED', 0, 0),
          row(NOW + 2 * MINUTE, 'SYNCED', 0, 0),
        ]);
      });

      /** `minute server verdict drift_count` of each row. */
      async function history(query = ''): Promise<string[]> {
        const rows = await get(`/history.json${query}`);
        return rows.map((row) =>
          [(Number(row.time_ms) - NOW) / MINUTE, row.server, String(row.verdict), row.drift_count].join(' '),
        );
      }

      it('begins 24 hours ago', async () => {
        await report(['f'], { stale_after_seconds: 100 * 3600 });
        service.clock.advance(30 * HOUR);
        await report([]);
        expect(await history()).to.deep.equal([`${6 * 60} a OUT_OF_SYNC 1`, `${30 * 60} a SYNCED 0`]);
      });

      it('has carried-in and closing rows of every source, by time, then repo and server', async () => {
        await report(['f'], { server: 'b' });
        await report([]);
        service.clock.advance(2 * MINUTE);
        expect(await history(`?from=${NOW + MINUTE}`)).to.deep.equal([
          '1 a SYNCED 0',
          '1 b OUT_OF_SYNC 1',
          '2 a SYNCED 0',
          '2 b OUT_OF_SYNC 1',
        ]);
      });

      it('closes at to, or now where that comes first', async () => {
        await report(['f']);
        service.clock.advance(3 * MINUTE);
        expect(await history(`?to=${NOW + 2 * MINUTE}`)).to.deep.equal(['0 a OUT_OF_SYNC 1', '2 a OUT_OF_SYNC 1']);
        expect(await history(`?to=${NOW + DAY}`)).to.deep.equal(['0 a OUT_OF_SYNC 1', '3 a OUT_OF_SYNC 1']);
      });

      it('has STALE from the millisecond on in which the report is too old, until the next one', async () => {
        await report(['f'], { stale_after_seconds: 60 });
        service.clock.advance(3 * MINUTE);
        expect(await history()).to.deep.equal(['0 a OUT_OF_SYNC 1', '1 a STALE 1', '3 a STALE 1']);
        await report(['f']);
        service.clock.advance(MINUTE);
        expect(await history()).to.deep.equal([
          '0 a OUT_OF_SYNC 1',
          '1 a STALE 1',
          '3 a OUT_OF_SYNC 1',
          '4 a OUT_OF_SYNC 1',
        ]);
        expect((await get('/history.json')).map(({ state }) => state)).to.deep.equal([1, 2, 1, 1]);
      });

      it('ends with the source, and begins anew when it comes back', async () => {
        await report(['f']);
        service.clock.advance(MINUTE);
        await remove();
        service.clock.advance(MINUTE);
        await report(['g', 'h']);
        service.clock.advance(MINUTE);
        expect(await history()).to.deep.equal([
          '0 a OUT_OF_SYNC 1',
          '1 a null 0',
          '2 a OUT_OF_SYNC 2',
          '3 a OUT_OF_SYNC 2',
        ]);
        expect((await get('/history.json')).map(({ state }) => state)).to.deep.equal([1, null, 1, 1]);
        expect(await history(`?from=${NOW + 1.2 * MINUTE}&to=${NOW + 1.8 * MINUTE}`)).to.deep.equal([]);
      });

      it('does not go on with a source that was removed, whether it is asked for then or later', async () => {
        await report(['f']);
        service.clock.advance(MINUTE);
        await remove();
        const expected = ['0 a OUT_OF_SYNC 1', '1 a null 0'];
        expect(await history()).to.deep.equal(expected);
        service.clock.advance(MINUTE);
        expect(await history()).to.deep.equal(expected);
        expect(await history(`?from=${NOW + MINUTE}`)).to.deep.equal([]);
        expect(await history(`?to=${NOW + MINUTE}`)).to.deep.equal(expected);
        expect(await history(`?to=${NOW + MINUTE - 1}`)).to.have.length(2);
        expect((await history(`?to=${NOW + MINUTE - 1}`)).at(-1)).to.match(/ a OUT_OF_SYNC 1$/);
      });

      it('is never blank for sources that did not change, however many there are: it shows some, and says so', async () => {
        const servers = Array.from({ length: 30 }, (_, i) => `s${10 + i}`);
        for (const server of servers) await report([], { server });
        service.clock.advance(2 * MINUTE);
        await report(['f'], { server: 's35' });
        service.clock.advance(MINUTE);
        const response = await service.request(`/history.json?from=${NOW + MINUTE}&limit=12`);
        expect(response.headers.get('X-Truncated')).to.equal('true');
        const rows = (await response.json()) as Record<string, unknown>[];
        const shown = ['s10', 's11', 's12', 's13', 's35'];
        const at = (time: number): unknown[] => rows.filter((row) => row.time_ms === time).map((row) => row.server);
        expect(at(NOW + MINUTE)).to.deep.equal(shown);
        expect(at(NOW + 3 * MINUTE)).to.deep.equal(shown);
        expect(rows).to.have.length(11);
      });

      it('takes the verdict filter for what sources are now', async () => {
        await report(['f']);
        await report([], { server: 'b' });
        service.clock.advance(MINUTE);
        await report([]);
        await report(['f'], { server: 'b' });
        service.clock.advance(MINUTE);
        expect(await history('?verdict=SYNCED')).to.deep.equal(['0 a OUT_OF_SYNC 1', '1 a SYNCED 0', '2 a SYNCED 0']);
      });
    });

    describe('drifts', () => {
      it('are flat rows, for tables and for annotations', async () => {
        await report(['f']);
        service.clock.advance(MINUTE);
        await report(['g']);
        service.clock.advance(MINUTE / 2);
        expect(await get('/drifts.json')).to.deep.equal([
          {
            repo: 'web',
            server: 'a',
            name: 'f',
            opened_at: toIso(NOW),
            closed_at: toIso(NOW + MINUTE),
            duration_seconds: 60,
            time: NOW,
            timeEnd: NOW + MINUTE,
            text: 'f differs on a (web)',
            tags: 'web,a',
          },
          {
            repo: 'web',
            server: 'a',
            name: 'g',
            opened_at: toIso(NOW + MINUTE),
            closed_at: null,
            duration_seconds: 30,
            time: NOW + MINUTE,
            timeEnd: NOW + 1.5 * MINUTE,
            text: 'g differs on a (web)',
            tags: 'web,a',
          },
        ]);
      });

      /** `server name opened closed` of each row, in minutes. */
      async function drifts(query = ''): Promise<string[]> {
        const rows = await get(`/drifts.json${query}`);
        const minute = (time: unknown): number | null =>
          time === null ? null : (Date.parse(time as string) - NOW) / MINUTE;
        return rows.map(
          (row) => `${String(row.server)} ${String(row.name)} ${minute(row.opened_at)} ${minute(row.closed_at)}`,
        );
      }

      it('are sorted by repo, server and name, then by their beginning', async () => {
        await report(['b', 'a']);
        await report(['c'], { server: '0' });
        service.clock.advance(MINUTE);
        await report(['b']);
        service.clock.advance(MINUTE);
        await report(['a', 'b']);
        await report(['a'], { repo: 'a-repo', server: 'z' });
        expect(await drifts(`?to=${NOW + HOUR}`)).to.deep.equal([
          'z a 2 null',
          '0 c 0 null',
          'a a 0 1',
          'a a 2 null',
          'a b 0 null',
        ]);
      });

      it('are 10,000 unless more are asked for', async () => {
        const names = Array.from({ length: 5001 }, (_, i) => `f${i}`);
        for (const each of [names, [], names]) await report(each);
        service.clock.advance(MINUTE);
        const response = await service.request('/drifts.json');
        expect(response.headers.get('X-Truncated')).to.equal('true');
        expect(await response.json()).to.have.length(10_000);
        const more = await service.request('/drifts.json?limit=100000');
        expect(more.headers.get('X-Truncated')).to.equal(null);
        expect(await more.json()).to.have.length(10_002);
      });

      it('are those that overlap the range', async () => {
        const at = async (minutes: number, names: readonly string[]): Promise<void> => {
          service.clock.set(NOW + minutes * MINUTE);
          await report(names);
        };
        await at(0, ['f']);
        await at(1, []);
        await at(2, ['g']);
        await at(3, []);
        await at(4, ['h']);
        service.clock.set(NOW + 5 * MINUTE);
        const between = (from: number, to: number): Promise<string[]> =>
          drifts(`?from=${NOW + from * MINUTE}&to=${NOW + to * MINUTE}`);
        expect(await between(0, 5)).to.deep.equal(['a f 0 1', 'a g 2 3', 'a h 4 null']);
        expect(await between(1, 2)).to.deep.equal([]);
        expect(await between(0.9, 2.1)).to.deep.equal(['a f 0 1', 'a g 2 3']);
        expect(await between(2.4, 2.6)).to.deep.equal(['a g 2 3']);
        expect(await between(3, 4)).to.deep.equal([]);
        expect(await between(4.5, 60)).to.deep.equal(['a h 4 null']);
      });

      it('that have lasted since before the range are in it', async () => {
        await report(['f']);
        service.clock.advance(3 * DAY);
        expect(await drifts()).to.deep.equal(['a f 0 null']);
      });

      it('end with their source', async () => {
        await report(['f']);
        service.clock.advance(MINUTE);
        await remove();
        service.clock.advance(MINUTE);
        expect(await drifts()).to.deep.equal(['a f 0 1']);
      });

      it('of one millisecond do not hide the one that is open since then', async () => {
        for (const names of [['f'], [], ['f']]) await report(names);
        expect(await drifts(`?to=${NOW + 1}`)).to.deep.equal(['a f 0 0', 'a f 0 null']);
      });

      it('keep any name of a file as it is', async () => {
        const names = ['a"b', 'a\\b', '日本.conf', '</script>', '__proto__'];
        await report(names);
        service.clock.advance(MINUTE);
        await report(names.slice(1));
        expect((await get('/drifts.json')).map(({ name }) => name)).to.have.members(names);
      });
    });

    describe('does not change', () => {
      async function readHistory(): Promise<string> {
        const range = `from=${NOW - HOUR}&to=${NOW + 2 * MINUTE}`;
        const history = await (await service.request(`/history.json?${range}`)).text();
        const rows = await get(`/drifts.json?${range}`);
        // the other file is still open
        return `${history}${JSON.stringify(rows.filter(({ name }) => name === 'f'))}`;
      }

      beforeEach(async () => {
        await report(['f', 'g']);
        service.clock.advance(MINUTE);
        await report(['g']);
        service.clock.advance(2 * MINUTE);
      });

      it('with a report that comes late: what was not known then is not known in hindsight', async () => {
        const before = await readHistory();
        await report([], { last_check: toIso(NOW + 1.5 * MINUTE) });
        expect(await readHistory()).to.deep.equal(before);
      });

      it('with a report that is superseded', async () => {
        const before = await readHistory();
        const all = (): Promise<unknown> => get('/history.json');
        const whole = await all();
        await report(['x'], { last_check: toIso(NOW + 1) });
        expect(await readHistory()).to.deep.equal(before);
        expect(await all()).to.deep.equal(whole);
      });

      it('with another STALE_AFTER of a later report', async () => {
        const before = await readHistory();
        await report(['g'], { stale_after_seconds: 1 });
        service.clock.advance(MINUTE);
        expect(await readHistory()).to.deep.equal(before);
      });

      it('when the source is removed, until its history is pruned', async () => {
        const before = await readHistory();
        await remove();
        service.clock.advance(DAY);
        expect((await readHistory()).split(']')[0]).to.equal(before.split(']')[0]);
        await service.store.prune(service.clock.now(), 1000);
        expect(await readHistory()).to.equal('[]\n[]');
      });
    });

    it('that was deleted does not look as if all had been in sync', async () => {
      const names = [['f'], []];
      for (const each of names) {
        await report(each, { stale_after_seconds: 31_536_000 });
        service.clock.advance(10 * DAY);
      }
      service.clock.advance(81 * DAY);
      const horizon = service.clock.now() - 90 * DAY;
      await service.store.prune(horizon, 1000);
      expect((await get(`/history.json?from=${NOW}`))[0]).to.include({ time_ms: horizon, verdict: 'SYNCED' });
      expect(await get(`/history.json?from=${NOW}&to=${NOW + DAY}`)).to.deep.equal([]);
    });
  });
}).timeout(60_000);
