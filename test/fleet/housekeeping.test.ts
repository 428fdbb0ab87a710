import { expect } from 'chai';
import { createObservers } from '../../src/observers.ts';
import { type HousekeepingOptions, expire, prune, startHousekeeping } from '../../src/fleet/housekeeping.ts';
import { toIso } from '../../src/core/timestamp.ts';
import { parseReport } from '../../src/core/report.ts';
import { type Disk, type Service, createDisk, reportOf, startService, until, loadAll, driftsOf } from '../fixtures.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const EVER = { from: 0, to: Number.MAX_SAFE_INTEGER };

describe('housekeeping', () => {
  let service: Service;
  let disk: Disk;
  beforeEach(async () => {
    service = await startService({
      wrapStore(store) {
        disk = createDisk(store);
        return disk.store;
      },
    });
  });
  afterEach(() => service.stop());

  function options(changes: Partial<HousekeepingOptions> = {}): HousekeepingOptions {
    const { fleet, store, clock, metrics, logger } = service;
    return {
      fleet,
      store,
      now: clock.now,
      expireAfterMs: undefined,
      historyRetentionMs: 90 * 24 * HOUR,
      ...createObservers(logger, metrics),
      ...changes,
    };
  }

  async function report(server: string, names: readonly string[] = []): Promise<void> {
    const last_check = toIso(service.clock.now());
    const answer = await service.post(reportOf(names, { server, last_check }));
    expect(answer.ok).to.equal(true);
  }

  const servers = (): string[] => service.fleet.list().map(({ snapshot }) => snapshot.server);
  const logged = (message: RegExp): Record<string, unknown>[] =>
    service.log.filter(({ msg }) => message.test(String(msg)));

  describe('expiry', () => {
    it('forgets a source that long after its last report, and not before', async () => {
      await report('old');
      service.clock.advance(MINUTE);
      await report('young');
      service.clock.advance(24 * HOUR - MINUTE);
      await expire(options({ expireAfterMs: 24 * HOUR }));
      expect(servers()).to.deep.equal(['old', 'young']);
      service.clock.advance(1);
      await expire(options({ expireAfterMs: 24 * HOUR }));
      expect(servers()).to.deep.equal(['young']);
      expect((await loadAll(service.store)).map(({ snapshot }) => snapshot.server)).to.deep.equal(['young']);
    });

    it('keeps a source whose check is old but whose report is new', async () => {
      const { status } = await service.post(reportOf([], { last_check: '2020-01-01T00:00:00Z' }));
      expect(status).to.equal(201);
      await expire(options({ expireAfterMs: HOUR }));
      expect(service.fleet.size).to.equal(1);
    });

    it('forgets nothing when it is off', async () => {
      await report('old');
      service.clock.advance(1e11);
      await expire(options());
      expect(servers()).to.deep.equal(['old']);
    });

    it('says which sources it forgot', async () => {
      await report('a');
      await report('b');
      service.clock.advance(2 * HOUR);
      await expire(options({ expireAfterMs: HOUR }));
      expect(logged(/^forgot sources/)).to.have.length(1);
      expect(logged(/^forgot sources/)[0]).to.deep.include({ removed: 2, sources: ['rsyslog a', 'rsyslog b'] });
    });

    it('keeps a source whose report is still waiting for the disk, and does not say that it forgot it', async () => {
      const { fleet, clock } = service;
      await report('late');
      await report('gone');
      clock.advance(2 * HOUR);
      disk.hang();
      const commits = disk.calls.length;
      const other = report('other');
      await until(() => disk.calls.length > commits);
      const last_check = toIso(clock.now());
      const late = fleet.submit(parseReport(reportOf([], { server: 'late', last_check }), clock.now()), 200);
      const expired = expire(options({ expireAfterMs: HOUR }));
      disk.heal();
      await Promise.all([other, late, expired]);
      expect(servers()).to.deep.equal(['late', 'other']);
      expect(logged(/^forgot sources/)[0]).to.deep.include({ removed: 1, sources: ['rsyslog gone'] });
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
    it('begins at once, with both', async () => {
      await report('lab', ['a']);
      await report('lab', []);
      service.clock.advance(2 * HOUR);
      const housekeeping = startHousekeeping(options({ expireAfterMs: HOUR, historyRetentionMs: HOUR }));
      await until(() => logged(/^forgot history/).length > 0);
      housekeeping.stop();
      expect(service.fleet.size).to.equal(0);
    });

    it('counts and logs a failure, and lets the service go on', async () => {
      disk.fail('disk full');
      const housekeeping = startHousekeeping(options());
      await until(() => logged(/^housekeeping failed/).length > 0);
      housekeeping.stop();
      disk.heal();
      const metrics = await (await service.request('/metrics')).text();
      expect(metrics).to.include('gitops_store_errors_total{operation="prune"} 1\n');
      await report('lab');
    });
  });
});
