import { expect } from 'chai';
import { createObservers } from '../../src/observers.ts';
import {
  type Housekeeping,
  type HousekeepingOptions,
  createHousekeeping,
  prune,
  startHousekeeping,
} from '../../src/fleet/housekeeping.ts';
import { toIso } from '../../src/core/timestamp.ts';
import { parseReport } from '../../src/core/report.ts';
import {
  type Disk,
  type Service,
  createDisk,
  reportOf,
  startService,
  until,
  loadAll,
  driftsOf,
  makeFolder,
} from '../fixtures.ts';
import type { Store } from '../../src/store/store.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const EVER = { from: 0, to: Number.MAX_SAFE_INTEGER };

describe('housekeeping', () => {
  let service: Service;
  let disk: Disk;
  let folder: ReturnType<typeof makeFolder>;
  beforeEach(async () => {
    folder = makeFolder();
    service = await startService({ dataDir: folder.path, wrapStore });
  });
  afterEach(async () => {
    await service.stop();
    folder.remove();
  });

  function wrapStore(store: Store): Store {
    disk = createDisk(store);
    return disk.store;
  }

  function options(changes: Partial<HousekeepingOptions> = {}): HousekeepingOptions {
    const { fleet, store, clock, metrics, logger } = service;
    return {
      fleet,
      store,
      now: clock.now,
      monotonic: clock.monotonic,
      expireAfterMs: undefined,
      historyRetentionMs: 90 * 24 * HOUR,
      ...createObservers(logger, metrics, service.events, clock.now),
      ...changes,
    };
  }

  async function report(server: string, names: readonly string[] = [], changes = {}): Promise<void> {
    const last_check = toIso(service.clock.now());
    const answer = await service.post(reportOf(names, { server, last_check, ...changes }));
    expect(answer.ok).to.equal(true);
  }

  const servers = (): string[] => service.fleet.list().map(({ snapshot }) => snapshot.server);
  const logged = (message: RegExp): Record<string, unknown>[] =>
    service.log.filter(({ msg }) => message.test(String(msg)));

  /** One that has begun at this moment. */
  const housekeeping = (changes: Partial<HousekeepingOptions>): Housekeeping => createHousekeeping(options(changes));

  /** Lets time pass, with a pass every minute, as a service does. */
  async function live({ pass }: Housekeeping, ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += MINUTE) {
      service.clock.advance(Math.min(MINUTE, ms - passed));
      await pass();
    }
  }

  /** All that is stored, as after a restart that took no time. */
  async function restart(): Promise<void> {
    await service.stop();
    service = await startService({ dataDir: folder.path, clock: service.clock, wrapStore });
  }

  describe('expiry', () => {
    it('forgets a source that long after its last report, and not before', async () => {
      const keeper = housekeeping({ expireAfterMs: 2 * HOUR });
      await report('old');
      await live(keeper, MINUTE);
      await report('young');
      await live(keeper, 2 * HOUR - MINUTE);
      expect(servers()).to.deep.equal(['old', 'young']);
      service.clock.advance(1);
      await keeper.pass();
      expect(servers()).to.deep.equal(['young']);
      expect((await loadAll(service.store)).map(({ snapshot }) => snapshot.server)).to.deep.equal(['young']);
    });

    it('keeps a source whose check is old but whose report is new', async () => {
      const keeper = housekeeping({ expireAfterMs: HOUR });
      const { status } = await service.post(reportOf([], { last_check: '2020-01-01T00:00:00Z' }));
      expect(status).to.equal(201);
      await live(keeper, HOUR);
      expect(service.fleet.size).to.equal(1);
    });

    it('keeps a source whose reports are superseded', async () => {
      const keeper = housekeeping({ expireAfterMs: HOUR });
      await report('lab');
      for (let minutes = 0; minutes < 90; minutes += 30) {
        await live(keeper, HOUR / 2);
        await service.post(reportOf([], { server: 'lab', last_check: '2020-01-01T00:00:00Z' }));
      }
      expect(service.fleet.size).to.equal(1);
    });

    it('forgets nothing when it is off', async () => {
      const keeper = housekeeping({});
      await report('old');
      service.clock.advance(1e11);
      await keeper.pass();
      await keeper.pass();
      expect(servers()).to.deep.equal(['old']);
    });

    it('says which sources it forgot', async () => {
      const { pass } = housekeeping({ expireAfterMs: HOUR });
      await report('a');
      await report('b');
      service.clock.advance(2 * HOUR);
      await pass();
      expect(logged(/^forgot sources/)).to.have.length(1);
      expect(logged(/^forgot sources/)[0]).to.deep.include({ removed: 2, sources: ['rsyslog a', 'rsyslog b'] });
    });

    it('keeps a source whose report is still waiting for the disk, and does not say that it forgot it', async () => {
      const { fleet, clock } = service;
      const { pass } = housekeeping({ expireAfterMs: HOUR });
      await report('late');
      await report('gone');
      clock.advance(2 * HOUR);
      disk.hang();
      const commits = disk.calls.length;
      const other = report('other');
      await until(() => disk.calls.length > commits);
      const last_check = toIso(clock.now());
      const late = fleet.submit(parseReport(reportOf([], { server: 'late', last_check }), clock.now()), 200);
      const expired = pass();
      disk.heal();
      await Promise.all([other, late, expired]);
      expect(servers()).to.deep.equal(['late', 'other']);
      expect(logged(/^forgot sources/)[0]).to.deep.include({ removed: 1, sources: ['rsyslog gone'] });
    });

    it('gives sources an hour to report after the service was down for longer', async () => {
      await report('back');
      await report('silent');
      service.clock.advance(30 * DAY);
      await restart();
      const keeper = housekeeping({ expireAfterMs: DAY });
      await keeper.pass();
      await live(keeper, HOUR / 2);
      await report('back');
      await live(keeper, HOUR / 2 - MINUTE);
      expect(servers()).to.deep.equal(['back', 'silent']);
      await live(keeper, MINUTE);
      expect(servers()).to.deep.equal(['back']);
    });

    it('gives them EXPIRE_AFTER if that is shorter', async () => {
      await report('silent');
      service.clock.advance(DAY);
      await restart();
      const keeper = housekeeping({ expireAfterMs: 20 * MINUTE });
      await live(keeper, 19 * MINUTE);
      expect(service.fleet.size).to.equal(1);
      await live(keeper, MINUTE);
      expect(service.fleet.size).to.equal(0);
    });

    it('gives a source its own interval if that is longer', async () => {
      await report('weekly', [], { stale_after_seconds: 7200 });
      service.clock.advance(30 * DAY);
      await restart();
      const keeper = housekeeping({ expireAfterMs: DAY });
      await live(keeper, 2 * HOUR - MINUTE);
      expect(service.fleet.size).to.equal(1);
      await live(keeper, MINUTE);
      expect(service.fleet.size).to.equal(0);
    });

    it('counts silence across restarts', async () => {
      await report('silent');
      for (let weeks = 0; weeks < 4; weeks += 1) {
        service.clock.advance(7 * DAY);
        await restart();
        await live(housekeeping({ expireAfterMs: 30 * DAY }), 2 * HOUR);
        expect(service.fleet.size).to.equal(1);
      }
      service.clock.advance(7 * DAY);
      await restart();
      await live(housekeeping({ expireAfterMs: 30 * DAY }), 2 * HOUR);
      expect(service.fleet.size).to.equal(0);
    });
  });

  describe('a clock that is set', () => {
    const KEPT = { expireAfterMs: DAY, historyRetentionMs: DAY };
    const warnings = (): unknown[] => logged(/^the clock was set/).map((line) => line.moved_seconds);

    beforeEach(async () => {
      await report('lab', ['a']);
      await report('lab', []);
    });

    for (const hours of [48, -48]) {
      it(`by ${hours} hours for a minute makes nothing be forgotten, and is logged`, async () => {
        await restart();
        const keeper = housekeeping(KEPT);
        await live(keeper, 2 * HOUR);
        service.clock.set(service.clock.now() + hours * HOUR);
        await live(keeper, MINUTE);
        service.clock.set(service.clock.now() - hours * HOUR);
        await live(keeper, 2 * HOUR);
        expect(service.fleet.size).to.equal(1);
        expect(await driftsOf(service.store, EVER)).to.have.length(1);
        expect(warnings()).to.deep.equal([hours * 3600, -hours * 3600]);
      });
    }

    it('forward does not add to the silence of a source', async () => {
      await restart();
      const keeper = housekeeping(KEPT);
      await report('heard');
      service.clock.set(service.clock.now() + 48 * HOUR);
      await live(keeper, 3 * HOUR);
      expect(servers()).to.deep.equal(['lab', 'heard'].toSorted());
    });

    it('keeps history for an hour more', async () => {
      const keeper = housekeeping(KEPT);
      await live(keeper, 2 * HOUR);
      service.clock.set(service.clock.now() + 48 * HOUR);
      await live(keeper, HOUR);
      expect(await driftsOf(service.store, EVER)).to.have.length(1);
      await live(keeper, MINUTE);
      expect(await driftsOf(service.store, EVER)).to.have.length(0);
    });

    it('by less than a minute is nothing', async () => {
      const keeper = housekeeping(KEPT);
      service.clock.set(service.clock.now() + MINUTE);
      await live(keeper, MINUTE);
      service.clock.set(service.clock.now() - MINUTE);
      await live(keeper, MINUTE);
      expect(warnings()).to.deep.equal([]);
    });
  });

  describe('retention', () => {
    it('deletes history that ended before, and leaves the rest', async () => {
      for (const name of ['a', 'b', 'c']) {
        await report('lab', [name]);
        service.clock.advance(HOUR);
      }
      // a ended 2 hours ago, b 1 hour ago, c is open
      await prune(options({ historyRetentionMs: 1.5 * HOUR }), () => false);
      expect((await driftsOf(service.store, EVER)).map(({ name }) => name)).to.deep.equal(['b']);
      expect(service.fleet.list()[0]?.snapshot.files.map(({ name }) => name)).to.deep.equal(['c']);
      expect(logged(/^forgot history/)).to.have.length(1);
    });

    it('says nothing when there was nothing to delete', async () => {
      await report('lab', ['a']);
      await prune(options(), () => false);
      expect(logged(/^forgot history/)).to.deep.equal([]);
    });

    it('works in small transactions until it is done', async () => {
      const names = Array.from({ length: 2500 }, (_, i) => `f${i}`);
      await report('lab', names);
      await report('lab', []);
      service.clock.advance(2 * HOUR);
      await prune(options({ historyRetentionMs: HOUR }), () => false);
      expect(disk.calls.filter((call) => call === 'prune')).to.have.length(3);
      expect(await driftsOf(service.store, EVER)).to.deep.equal([]);
      expect(logged(/^forgot history/)[0]).to.include({ rows: 2500 });
    });

    it('ends between two transactions when the service stops', async () => {
      await report(
        'lab',
        Array.from({ length: 2500 }, (_, i) => `f${i}`),
      );
      await report('lab', []);
      service.clock.advance(2 * HOUR);
      await prune(options({ historyRetentionMs: HOUR }), () => disk.calls.includes('prune'));
      expect(disk.calls.filter((call) => call === 'prune')).to.have.length(1);
      expect(await driftsOf(service.store, EVER)).to.have.length(1500);
    });
  });

  describe('by itself', () => {
    it('deletes nothing of the past in the first hour', async () => {
      await report('lab', ['a']);
      await report('lab', []);
      service.clock.advance(2 * DAY);
      const keeper = housekeeping({ historyRetentionMs: DAY });
      await live(keeper, HOUR - MINUTE);
      expect(await driftsOf(service.store, EVER)).to.have.length(1);
      await live(keeper, MINUTE);
      expect(await driftsOf(service.store, EVER)).to.have.length(0);
    });

    it('begins at once', async () => {
      const { fleet, clock } = service;
      await report('lab');
      const started = options({ expireAfterMs: HOUR });
      clock.advance(2 * HOUR);
      const keeper = startHousekeeping(started);
      await until(() => logged(/^forgot sources/).length > 0);
      keeper.stop();
      expect(fleet.size).to.equal(0);
    });

    it('counts and logs a failure, and lets the service go on', async () => {
      const keeper = housekeeping({});
      service.clock.advance(HOUR);
      disk.fail('disk full');
      await keeper.pass();
      expect(logged(/^housekeeping failed/)).to.have.length(1);
      disk.heal();
      const metrics = await (await service.request('/metrics')).text();
      expect(metrics).to.include('gitops_store_errors_total{operation="prune"} 1\n');
      await report('lab');
    });
  });
});
