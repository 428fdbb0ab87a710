import { expect } from 'chai';
import {
  type Change,
  type ClosedDrift,
  type Outcome,
  type Store,
  StoreError,
  type StoredSource,
} from '../../src/store/store.ts';
import { NOW, makeFolder, loadAll, driftsOf } from '../fixtures.ts';
import { STALE_AFTER_MS, drivers, removalChange, reportChange } from './drivers.ts';

const MINUTE = 60_000;
/** When the reports here become stale: all of them tell of the same check. */
const STALE_AT = NOW - 5000 + STALE_AFTER_MS;
const EVER = { from: 0, to: Number.MAX_SAFE_INTEGER };

for (const driver of drivers) {
  describe(`store: ${driver.name}`, () => {
    let folder: ReturnType<typeof makeFolder>;
    let store: Store;
    let isOpen: boolean;

    beforeEach(async () => {
      folder = makeFolder();
      store = await driver.open(folder.path);
      isOpen = true;
    });
    afterEach(async () => {
      if (isOpen) await store.close();
      folder.remove();
    });

    async function reopen(): Promise<void> {
      isOpen = false;
      await store.close();
      store = await driver.open(folder.path);
      isOpen = true;
    }

    /** Reports once, as a fleet that knows the source would; resolves with the source as it then is stored. */
    async function report(
      previous: StoredSource | null,
      names: readonly string[],
      at: number,
      changes: Record<string, unknown> = {},
    ): Promise<StoredSource> {
      const [outcome] = await store.commit([reportChange(previous, names, at, changes)]);
      expect(outcome).to.have.property('id');
      return find(previous?.snapshot.repo ?? changes.repo, previous?.snapshot.server ?? changes.server);
    }

    async function find(repo: unknown = 'rsyslog', server: unknown = 'rsyslog-lab'): Promise<StoredSource> {
      const detail = await store.detail(String(repo), String(server), 0);
      if (detail === null) throw new Error('no such source');
      return { id: detail.id, snapshot: detail.snapshot };
    }

    it('has a name that says which driver it is', () => {
      expect(store.name).to.match(new RegExp(`^${driver.name} \\d`));
    });

    describe('load', () => {
      it('gives nothing when nothing was stored', async () => {
        expect(await loadAll(store)).to.deep.equal([]);
      });

      it('gives every field of a snapshot back, after a restart too', async () => {
        const change = reportChange(null, ['b', 'a'], NOW, {
          commit: 'a1b2',
          pipeline_url: 'https://ci.example.org/7',
          last_check: '2026-04-21T12:32:15.1234567+02:00',
          stale_after_seconds: 90,
        });
        const [outcome] = await store.commit([change]);
        expect(outcome).to.deep.include({ times: [] });
        const { id } = outcome as { id: number };
        for (const restart of [false, true]) {
          if (restart) await reopen();
          expect(await loadAll(store)).to.deep.equal([{ id, snapshot: change.advance.next }]);
        }
      });

      it('gives what was stored last, in the order in which the files were posted', async () => {
        const first = await report(null, ['a', 'b'], NOW);
        const second = reportChange(first, ['b', 'a'], NOW + 1);
        await store.commit([second]);
        await reopen();
        expect(await loadAll(store)).to.deep.equal([{ id: first.id, snapshot: second.advance.next }]);
      });

      it('keeps any file name as it is', async () => {
        const names = ['a"b', "a'b", 'a\\b', '%_*', '日本.conf', '\u{1F600}', ' ', '__proto__', '\u2028'];
        await report(null, names, NOW);
        await reopen();
        const [source] = await loadAll(store);
        expect(source?.snapshot.files.map(({ name }) => name)).to.deep.equal(names);
      });

      it('sorts by repo, then server, in the order of their characters', async () => {
        const keys = [
          ['web', 'a'],
          ['web-1', 'a'],
          ['web', 'B'],
          ['Web', 'z'],
          ['web/x', '0'],
          ['web', 'a.b'],
        ] as const;
        await store.commit(keys.map(([repo, server]) => reportChange(null, [], NOW, { repo, server })));
        const loaded = await loadAll(store);
        expect(loaded.map(({ snapshot }) => [snapshot.repo, snapshot.server])).to.deep.equal([
          ['Web', 'z'],
          ['web', 'B'],
          ['web', 'a'],
          ['web', 'a.b'],
          ['web-1', 'a'],
          ['web/x', '0'],
        ]);
      });

      it('gives more sources than one page holds', async () => {
        const servers = Array.from({ length: 10_001 }, (_, i) => `s${String(i).padStart(5, '0')}`);
        await store.commit(servers.map((server) => reportChange(null, [], NOW, { server })));
        expect((await loadAll(store)).map(({ snapshot }) => snapshot.server)).to.deep.equal(servers);
      }).timeout(60_000);
    });

    describe('commit', () => {
      it('tells what became of each change, in their order', async () => {
        const changes = ['a', 'b', 'c'].map((server) => reportChange(null, [], NOW, { server }));
        const outcomes = (await store.commit(changes)) as { id: number }[];
        const loaded = await loadAll(store);
        expect(loaded.map(({ id }) => id)).to.deep.equal(outcomes.map(({ id }) => id));
      });

      it('takes a batch of nothing', async () => {
        expect(await store.commit([])).to.deep.equal([]);
      });

      it('counts the drifts of each file, in the order in which they were opened', async () => {
        let source = await report(null, ['a', 'b'], NOW);
        source = await report(source, ['b'], NOW + 1);
        const back = reportChange(source, ['c', 'b', 'a'], NOW + 2);
        expect(back.advance.opened).to.deep.equal(['c', 'a']);
        expect(await store.commit([back])).to.deep.equal([{ id: source.id, times: [1, 2] }]);
        const { snapshot } = await find();
        expect(snapshot.files.map(({ name, times }) => [name, times])).to.deep.equal([
          ['c', 1],
          ['b', 1],
          ['a', 2],
        ]);
      });

      it('counts on through many drifts and a restart', async () => {
        let source = await report(null, ['a'], NOW);
        for (let i = 1; i <= 6; i += 1) {
          source = await report(source, i % 2 === 1 ? [] : ['a'], NOW + i);
          if (i === 3) await reopen();
        }
        expect(source.snapshot.files).to.deep.equal([{ name: 'a', since: NOW + 6, times: 4 }]);
        const closed = await driftsOf(store, EVER);
        expect(closed.map(({ times }) => times)).to.deep.equal([1, 2, 3]);
      });

      it('takes drifts that open and close in one millisecond', async () => {
        let source = await report(null, ['a'], NOW);
        for (const names of [[], ['a'], [], ['a']]) source = await report(source, names, NOW);
        expect(source.snapshot.files).to.deep.equal([{ name: 'a', since: NOW, times: 3 }]);
      });

      it('writes nothing of a batch that it rejects', async () => {
        const known = await report(null, ['a'], NOW, { server: 'known' });
        const broken = reportChange(null, [], NOW, { server: 'broken' });
        const failure = await store
          .commit([
            reportChange(known, [], STALE_AT + 1),
            reportChange(null, [], NOW, { server: 'new' }),
            {
              ...broken,
              advance: { ...broken.advance, next: { ...broken.advance.next, toldStatus: 'NEITHER' as 'SYNCED' } },
            },
          ])
          .catch((error: unknown) => error);
        expect(failure).to.be.instanceOf(StoreError);
        await reopen();
        expect(await loadAll(store)).to.deep.equal([known]);
        expect(await driftsOf(store, EVER)).to.deep.equal([]);
        expect(await store.lapses(EVER)).to.deep.equal([]);
      });

      it('goes on after a batch that it rejected', async () => {
        const broken = reportChange(null, [], NOW);
        const { next } = broken.advance;
        const change: Change = {
          ...broken,
          advance: { ...broken.advance, next: { ...next, toldStatus: 'X' as 'SYNCED' } },
        };
        await store.commit([change]).catch(() => {});
        await store.commit([reportChange(null, [], NOW)]);
        expect(await loadAll(store)).to.have.length(1);
      });

      it('is done with what it was given when close resolves', async () => {
        const committed = store.commit([reportChange(null, ['a'], NOW)]);
        await reopen();
        await committed;
        expect(await loadAll(store)).to.have.length(1);
      });
    });

    describe('commit, when the row has moved on', () => {
      it('tells a first report which row is there already', async () => {
        const winner = await report(null, ['a'], NOW);
        expect(await store.commit([reportChange(null, ['b'], NOW + 1)])).to.deep.equal([{ conflict: winner }]);
        expect(await loadAll(store)).to.deep.equal([winner]);
      });

      it('tells a report of an older version which row has won, and stores nothing of it', async () => {
        const old = await report(null, ['a'], NOW);
        const winner = await report(old, ['a', 'b'], NOW + 1);
        const late = reportChange(old, [], STALE_AT + 1);
        expect(late.advance.lapse).not.to.equal(null);
        expect(await store.commit([late])).to.deep.equal([{ conflict: winner }]);
        expect(await loadAll(store)).to.deep.equal([winner]);
        expect(await driftsOf(store, EVER)).to.deep.equal([]);
        expect(await store.lapses(EVER)).to.deep.equal([]);
      });

      it('tells a report of a removed source that there is none', async () => {
        const old = await report(null, ['a'], NOW);
        await store.commit([removalChange(old, NOW + 1)]);
        expect(await store.commit([reportChange(old, [], NOW + 2)])).to.deep.equal([{ conflict: null }]);
        expect(await loadAll(store)).to.deep.equal([]);
      });

      it('tells a report for a source that was removed and came back which row is the current one', async () => {
        const old = await report(null, ['a'], NOW);
        await store.commit([removalChange(old, NOW + 1)]);
        const current = await report(null, [], NOW + 2);
        expect(current.snapshot.version).to.equal(old.snapshot.version);
        expect(await store.commit([reportChange(old, ['b'], NOW + 3)])).to.deep.equal([{ conflict: current }]);
        expect(await loadAll(store)).to.deep.equal([current]);
      });

      it('tells a removal of an older version which row has won, and removes nothing', async () => {
        const old = await report(null, ['a'], NOW);
        const winner = await report(old, [], NOW + 1);
        expect(await store.commit([removalChange(old, NOW + 2)])).to.deep.equal([{ conflict: winner }]);
        expect(await loadAll(store)).to.deep.equal([winner]);
        expect((await driftsOf(store, EVER)).map(({ closedAt }) => closedAt)).to.deep.equal([NOW + 1]);
      });

      it('tells a second removal that there is none, even when its history is gone', async () => {
        const old = await report(null, [], NOW);
        await store.commit([removalChange(old, NOW + 1)]);
        expect(await store.commit([removalChange(old, NOW + 2)])).to.deep.equal([{ conflict: null }]);
        await store.prune(NOW + 10, 1000);
        expect(await store.commit([removalChange(old, NOW + 2)])).to.deep.equal([{ conflict: null }]);
      });

      it('does the others of the batch all the same', async () => {
        const old = await report(null, ['a'], NOW);
        const winner = await report(old, ['b'], NOW + 1);
        const outcomes = await store.commit([
          reportChange(null, [], NOW, { server: 'before' }),
          reportChange(old, [], NOW + 2),
          reportChange(null, [], NOW, { server: 'after' }),
        ]);
        expect(outcomes.map(kindOf)).to.deep.equal(['done', 'conflict', 'done']);
        expect((await loadAll(store)).map(({ snapshot }) => snapshot.server)).to.deep.equal([
          'after',
          'before',
          winner.snapshot.server,
        ]);
      });
    });

    describe('removal', () => {
      it('takes the source away, after a restart too', async () => {
        const other = await report(null, [], NOW, { server: 'other' });
        await store.commit([removalChange(await report(null, ['a'], NOW), NOW + 1)]);
        expect(await loadAll(store)).to.deep.equal([other]);
        await reopen();
        expect(await loadAll(store)).to.deep.equal([other]);
        expect(await store.detail('rsyslog', 'rsyslog-lab', 10)).to.equal(null);
      });

      it('ends its drifts and its lapse', async () => {
        const source = await report(null, ['a', 'b'], NOW);
        const at = STALE_AT + MINUTE;
        await store.commit([removalChange(source, at)]);
        expect(await driftsOf(store, EVER)).to.deep.equal([drift('a', 1, NOW, at), drift('b', 1, NOW, at)]);
        const { repo, server } = source.snapshot;
        expect(await store.lapses(EVER)).to.deep.equal([{ repo, server, from: STALE_AT, to: at }]);
      });

      it('is followed by a new life: another id, the first version, drifts counted from 1', async () => {
        let first = await report(null, ['a'], NOW);
        first = await report(first, [], NOW + 1);
        first = await report(first, ['a'], NOW + 2);
        await store.commit([removalChange(first, NOW + 3)]);
        let second = await report(null, ['a'], NOW + 4);
        expect(second.id).not.to.equal(first.id);
        expect(second.snapshot).to.include({ version: 1, firstSeen: NOW + 4, statusSince: NOW + 4 });
        second = await report(second, [], NOW + 5);
        second = await report(second, ['a'], NOW + 6);
        expect(second.snapshot.files).to.deep.equal([{ name: 'a', since: NOW + 6, times: 2 }]);
        const closed = await driftsOf(store, EVER);
        expect(closed.map(({ openedAt, times }) => [openedAt, times])).to.deep.equal([
          [NOW, 1],
          [NOW + 2, 2],
          [NOW + 4, 1],
        ]);
      });

      it('never has its id used again, even when nothing is left of it', async () => {
        const first = await report(null, [], NOW);
        await store.commit([removalChange(first, NOW + 1)]);
        await store.prune(NOW + 10, 1000);
        await reopen();
        const second = await report(null, [], NOW + 20);
        expect(second.id).not.to.equal(first.id);
      });
    });

    describe('detail', () => {
      it('is null for what was never reported', async () => {
        await report(null, [], NOW);
        expect(await store.detail('rsyslog', 'other', 10)).to.equal(null);
        expect(await store.detail('', '', 10)).to.equal(null);
      });

      it('has the snapshot and the diffs of the newest report', async () => {
        const files = [{ name: 'a', diff: '-1\n+2\n' }, { name: '__proto__', diff: 'x' }, { name: 'c' }];
        const body = JSON.parse(JSON.stringify({ drift_count: 3, files })) as Record<string, unknown>;
        const source = await report(null, [], NOW, { sync_status: 'OUT_OF_SYNC', ...body });
        const detail = await store.detail('rsyslog', 'rsyslog-lab', 10);
        expect(Object.entries(detail?.diffs ?? {})).to.deep.equal([
          ['a', '-1\n+2\n'],
          ['__proto__', 'x'],
        ]);
        expect(detail?.snapshot).to.deep.equal(source.snapshot);
      });

      it('has no diff that the newest report did not have', async () => {
        const files = [{ name: 'a', diff: 'x' }];
        const source = await report(null, ['a'], NOW, { files });
        await report(source, ['a'], NOW + 1);
        expect((await store.detail('rsyslog', 'rsyslog-lab', 10))?.diffs).to.deep.equal({});
      });

      it('has the newest closed drifts, newest first, and not more than asked for', async () => {
        let source = await report(null, ['a', 'b'], NOW);
        source = await report(source, ['a'], NOW + 1);
        source = await report(source, ['b'], NOW + 2);
        await report(source, [], NOW + 3);
        const expected = [drift('b', 2, NOW + 2, NOW + 3), drift('a', 1, NOW, NOW + 2), drift('b', 1, NOW, NOW + 1)];
        for (const max of [0, 1, 2, 3, 50]) {
          const detail = await store.detail('rsyslog', 'rsyslog-lab', max);
          expect(detail?.drifts, `of ${max}`).to.deep.equal(expected.slice(0, max));
        }
      });

      it('has no drifts of an earlier life', async () => {
        await store.commit([removalChange(await report(null, ['a'], NOW), NOW + 1)]);
        await report(null, ['a'], NOW + 2);
        expect((await store.detail('rsyslog', 'rsyslog-lab', 10))?.drifts).to.deep.equal([]);
      });

      it('shows every commit that has resolved', async () => {
        let source = await report(null, [], NOW);
        for (let i = 1; i <= 50; i += 1) {
          await store.commit([reportChange(source, [], NOW + i)]);
          source = await find();
          expect(source.snapshot.version).to.equal(i + 1);
        }
      });
    });

    describe('history', () => {
      const ranges: readonly (readonly [what: string, from: number, to: number, isIn: boolean])[] = [
        ['all of it', 0, 1e6, true],
        ['exactly it', 100, 200, true],
        ['a part within it', 140, 160, true],
        ['its first millisecond', 0, 101, true],
        ['its last millisecond', 199, 300, true],
        ['what ends where it begins', 0, 100, false],
        ['what begins where it ends', 200, 300, false],
        ['what is long before', 0, 50, false],
        ['what is long after', 250, 300, false],
      ];
      for (const [what, from, to, isIn] of ranges) {
        it(`of ${what} ${isIn ? 'has' : 'does not have'} a drift`, async () => {
          await report(await report(null, ['a'], NOW + 100), [], NOW + 200);
          const found = await driftsOf(store, { from: NOW + from, to: NOW + to });
          expect(found).to.deep.equal(isIn ? [drift('a', 1, NOW + 100, NOW + 200)] : []);
        });

        it(`of ${what} ${isIn ? 'has' : 'does not have'} a lapse`, async () => {
          // stale on arrival: the lapse lasts from one report to the next
          const start = STALE_AT;
          await report(await report(null, [], start + 100), [], start + 200);
          const found = await store.lapses({ from: start + from, to: start + to });
          expect(found.map((lapse) => [lapse.from - start, lapse.to - start])).to.deep.equal(isIn ? [[100, 200]] : []);
        });
      }

      it('has no drift that is still open, and no lapse that has not ended', async () => {
        await report(null, ['a'], STALE_AT + 1);
        expect(await driftsOf(store, EVER)).to.deep.equal([]);
        expect(await store.lapses(EVER)).to.deep.equal([]);
      });

      it('is sorted by the beginning, then repo, server and name', async () => {
        const keys = [
          ['b', 'x'],
          ['a', 'y'],
          ['a', 'x'],
        ] as const;
        for (const [repo, server] of keys) await report(null, ['n', 'm'], STALE_AT, { repo, server });
        await report(null, ['z'], NOW, { repo: 'c', server: 'x' });
        for (const source of await loadAll(store)) await store.commit([reportChange(source, [], STALE_AT + MINUTE)]);
        const drifts = await driftsOf(store, EVER);
        expect(drifts.map(({ repo, server, name }) => `${repo} ${server} ${name}`)).to.deep.equal([
          'c x z',
          'a x m',
          'a x n',
          'a y m',
          'a y n',
          'b x m',
          'b x n',
        ]);
        const lapses = await store.lapses(EVER);
        expect(lapses.map(({ repo, server }) => `${repo} ${server}`)).to.deep.equal(['a x', 'a y', 'b x', 'c x']);
      });

      it('has every lapse of a source that is late again and again', async () => {
        let source = await report(null, [], STALE_AT);
        for (const at of [1, 2, 2, 5]) source = await report(source, [], STALE_AT + at);
        const lapses = await store.lapses(EVER);
        expect(lapses.map(({ from, to }) => [from - STALE_AT, to - STALE_AT])).to.deep.equal([
          [0, 1],
          [1, 2],
          [2, 5],
        ]);
      });
    });

    describe('prune', () => {
      it('has nothing to do in an empty store', async () => {
        expect(await store.prune(NOW, 10)).to.equal(0);
      });

      it('deletes history that ended before, and keeps what ended then or later', async () => {
        let source = await report(null, ['a', 'b', 'c'], STALE_AT);
        source = await report(source, ['b', 'c'], STALE_AT + 9);
        source = await report(source, ['c'], STALE_AT + 10);
        await report(source, [], STALE_AT + 11);
        expect(await store.prune(STALE_AT + 10, 1000)).to.equal(1);
        expect((await driftsOf(store, EVER)).map(({ name }) => name)).to.deep.equal(['b', 'c']);
        expect((await store.lapses(EVER)).map(({ to }) => to - STALE_AT)).to.deep.equal([10, 11]);
      });

      it('keeps sources, however old, with their open drifts', async () => {
        const source = await report(null, ['a'], NOW);
        expect(await store.prune(NOW + 1e12, 1000)).to.equal(0);
        expect(await loadAll(store)).to.deep.equal([source]);
      });

      it('keeps what is younger of a removed source', async () => {
        let source = await report(null, ['a', 'b'], NOW);
        source = await report(source, ['b'], NOW + 1);
        await store.commit([removalChange(source, NOW + 20)]);
        await store.prune(NOW + 10, 1000);
        expect(await driftsOf(store, EVER)).to.deep.equal([drift('b', 1, NOW, NOW + 20)]);
        await store.prune(NOW + 21, 1000);
        expect(await driftsOf(store, EVER)).to.deep.equal([]);
      });

      it('deletes a limited number of rows at a time, the oldest first, and says when it is done', async () => {
        const names = ['a', 'b', 'c', 'd', 'e'];
        let source = await report(null, names, NOW);
        for (let i = 1; i <= 5; i += 1) source = await report(source, names.slice(i), NOW + i);
        expect(await store.prune(NOW + 100, 2)).to.equal(2);
        expect((await driftsOf(store, EVER)).map(({ name }) => name)).to.deep.equal(['c', 'd', 'e']);
        expect(await store.prune(NOW + 100, 2)).to.equal(2);
        expect(await store.prune(NOW + 100, 2)).to.equal(1);
        expect(await driftsOf(store, EVER)).to.deep.equal([]);
        expect(await store.prune(NOW + 100, 2)).to.equal(0);
      });

      it('leaves the count of drifts to begin anew when no history is left', async () => {
        let source = await report(null, ['a'], NOW);
        source = await report(source, [], NOW + 1);
        await store.prune(NOW + 10, 1000);
        source = await report(source, ['a'], NOW + 20);
        expect(source.snapshot.files[0]?.times).to.equal(1);
        source = await report(source, [], NOW + 21);
        source = await report(source, ['a'], NOW + 22);
        expect(source.snapshot.files[0]?.times).to.equal(2);
      });
    });

    it('is ready while writes reach the disk', async () => {
      await store.ready();
      await store.ready();
      expect(await loadAll(store)).to.deep.equal([]);
    });

    function drift(name: string, times: number, openedAt: number, closedAt: number): ClosedDrift {
      return { repo: 'rsyslog', server: 'rsyslog-lab', name, times, openedAt, closedAt };
    }
  });
}

function kindOf(outcome: Outcome): string {
  return 'conflict' in outcome ? 'conflict' : 'done';
}
