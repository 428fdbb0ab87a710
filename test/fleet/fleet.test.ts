import { expect } from 'chai';
import type { Reporter } from '../../src/fleet/admission.ts';
import type { Accepted } from '../../src/fleet/batch.ts';
import { type Fleet, type FleetOptions, createFleet } from '../../src/fleet/fleet.ts';
import { Refusal } from '../../src/core/refusal.ts';
import { parseReport } from '../../src/core/report.ts';
import type { Source } from '../../src/fleet/source-index.ts';
import { toLimits } from '../../src/fleet/usage.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import {
  type Clock,
  type Disk,
  NOW,
  createClock,
  createDisk,
  makeFolder,
  reportOf,
  until,
  loadAll,
  expectUsage,
  driftsOf,
} from '../fixtures.ts';

const MIB = 1_048_576;
const MINUTE = 60_000;

describe('fleet', () => {
  let folder: ReturnType<typeof makeFolder>;
  let stored: Store;
  let disk: Disk;
  let clock: Clock;
  let commits: number[];
  let errors: string[];
  let fleets: Fleet[];
  let fleet: Fleet;

  beforeEach(async () => {
    folder = makeFolder();
    stored = await openSqlite(folder.path);
    disk = createDisk(stored);
    clock = createClock();
    commits = [];
    errors = [];
    fleets = [];
    fleet = await open();
  });
  afterEach(async () => {
    disk.heal();
    for (const each of fleets) await each.drain();
    await stored.close();
    folder.remove();
  });

  /** Another fleet over the same store is to this one as another process would be. */
  async function open(options: Partial<FleetOptions> = {}): Promise<Fleet> {
    const opened = await createFleet({
      store: disk.store,
      now: clock.now,
      monotonic: clock.monotonic,
      staleAfterMs: 10 * MINUTE,
      limits: toLimits(100, 500_000),
      commitTimeoutMs: 60_000,
      onCommit: (_, reports) => commits.push(reports),
      onStored: () => {},
      onRemoved: () => {},
      onStoreError: (operation, error) => errors.push(`${operation}: ${error.message}`),
      ...options,
    });
    fleets.push(opened);
    return opened;
  }

  function submit(
    names: readonly string[],
    changes: Record<string, unknown> = {},
    to = fleet,
    bytes = 200,
  ): Promise<Accepted> {
    return to.submit(parseReport(reportOf(names, changes), clock.now()), bytes);
  }

  function find(of = fleet): Source {
    const source = of.find('rsyslog', 'rsyslog-lab');
    if (source === undefined) throw new Error('no such source');
    return source;
  }

  /** Memory says what the disk says. */
  async function expectAgreement(of = fleet): Promise<void> {
    const inMemory = of.list().map(({ id, snapshot }) => ({ id, snapshot }));
    expect(inMemory).to.deep.equal(await loadAll(stored));
    expectUsage(of);
  }

  describe('a report', () => {
    it('is on disk and in memory when it is answered', async () => {
      const accepted = await submit(['a', 'b']);
      expect(accepted).to.deep.include({ result: 'created', previous: null, opened: ['a', 'b'], closed: [] });
      expect(find().snapshot).to.deep.equal(accepted.snapshot);
      expect(fleet.size).to.equal(1);
      await expectAgreement();
    });

    it('appears nowhere before its commit is on disk', async () => {
      disk.hang();
      const revision = fleet.revision;
      const answer = submit(['a']);
      await until(() => disk.calls.length > 0);
      expect(fleet.find('rsyslog', 'rsyslog-lab')).to.equal(undefined);
      expect([fleet.size, fleet.revision, fleet.list().length]).to.deep.equal([0, revision, 0]);
      disk.heal();
      await answer;
      expect(fleet.size).to.equal(1);
    });

    it('tells what it changed', async () => {
      const { snapshot: previous } = await submit(['a', 'b']);
      clock.advance(MINUTE);
      const accepted = await submit(['b', 'c'], { last_check: '2026-04-21T10:33:15Z' });
      expect(accepted).to.deep.include({ result: 'changed', previous, opened: ['c'] });
      expect(accepted.closed).to.deep.equal([{ name: 'a', since: NOW, times: 1 }]);
      expect(find().snapshot.version).to.equal(2);
      await expectAgreement();
    });

    it('has its drifts counted when it is answered', async () => {
      await submit(['a']);
      await submit([]);
      const { snapshot } = await submit(['a', 'b']);
      expect(snapshot.files.map(({ name, times }) => [name, times])).to.deep.equal([
        ['a', 2],
        ['b', 1],
      ]);
      await expectAgreement();
    });

    it('that is superseded writes nothing', async () => {
      await submit(['a']);
      const { revision } = fleet;
      const accepted = await submit([], { last_check: '2026-04-21T10:32:14Z' });
      expect(accepted).to.include({ result: 'superseded', snapshot: find().snapshot, previous: find().snapshot });
      expect(fleet.revision).to.equal(revision);
      expect(commits).to.deep.equal([1]);
      await expectAgreement();
    });

    it('is found by the next process', async () => {
      await submit(['a']);
      await submit([], { server: 'other' });
      const next = await open();
      expect(next.list().map(({ key }) => key)).to.deep.equal(fleet.list().map(({ key }) => key));
      await expectAgreement(next);
    });
  });

  describe('many reports at once', () => {
    it('share one commit', async () => {
      await Promise.all(Array.from({ length: 50 }, (_, i) => submit(['a'], { server: `s${i}` })));
      expect(commits).to.deep.equal([50]);
      await expectAgreement();
    });

    it('that arrive during a commit go into the next', async () => {
      disk.hang();
      const first = submit([], { server: 'first' });
      await until(() => disk.calls.length === 1);
      const others = Array.from({ length: 10 }, (_, i) => submit([], { server: `s${i}` }));
      disk.heal();
      await Promise.all([first, ...others]);
      expect(commits).to.deep.equal([1, 10]);
    });

    it('are split where there are very many', async () => {
      const wide = await open({ limits: toLimits(10_000, 500_000) });
      await Promise.all(Array.from({ length: 2500 }, (_, i) => submit([], { server: `s${i}` }, wide)));
      expect(commits.reduce((sum, count) => sum + count)).to.equal(2500);
      expect(Math.max(...commits)).to.be.at.most(1000);
      await expectAgreement(wide);
    });

    it('of one source are taken in their order, each after the one before it', async () => {
      const seconds = [10, 11, 12, 11, 13];
      const answers = await Promise.all(
        seconds.map((second, i) => submit([`file-${i}`], { last_check: `2026-04-21T10:32:${second}Z` })),
      );
      expect(answers.map(({ result }) => result)).to.deep.equal([
        'created',
        'changed',
        'changed',
        'superseded',
        'changed',
      ]);
      expect(answers.map(({ previous }) => previous?.files[0]?.name)).to.deep.equal([
        undefined,
        'file-0',
        'file-1',
        'file-2',
        'file-2',
      ]);
      expect(find().snapshot).to.deep.include({ version: 4, lastCheck: '2026-04-21T10:32:13Z' });
      const drifts = await driftsOf(stored, { from: 0, to: NOW + 1 });
      expect(drifts.map(({ name }) => name)).to.deep.equal(['file-0', 'file-1', 'file-2']);
      await expectAgreement();
    });
  });

  describe('removal', () => {
    it('forgets the sources, on disk and in memory', async () => {
      await submit(['a']);
      await submit([], { server: 'other' });
      expect(await fleet.remove([find()])).to.equal(1);
      expect(fleet.find('rsyslog', 'rsyslog-lab')).to.equal(undefined);
      expect(fleet.size).to.equal(1);
      expect(fleet.fileSpread.drifted('rsyslog', 'a')).to.equal(0);
      await expectAgreement();
    });

    it('ends drifts and lapse at the time of the removal', async () => {
      await submit(['a']);
      clock.advance(20 * MINUTE);
      await fleet.remove([find()]);
      const [drift] = await driftsOf(stored, { from: 0, to: clock.now() });
      expect(drift).to.include({ name: 'a', openedAt: NOW, closedAt: NOW + 20 * MINUTE });
      const [lapse] = await stored.lapses({ from: 0, to: clock.now() });
      expect(lapse).to.include({ from: NOW - 5000 + 10 * MINUTE, to: NOW + 20 * MINUTE });
    });

    it('counts only once what two ask for at once', async () => {
      await submit([]);
      const counts = await Promise.all([fleet.remove([find()]), fleet.remove([find()])]);
      expect(counts).to.have.members([0, 1]);
    });

    it('counts nothing for what is gone already', async () => {
      await submit([]);
      const source = find();
      await fleet.remove([source]);
      expect(await fleet.remove([source])).to.equal(0);
      await submit([]);
      expect(await fleet.remove([source]), 'nor another life of it').to.equal(0);
      expect(fleet.size).to.equal(1);
    });

    it('is followed by a new life', async () => {
      const { snapshot } = await submit(['a']);
      await fleet.remove([find()]);
      clock.advance(1000);
      const accepted = await submit(['a']);
      expect(accepted).to.include({ result: 'created', previous: null });
      expect(accepted.snapshot).to.include({ version: 1, firstSeen: snapshot.firstSeen + 1000 });
      await expectAgreement();
    });

    it('keeps a source that nobody wants gone any more when its turn comes', async () => {
      await submit([]);
      clock.advance(20 * MINUTE);
      const isStale = ({ snapshot }: Source): boolean => clock.now() >= snapshot.staleAt;
      const [, removed] = await Promise.all([
        submit([], { last_check: '2026-04-21T10:52:15Z' }),
        fleet.remove([find()], isStale),
      ]);
      expect(removed).to.equal(0);
      expect(find().snapshot.version).to.equal(2);
      await expectAgreement();
    });

    it('takes its place in the order of the reports', async () => {
      const answers = await Promise.all([submit(['a']), submit(['b'])]);
      const source = find();
      const removed = fleet.remove([source]);
      const again = submit(['c']);
      expect(await removed).to.equal(1);
      expect((await again).result).to.equal('created');
      expect(answers.map(({ result }) => result)).to.deep.equal(['created', 'changed']);
      await expectAgreement();
    });

    it('of very many lets reports through meanwhile', async () => {
      const large = await open({ limits: toLimits(4000, 500_000) });
      await Promise.all(Array.from({ length: 3000 }, (_, i) => submit([], { server: `s${i}` }, large)));
      const removed = large.remove(large.list());
      await submit([], { server: 'new' }, large);
      expect(large.size).to.be.greaterThan(1000);
      expect(await removed).to.equal(3000);
      expect(large.list().map(({ snapshot }) => snapshot.server)).to.deep.equal(['new']);
    });

    it('of very many goes on with those that could be removed when some could not', async () => {
      const large = await open({ limits: toLimits(4000, 500_000) });
      await Promise.all(Array.from({ length: 1200 }, (_, i) => submit([], { server: `s${i}` }, large)));
      disk.fail('full');
      expect(await refusalOf(large.remove(large.list()))).to.include({ reason: 'store_unavailable' });
      disk.heal();
      expect(await large.remove(large.list())).to.equal(1200);
    });

    it('of nothing is done at once', async () => {
      expect(await fleet.remove([])).to.equal(0);
      expect(commits).to.deep.equal([]);
    });
  });

  describe('the limit of sources', () => {
    it('refuses a new source beyond it, and lets known ones go on', async () => {
      const small = await open({ limits: toLimits(2, 500_000) });
      await submit([], { server: 'a' }, small);
      await submit([], { server: 'b' }, small);
      const refusal = await refusalOf(submit([], { server: 'c' }, small));
      expect(refusal).to.include({ reason: 'too_many_sources' });
      expect((await submit(['x'], { server: 'a' }, small)).result).to.equal('changed');
      await expectAgreement(small);
    });

    it('is kept by new sources that arrive together', async () => {
      const small = await open({ limits: toLimits(3, 500_000) });
      const answers = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) => submit([], { server: `s${i % 4}` }, small)),
      );
      expect(answers.map(({ status }) => status).filter((status) => status === 'fulfilled')).to.have.length(6);
      expect(small.size).to.equal(3);
      await expectAgreement(small);
    });

    it('has room again after a removal, and after a report that failed', async () => {
      const small = await open({ limits: toLimits(1, 500_000) });
      disk.fail('disk full');
      await refusalOf(submit([], {}, small));
      disk.heal();
      await submit([], {}, small);
      await small.remove([find(small)]);
      await submit([], { server: 'another' }, small);
      await expectAgreement(small);
    });
  });

  describe('the limits of text', () => {
    const limits = { maxSources: 100, maxOpenDrifts: 100, maxNameBytes: 1_000_000, maxTextBytes: 1_000_000 };

    it('of names is reached to the byte, and not exceeded', async () => {
      const small = await open({ limits: { ...limits, maxNameBytes: 10 } });
      await submit(['a', 'b2'], {}, small);
      expect(await refusalOf(submit(['12345678'], { server: 'other' }, small))).to.include({ reason: 'too_much_text' });
      await submit(['1234567'], { server: 'other' }, small);
      expect(small.usage.nameBytes).to.equal(10);
      expect(await refusalOf(submit(['a', 'b23'], {}, small))).to.include({ reason: 'too_much_text' });
      await submit(['c', 'b2'], {}, small);
      await expectAgreement(small);
    });

    it('of everything else is reached to the byte, and not exceeded', async () => {
      const ofOne = 'rsyslog'.length + 'rsyslog-lab'.length + '2026-04-21T10:32:15Z'.length;
      const small = await open({ limits: { ...limits, maxTextBytes: ofOne + 'abc'.length + 'https://ci'.length } });
      await submit([], { commit: 'abc', pipeline_url: 'https://ci' }, small);
      for (const change of [{ commit: 'abcd' }, { pipeline_url: 'https://ci1' }]) {
        const changes = { commit: 'abc', pipeline_url: 'https://ci', ...change };
        expect(await refusalOf(submit([], changes, small))).to.include({ reason: 'too_much_text' });
      }
      await submit([], { commit: 'abcd', pipeline_url: 'https://c' }, small);
      await expectAgreement(small);
    });
  });

  it('reads only so many drifts from the disk for one batch, where more are stored than memory may hold', async () => {
    const SERVERS = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const names = Array.from({ length: 10_000 }, (_, i) => `${i}`);
    for (const server of SERVERS) await submit(names, { server });
    const calls: string[] = [];
    const store: Store = {
      ...stored,
      source(...name) {
        calls.push('read');
        return stored.source(...name);
      },
      commit(changes) {
        calls.push('commit');
        return stored.commit(changes);
      },
    };
    const small = await open({ store, limits: toLimits(100, 100) });
    const answers = await Promise.all(SERVERS.map((server) => submit([], { server }, small)));
    expect(new Set(answers.map(({ result }) => result))).to.deep.equal(new Set(['changed']));
    const reads = (calls.join(' ').match(/(read ?)+/g) ?? []).map((each) => each.trim().split(' ').length);
    expect(reads.reduce((sum, each) => sum + each, 0)).to.equal(SERVERS.length);
    expect(Math.max(...reads)).to.be.lessThan(6);
    expect(small.usage.openDrifts).to.equal(0);
  });

  describe('the share of a token', () => {
    const reporter = (name: string, maxSources?: number, maxOpenDrifts?: number): Reporter => ({
      name,
      maxSources,
      maxOpenDrifts,
    });

    function submitWith(by: Reporter, server: string, names: readonly string[] = []): Promise<Accepted> {
      return fleet.submit(parseReport(reportOf(names, { server }), clock.now()), 200, by);
    }

    it('has the room, within a batch, of what another token takes over in it', async () => {
      const [one, few, other] = [reporter('one', 1), reporter('few', undefined, 3), reporter('other')];
      await submitWith(one, 'a');
      await submitWith(few, 'b', ['x', 'y']);
      const batches = commits.length;
      await Promise.all([
        submitWith(other, 'a'),
        submitWith(one, 'c'),
        submitWith(other, 'b', ['x', 'y']),
        submitWith(few, 'd', ['x', 'y', 'z']),
      ]);
      expect(commits).to.have.lengthOf(batches + 1);
      expect(fleet.usage.shareOf('one')).to.deep.equal({ sources: 1, drifts: 0 });
      expect(fleet.usage.shareOf('few')).to.deep.equal({ sources: 1, drifts: 3 });
      expect(fleet.usage.shareOf('other')).to.deep.equal({ sources: 2, drifts: 2 });
    });

    it('is not made smaller by another life of a source', async () => {
      const one = reporter('one', 1);
      for (let i = 0; i < 3; i += 1) {
        await submitWith(one, 'a', ['x']);
        expect(await refusalOf(submitWith(one, 'b'))).to.include({ reason: 'too_many_sources' });
        await fleet.remove(fleet.list());
        expect(fleet.usage.shareOf('one')).to.deep.equal({ sources: 0, drifts: 0 });
      }
    });
  });

  describe('a disk that fails', () => {
    it('refuses each waiting report, with no internal message', async () => {
      disk.fail('database or disk is full');
      const refusals = await Promise.all(['a', 'b', 'c'].map((server) => refusalOf(submit([], { server }))));
      for (const refusal of refusals) {
        expect(refusal).to.include({ reason: 'store_unavailable' });
        expect(refusal.message).not.to.include('disk is full');
      }
      expect(errors).to.deep.equal(['commit: database or disk is full']);
    });

    it('leaves memory as it was', async () => {
      const { snapshot } = await submit(['a']);
      const { revision } = fleet;
      disk.fail('disk full');
      await refusalOf(submit(['b']));
      await refusalOf(submit([], { server: 'new' }));
      await refusalOf(fleet.remove([find()]));
      expect(find().snapshot).to.equal(snapshot);
      expect([fleet.size, fleet.revision]).to.deep.equal([1, revision]);
      expect(fleet.fileSpread.drifted('rsyslog', 'b')).to.equal(0);
      await expectAgreement();
    });

    it('is told as a failure from the first write that failed to the next that succeeds', async () => {
      expect(fleet.failure).to.equal(undefined);
      disk.fail('disk full');
      await refusalOf(submit([]));
      clock.advance(MINUTE);
      disk.fail('input/output error');
      await refusalOf(submit([]));
      expect(fleet.failure).to.deep.equal({ reason: 'input/output error', since: NOW });
      disk.heal();
      await submit([]);
      expect(fleet.failure).to.equal(undefined);
      await expectAgreement();
    });

    it('has the same report taken when it is sent again', async () => {
      await submit(['a']);
      disk.fail('disk full');
      await refusalOf(submit(['b']));
      disk.heal();
      expect(await submit(['b'])).to.deep.include({ result: 'changed', opened: ['b'] });
      expect(find().snapshot.version).to.equal(2);
      await expectAgreement();
    });

    it('does not keep a superseded report from its answer', async () => {
      await submit(['a']);
      disk.fail('disk full');
      expect((await submit([], { last_check: '2026-04-21T10:00:00Z' })).result).to.equal('superseded');
    });
  });

  describe('a disk that hangs', function () {
    this.timeout(60_000);
    // long enough for a real commit on a busy machine, short enough to wait for
    const commitTimeoutMs = 3000;

    it('lets nothing wait longer than the timeout; what was in the queue is not stored', async () => {
      const hasty = await open({ commitTimeoutMs });
      disk.hang();
      const inFlight = refusalOf(submit(['a'], { server: 'in-flight' }, hasty));
      await until(() => disk.calls.length === 1);
      const queued = refusalOf(submit(['a'], { server: 'queued' }, hasty));
      for (const refusal of await Promise.all([inFlight, queued])) {
        expect(refusal).to.include({ reason: 'store_unavailable' });
      }
      expect((await inFlight).message).to.include('may still be stored');
      expect((await queued).message).to.include('was not stored');
      expect(hasty.failure?.reason).to.include('no answer from the store within 3 s');
      expect(hasty.size).to.equal(0);

      disk.heal();
      await submit([], { server: 'next' }, hasty);
      expect(hasty.list().map(({ snapshot }) => snapshot.server)).to.deep.equal(['in-flight', 'next']);
      expect(hasty.failure).to.equal(undefined);
      await expectAgreement(hasty);
    });

    it('gets only so many bytes in one commit, and one work at least', async () => {
      const sizes: number[] = [];
      const other = await open({ onCommit: (_ms, reports) => sizes.push(reports) });
      disk.hang();
      const calls = disk.calls.length;
      const inFlight = submit([], { server: 'in-flight' }, other);
      await until(() => disk.calls.length > calls);
      const queued = Array.from({ length: 10 }, (_, i) => submit([], { server: `large-${i}` }, other, 3 * MIB));
      queued.push(submit([], { server: 'larger' }, other, 64 * MIB), submit([], { server: 'last' }, other, 1));
      disk.heal();
      await Promise.all([inFlight, ...queued]);
      expect(sizes).to.deep.equal([1, 3, 3, 3, 2, 1]);
    });
  });

  describe('the probe', () => {
    it('does not write when a write has just succeeded', async () => {
      await fleet.probe();
      await submit([]);
      clock.advance(4000);
      await fleet.probe();
      expect(disk.calls).to.deep.equal(['commit']);
    });

    it('writes when the last success is some time ago', async () => {
      clock.advance(5000);
      await fleet.probe();
      await fleet.probe();
      expect(disk.calls).to.deep.equal(['ready']);
    });

    it('writes once for all who ask at the same time', async () => {
      clock.advance(5000);
      await Promise.all([fleet.probe(), fleet.probe(), fleet.probe()]);
      expect(disk.calls).to.deep.equal(['ready']);
    });

    it('names the reason while writing fails, and recovers by itself', async () => {
      disk.fail('disk full');
      await refusalOf(submit([]));
      for (let i = 0; i < 2; i += 1) {
        const refusal = await refusalOf(fleet.probe());
        expect(refusal).to.include({ reason: 'store_unavailable' });
        expect(refusal.message).to.include('disk full');
      }
      disk.heal();
      await fleet.probe();
      expect(fleet.failure).to.equal(undefined);
      expect(errors).to.deep.equal(['commit: disk full', 'ready: disk full', 'ready: disk full']);
    });

    it('finds a failure that no report has met', async () => {
      clock.advance(5000);
      disk.fail('read-only file system');
      await refusalOf(fleet.probe());
      expect(fleet.failure).to.deep.equal({ reason: 'read-only file system', since: clock.now() });
    });

    it('does not wait for a disk that hangs', async () => {
      clock.advance(5000);
      disk.hang();
      const refusal = await refusalOf(fleet.probe());
      expect(refusal.message).to.include('no answer from the store within 2 s');
    });
  });

  describe('the end', () => {
    it('comes when all that waits is on disk', async () => {
      disk.hang();
      const answers = ['a', 'b'].map((server) => submit([], { server }));
      await until(() => disk.calls.length === 1);
      const late = submit([], { server: 'c' });
      const drained = fleet.drain();
      disk.heal();
      await drained;
      await Promise.all([...answers, late]);
      expect(await loadAll(stored)).to.have.length(3);
    });

    it('refuses whatever comes later', async () => {
      await submit([]);
      await fleet.drain();
      for (const answer of [submit([]), fleet.remove([find()]), fleet.probe()]) {
        expect(await refusalOf(answer)).to.include({ reason: 'store_unavailable', message: 'The service is stopping' });
      }
    });
  });

  describe('another process on the same store', () => {
    let other: Fleet;
    beforeEach(async () => {
      other = await open();
    });

    it('that was first with a source makes the report its second', async () => {
      const { snapshot } = await submit(['a'], {}, other);
      const accepted = await submit(['a', 'b']);
      expect(accepted).to.deep.include({ result: 'changed', previous: snapshot, opened: ['b'], closed: [] });
      expect(find().snapshot.version).to.equal(2);
      await expectAgreement();
    });

    it('that has a newer check makes the report superseded', async () => {
      await submit(['a']);
      await submit([], { last_check: '2026-04-21T10:32:20Z' }, other);
      const accepted = await submit(['a', 'b'], { last_check: '2026-04-21T10:32:19Z' });
      expect(accepted.result).to.equal('superseded');
      expect(find().snapshot).to.include({ version: 2, toldStatus: 'SYNCED' });
      await expectAgreement();
    });

    it('that has removed the source makes the report its first', async () => {
      await submit(['a']);
      const again = await open();
      await again.remove([find(again)]);
      expect(await submit(['a'])).to.deep.include({ result: 'created', previous: null, opened: ['a'] });
      await expectAgreement();
    });

    it('that has removed the source leaves nothing to remove', async () => {
      await submit(['a']);
      const again = await open();
      await again.remove([find(again)]);
      expect(await fleet.remove([find()])).to.equal(0);
      expect(fleet.size).to.equal(0);
    });

    it('that has removed it and made it anew keeps its new life', async () => {
      await submit(['a']);
      const again = await open();
      await again.remove([find(again)]);
      await submit(['b'], {}, again);
      expect(await fleet.remove([find()])).to.equal(0);
      await expectAgreement();
      expect(find().snapshot.files.map(({ name }) => name)).to.deep.equal(['b']);
    });

    it('that has reported meanwhile does not keep a source from its removal', async () => {
      await submit(['a']);
      await submit([], {}, await open());
      expect(await fleet.remove([find()])).to.equal(1);
      await expectAgreement();
    });

    it('that has reported meanwhile keeps a source from a removal that is then not wanted', async () => {
      await submit(['a']);
      await submit([], {}, await open());
      expect(await fleet.remove([find()], ({ snapshot }) => snapshot.toldStatus === 'OUT_OF_SYNC')).to.equal(0);
      expect(find().snapshot.toldStatus).to.equal('SYNCED');
      await expectAgreement();
    });

    it('does not keep the others of the batch waiting for another try', async () => {
      await submit([], {}, other);
      const answers = await Promise.all([submit(['a']), submit([], { server: 'free' })]);
      expect(answers.map(({ result }) => result)).to.deep.equal(['changed', 'created']);
      await expectAgreement();
    });

    it('loses no report when both report the same source as fast as they can', async () => {
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, i) => submit([`file-${i}`], {}, i % 2 === 0 ? fleet : other)),
      );
      const results = answers.map(({ result }) => result).toSorted();
      expect(results).to.deep.equal([...Array.from({ length: 39 }, () => 'changed'), 'created']);
      const [source] = await loadAll(stored);
      expect(source?.snapshot.version).to.equal(40);
      expect(await driftsOf(stored, { from: 0, to: NOW + 1 })).to.have.length(39);
    });
  });
});

async function refusalOf(promise: Promise<unknown>): Promise<Refusal> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error('it succeeded');
}
