/** Wall clocks that are wrong, and become right again, while the service runs. */
import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { reportOf } from '../fixtures.ts';
import { type Service, startMain, until } from '../process.ts';
import { type FaultyDisk, makeFaultyDisk } from './faults.ts';
import { campaignRuns, createRandom } from './random.ts';
import { type WallClock, makeWallClock } from './wall-clock.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** Housekeeping passes every minute: one pass at least lies within this time. */
const A_PASS_MS = 65_000;
const SOURCES = ['a', 'b', 'c', 'd', 'e'];
const STATES = { SYNCED: 0, OUT_OF_SYNC: 1, STALE: 2 };

const random = createRandom();
/** How far clocks are ahead: from just beyond what a report may be, up to a month. */
const LEAPS_MS = [
  6 * MINUTE_MS,
  HOUR_MS,
  ...Array.from({ length: campaignRuns(8) }, () => 7 * MINUTE_MS + random.below(30 * DAY_MS)),
];

/** A machine of its own: a clock, a disk, and the service, which goes by the one and stores on the other. */
type Machine = {
  readonly clock: WallClock;
  readonly disk: FaultyDisk;
  readonly service: Service;
  start(settings?: Record<string, string>): Promise<void>;
  restart(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Posts a report of a check that ran now, as the reporter's clock has it, which is wrong like the service's. */
  report(server: string, files: readonly string[]): Promise<Record<string, unknown>>;
  read<T>(path: string): Promise<T>;
  /** The smallest number of sources that are shown during this time. */
  fewestDuring(ms: number): Promise<number>;
  remove(): Promise<void>;
};

function createMachine(): Machine {
  const clock = makeWallClock();
  const disk = makeFaultyDisk();
  let service: Service | undefined;
  let started: Record<string, string> = {};

  const running = (): Service => {
    if (service === undefined) throw new Error('it was not started');
    return service;
  };

  async function start(settings = started): Promise<void> {
    started = settings;
    service = await startMain({ DATA_DIR: disk.path, ...clock.env, ...settings });
  }

  return {
    clock,
    disk,
    get service() {
      return running();
    },
    start,
    async restart(signal) {
      running().signal(signal);
      await running().ended;
      await start();
    },
    async report(server, files) {
      const response = await running().post(reportOf(files, { server, last_check: clock.now() }));
      expect(response.status).to.be.oneOf([200, 201]);
      return (await response.json()) as Record<string, unknown>;
    },
    read: async <T>(path: string) => (await (await fetch(`${running().url}${path}`)).json()) as T,
    async fewestDuring(ms) {
      let fewest = Number.POSITIVE_INFINITY;
      for (const end = performance.now() + ms; performance.now() < end; await setTimeout(500)) {
        fewest = Math.min(fewest, (await running().list()).length);
      }
      return fewest;
    },
    async remove() {
      await service?.kill();
      clock.remove();
      disk.remove();
    },
  };
}

/** Expects it in each output that says how the only source is. */
async function expectVerdict({ read, service }: Machine, verdict: keyof typeof STATES): Promise<void> {
  const is = (other: string): number => (verdict === other ? 1 : 0);
  const shown = { verdict, out_of_sync: 1 - is('SYNCED'), stale: verdict === 'STALE' };
  const [row] = await read<Record<string, unknown>[]>('/status.json');
  expect(row, 'status.json').to.include(shown);
  expect(await read<unknown[]>(`/status.json?verdict=${verdict}`), 'filtered').to.deep.equal([row]);
  expect(await read('/summary.json'), 'summary.json').to.include({
    sources: 1,
    synced: is('SYNCED'),
    out_of_sync: is('OUT_OF_SYNC'),
    stale: is('STALE'),
  });
  expect(await read('/api/status/rsyslog/a'), 'detail').to.include(shown);
  const last = (await read<Record<string, unknown>[]>('/history.json')).at(-1);
  expect(last, 'history.json').to.include({ verdict, state: STATES[verdict] });
  const metrics = await (await fetch(`${service.url}/metrics`)).text();
  expect(metrics.split('\n'), 'metrics').to.include.members([
    `gitops_stale{repo="rsyslog",server="a"} ${is('STALE')}`,
    `gitops_in_sync{repo="rsyslog",server="a"} ${is('SYNCED')}`,
    `gitops_sources{verdict="STALE"} ${is('STALE')}`,
  ]);
}

/** Two days ahead for more than a minute, then right again: what is left of five sources and the only closed drift. */
async function leapAhead(machine: Machine, isRestarted: boolean): Promise<unknown> {
  await machine.start({ EXPIRE_AFTER: '1h', HISTORY_RETENTION: '1d' });
  for (const server of SOURCES) await machine.report(server, ['a.conf']);
  await machine.report('a', []);
  machine.clock.set(2 * DAY_MS);
  if (isRestarted) await machine.restart('SIGKILL');
  const ahead = await machine.fewestDuring(A_PASS_MS);
  machine.clock.set(0);
  const right = await machine.fewestDuring(A_PASS_MS);
  return { ahead, right, closedDrifts: (await machine.read<unknown[]>('/drifts.json?server=a')).length };
}

/** A silent source, and a clock that steps back: how few sources are left after two passes. */
async function fallSilent(machine: Machine): Promise<number> {
  await machine.start({ STALE_AFTER: '1s', EXPIRE_AFTER: '2s' });
  await machine.report('a', []);
  machine.clock.set(-HOUR_MS);
  // the first pass finds that the clock was set, and does nothing
  return machine.fewestDuring(2 * A_PASS_MS);
}

describe('a campaign of clocks (Pushgateway#394)', () => {
  describe('over minutes', () => {
    let machines: Machine[];
    let atTheEnd: unknown[];

    before(async () => {
      machines = [createMachine(), createMachine(), createMachine()];
      const [running, restarted, silent] = machines as [Machine, Machine, Machine];
      // at once: they wait most of the time
      atTheEnd = await Promise.all([leapAhead(running, false), leapAhead(restarted, true), fallSilent(silent)]);
    });
    after(async () => {
      await Promise.all(machines.map((machine) => machine.remove()));
    });

    const whole = { ahead: SOURCES.length, right: SOURCES.length, closedDrifts: 1 };

    it('forgets no source and no history for a clock that is two days ahead for a minute', () => {
      expect(atTheEnd[0]).to.deep.equal(whole);
    });

    it('forgets none either where the service starts in that minute', () => {
      expect(atTheEnd[1]).to.deep.equal(whole);
    });

    it('lets a silent source expire though the clock stepped back by an hour', () => {
      expect(atTheEnd[2]).to.equal(0);
    });
  });

  describe('at once', () => {
    let machine: Machine;

    beforeEach(() => {
      machine = createMachine();
    });
    afterEach(() => machine.remove());

    it('notices a disk that takes nothing though the clock stepped back by an hour', async () => {
      const { clock, disk } = machine;
      await machine.start({ ...disk.env, LD_PRELOAD: `${clock.env.LD_PRELOAD} ${disk.env.LD_PRELOAD}` });
      await machine.report('a', []);
      clock.set(-HOUR_MS);
      disk.fail('write', 'ENOSPC');
      await until(async () => (await fetch(`${machine.service.url}/readyz`)).status === 503 || undefined);
    });

    it('leaves a source STALE after a step back of an hour, until it reports by the new time', async () => {
      await machine.start();
      await machine.report('a', []);
      machine.clock.set(-HOUR_MS);
      await expectVerdict(machine, 'STALE');
      expect(await machine.report('a', ['a.conf'])).to.include({ result: 'changed' });
      await expectVerdict(machine, 'OUT_OF_SYNC');
      machine.clock.set(0);
      await expectVerdict(machine, 'STALE');
    });

    for (const [index, leapMs] of LEAPS_MS.entries()) {
      const signal = index % 2 === 0 ? 'SIGKILL' : 'SIGTERM';
      for (const isKnown of [true, false]) {
        const name = isKnown ? 'a source that was known' : 'a source that nobody knew';
        describe(`a report of ${name}, taken while all clocks were ${Math.round(leapMs / MINUTE_MS)} minutes ahead`, () => {
          beforeEach(async () => {
            await machine.start();
            if (isKnown) await machine.report('a', []);
            machine.clock.set(leapMs);
            await machine.report('a', []);
            machine.clock.set(0);
          });

          it(`is no good news once they are right, nor after ${signal} and a start`, async () => {
            await expectVerdict(machine, 'STALE');
            await machine.restart(signal);
            await expectVerdict(machine, 'STALE');
          });

          it('gives way to the next honest report, which is then all there is', async () => {
            expect(await machine.report('a', ['a.conf'])).to.include({ result: 'changed' });
            await expectVerdict(machine, 'OUT_OF_SYNC');
            await machine.restart(signal);
            await expectVerdict(machine, 'OUT_OF_SYNC');
            await machine.report('a', []);
            await expectVerdict(machine, 'SYNCED');
          });

          it(`gives way to it after ${signal} and a start too`, async () => {
            await machine.restart(signal);
            expect((await machine.report('a', [])).result).to.not.equal('superseded');
            await expectVerdict(machine, 'SYNCED');
          });
        });
      }
    }
  });

  after(() => {
    console.log(`      reports from ${LEAPS_MS.length} times ahead of the clock (CAMPAIGN_SEED=${random.seed})`);
  });
});
