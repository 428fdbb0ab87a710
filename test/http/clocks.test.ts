import { expect } from 'chai';
import { type Housekeeping, createHousekeeping } from '../../src/fleet/housekeeping.ts';
import { createObservers } from '../../src/observers.ts';
import { toIso } from '../../src/core/timestamp.ts';
import {
  type Clock,
  type Disk,
  NOW,
  type Service,
  createClock,
  createDisk,
  makeFolder,
  reportOf,
  startService,
  until,
} from '../fixtures.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

type Row = Record<string, unknown>;

describe('clocks that were wrong', () => {
  let folder: ReturnType<typeof makeFolder>;
  let clock: Clock;
  let service: Service;

  beforeEach(async () => {
    folder = makeFolder();
    clock = createClock();
    service = await startService({ dataDir: folder.path, clock });
  });
  afterEach(async () => {
    await service.stop();
    folder.remove();
  });

  async function restart(): Promise<void> {
    await service.stop();
    service = await startService({ dataDir: folder.path, clock });
  }

  /** Of a check that runs now, by the clock that all share. */
  async function report(names: readonly string[], changes: Row = {}): Promise<Row> {
    const answer = await service.post(reportOf(names, { last_check: toIso(clock.now()), ...changes }));
    expect(answer.ok).to.equal(true);
    return (await answer.json()) as Row;
  }

  async function get<T>(path: string): Promise<T> {
    return (await (await service.request(path)).json()) as T;
  }

  /** What every output says of the only source. */
  async function verdicts(): Promise<Row> {
    const [row] = await get<Row[]>('/status.json');
    const summary = await get<Row>('/summary.json');
    const detail = await get<Row>('/api/status/rsyslog/rsyslog-lab');
    const history = await get<Row[]>('/history.json');
    const metrics = await (await service.request('/metrics')).text();
    const gauge = (name: string): string | undefined => new RegExp(`^${name}\\{.*\\} (.+)$`, 'm').exec(metrics)?.[1];
    return {
      list: row?.verdict,
      outOfSync: row?.out_of_sync,
      filtered: (await get<Row[]>(`/status.json?verdict=${String(row?.verdict)}`)).length,
      summary: ['synced', 'out_of_sync', 'stale'].filter((name) => summary[name] === 1).join(),
      detail: detail.verdict,
      history: history.at(-1)?.verdict,
      inSync: gauge('gitops_in_sync'),
      stale: gauge('gitops_stale'),
    };
  }

  const SYNCED = {
    list: 'SYNCED',
    outOfSync: 0,
    filtered: 1,
    summary: 'synced',
    detail: 'SYNCED',
    history: 'SYNCED',
    inSync: '1',
    stale: '0',
  };
  const STALE = {
    list: 'STALE',
    outOfSync: 1,
    filtered: 1,
    summary: 'stale',
    detail: 'STALE',
    history: 'STALE',
    inSync: '0',
    stale: '1',
  };

  async function changesOfState(): Promise<unknown[]> {
    const rows = await get<Row[]>(`/history.json?from=${NOW - HOUR}`);
    return rows.map(({ time_ms: time, verdict, drift_count: count }) => [Number(time) - NOW, verdict, count]);
  }

  describe('a report of a check in what turns out to be the future', () => {
    beforeEach(async () => {
      clock.advance(2 * DAY);
      await report([]);
      expect(await verdicts()).to.deep.equal(SYNCED);
      clock.set(NOW);
    });

    it('is STALE in every output once the clock is right', async () => {
      expect(await verdicts()).to.deep.equal(STALE);
      await restart();
      expect(await verdicts()).to.deep.equal(STALE);
    });

    it('stays STALE while time passes', async () => {
      for (const minutes of [1, 9, 11, 300]) {
        clock.advance(minutes * MINUTE);
        expect(await verdicts()).to.deep.equal(STALE);
      }
    });

    it('is replaced by the next one', async () => {
      clock.advance(MINUTE);
      expect(await report([])).to.include({ result: 'unchanged', verdict: 'SYNCED' });
      expect(await verdicts()).to.deep.equal(SYNCED);
      await restart();
      expect(await verdicts()).to.deep.equal(SYNCED);
    });

    it('hides no drift that comes after it', async () => {
      clock.advance(MINUTE);
      const receipt = await report(['a']);
      expect(receipt).to.include({ result: 'changed', verdict: 'OUT_OF_SYNC', status_since: toIso(NOW + MINUTE) });
      const [row] = await get<Row[]>('/status.json');
      expect(row).to.include({ received_at: toIso(NOW + MINUTE), drift_count: 1 });
    });

    it('can be removed, and comes back', async () => {
      const { status } = await service.request('/api/status/rsyslog/rsyslog-lab', { method: 'DELETE' });
      expect(status).to.equal(204);
      clock.advance(MINUTE);
      expect(await report(['a'])).to.include({ result: 'created' });
      expect((await verdicts()).history).to.equal('OUT_OF_SYNC');
    });

    it('is shown with the drifts that it opened', async () => {
      clock.advance(2 * DAY);
      await report(['a'], { server: 'other' });
      clock.set(NOW);
      const drifts = await get<Row[]>('/drifts.json');
      expect(drifts.map(({ name, duration_seconds: seconds }) => [name, seconds])).to.deep.equal([['a', 0]]);
      const detail = await get<{ drifts: Row[] }>('/api/status/rsyslog/other');
      expect(detail.drifts[0]?.duration_seconds).to.equal(0);
    });

    describe('once housekeeping has noticed it', () => {
      const LATER = 5 * MINUTE;

      function keep(): Housekeeping {
        const { pass, stop } = createHousekeeping({
          fleet: service.fleet,
          store: service.store,
          ...clock,
          expireAfterMs: undefined,
          historyRetentionMs: 90 * DAY,
          ...createObservers(service.logger, service.metrics, service.events, clock.now),
        });
        return {
          stop,
          async pass() {
            await pass();
            // nobody waits for it to be written, but history is read from the disk
            await until(async () => (await doubtedAt()) === service.fleet.list()[0]?.snapshot.doubtedAt);
          },
        };
      }

      async function doubtedAt(): Promise<number | null | undefined> {
        return (await service.store.source('rsyslog', 'rsyslog-lab'))?.snapshot.doubtedAt;
      }

      it('stays STALE when its time has come, after a restart too', async () => {
        await keep().pass();
        for (const days of [1, 2]) {
          clock.set(NOW + days * DAY);
          expect(await verdicts()).to.deep.equal(STALE);
        }
        await restart();
        expect(await verdicts()).to.deep.equal(STALE);
        expect(await report([])).to.include({ result: 'unchanged', verdict: 'SYNCED' });
        expect(await verdicts()).to.deep.equal(SYNCED);
      });

      it('is STALE in history from then on', async () => {
        clock.set(NOW - HOUR);
        await report([], { stale_after_seconds: 86_400 });
        clock.set(NOW);
        await report([], { stale_after_seconds: 86_400 });
        clock.advance(2 * HOUR);
        await report([], { stale_after_seconds: 86_400 });
        clock.set(NOW + LATER);
        await keep().pass();
        const expected = [
          [-HOUR, 'SYNCED', 0],
          [LATER, 'STALE', 0],
        ];
        clock.advance(LATER);
        expect(await changesOfState()).to.deep.equal([...expected, [2 * LATER, 'STALE', 0]]);
        await report([]);
        clock.advance(MINUTE);
        expect(await changesOfState()).to.deep.equal([
          ...expected,
          [2 * LATER, 'SYNCED', 0],
          [2 * LATER + MINUTE, 'SYNCED', 0],
        ]);
      });

      it('counts again when it was the clock here that had been behind', async () => {
        clock.advance(2 * DAY);
        await report([]);
        const keeper = keep();
        await keeper.pass();
        clock.set(NOW - 300 * DAY);
        await keeper.pass();
        expect((await verdicts()).list).to.equal('STALE');
        clock.set(NOW + 2 * DAY + MINUTE);
        await keeper.pass();
        expect(await verdicts()).to.deep.equal(SYNCED);
      });
    });

    it('that nobody has noticed counts when its time has come', async () => {
      clock.advance(2 * DAY - 5 * MINUTE - 1);
      expect((await verdicts()).list).to.equal('STALE');
      clock.advance(1);
      expect((await verdicts()).list).to.equal('SYNCED');
    });
  });

  it('up to five minutes ahead counts as now', async () => {
    await report([], { last_check: toIso(NOW + 5 * MINUTE) });
    expect((await verdicts()).list).to.equal('SYNCED');
    clock.advance(-1);
    expect((await verdicts()).list).to.equal('STALE');
  });

  it('leave a history without times that are still to come', async () => {
    await report(['old', 'stays']);
    clock.advance(2 * DAY);
    await report(['stays', 'new']);
    clock.advance(2 * MINUTE);
    await report(['new']);
    clock.set(NOW + HOUR);
    await report(['new', 'last']);
    clock.advance(MINUTE);
    const detail = await get<{ first_seen: string; files: Row[]; drifts: Row[] }>('/api/status/rsyslog/rsyslog-lab');
    const times = [
      detail.first_seen,
      ...detail.files.map(({ since }) => since),
      ...detail.drifts.flatMap(({ opened_at: opened, closed_at: closed }) => [opened, closed ?? opened]),
    ];
    expect(times.filter((time) => Date.parse(time as string) > NOW + HOUR)).to.deep.equal([]);
    const durations = detail.drifts.map(({ duration_seconds: seconds }) => seconds as number);
    expect(Math.min(...durations)).to.be.at.least(0);
    expect(await changesOfState()).to.deep.equal([
      [0, 'OUT_OF_SYNC', 2],
      // ten minutes after the check of the first report
      [10 * MINUTE, 'STALE', 2],
      [HOUR, 'OUT_OF_SYNC', 2],
      [HOUR + MINUTE, 'OUT_OF_SYNC', 2],
    ]);
  });

  it('do not keep readiness from trying a write', async () => {
    await service.stop();
    let disk: Disk | undefined;
    service = await startService({
      dataDir: folder.path,
      clock,
      wrapStore(store) {
        disk = createDisk(store);
        return disk.store;
      },
    });
    await report([]);
    disk?.fail('disk full');
    clock.advance(6000);
    clock.set(clock.now() - HOUR);
    expect((await service.request('/readyz')).status).to.equal(503);
    disk?.heal();
    expect((await service.request('/readyz')).status).to.equal(200);
  });

  describe('the list', () => {
    it('says again what it said when the clock goes back', async () => {
      await report([]);
      clock.advance(HOUR);
      expect(await verdicts()).to.deep.equal(STALE);
      clock.advance(-HOUR);
      expect(await verdicts()).to.deep.equal(SYNCED);
      clock.advance(HOUR);
      expect(await verdicts()).to.deep.equal(STALE);
    });

    it('agrees with its filtered parts, however the clock goes', async () => {
      await report([], { server: 'a' });
      await report([], { server: 'b', stale_after_seconds: 3600 });
      for (const minutes of [0, 30, -10, 20, 5, 45, -60, 200, -150, 90]) {
        clock.advance(minutes * MINUTE);
        const rows = await get<Row[]>('/status.json');
        for (const verdict of ['SYNCED', 'STALE']) {
          const all = rows.filter((row) => row.verdict === verdict);
          expect(await get(`/status.json?verdict=${verdict}`)).to.deep.equal(all);
        }
      }
    });
  });
});
