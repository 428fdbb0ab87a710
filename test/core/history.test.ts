import { expect } from 'chai';
import * as fc from 'fast-check';
import { type Interval, stateChanges } from '../../src/core/history.ts';
import { toIso } from '../../src/core/timestamp.ts';
import type { Verdict } from '../../src/core/ledger.ts';
import { type Clock, NOW, type Service, createClock, makeFolder, reportOf, startService } from '../fixtures.ts';
import { runs } from '../property-runs.ts';

describe('stateChanges', () => {
  type Parts = {
    lived?: Interval;
    drifts?: readonly Interval[];
    lapses?: readonly Interval[];
    outages?: readonly Interval[];
  };
  type Asked = { from?: number; to?: number; now?: number };
  /** `time verdict driftCount` of each change within 0 … 100, asked at 1000, of a life that began at 10. */
  function changes({ lived = [10, null], drifts = [], lapses = [], outages = [] }: Parts, asked: Asked = {}): string[] {
    const { from = 0, to = 100, now = 1000 } = asked;
    const found = stateChanges({ repo: 'web', server: 'lab', lived, drifts, lapses, outages }, from, to, now);
    return found.map(({ time, verdict, driftCount }) => `${time} ${verdict} ${driftCount}`);
  }

  const rows: readonly (readonly [what: string, life: Parts, asked: Asked, expected: string[]])[] = [
    ['begins with the first report: there was nothing before', {}, {}, ['10 SYNCED 0', '100 SYNCED 0']],
    ['begins at from for what lived before', {}, { from: 20 }, ['20 SYNCED 0', '100 SYNCED 0']],
    ['ends now when the range goes on', {}, { now: 70 }, ['10 SYNCED 0', '70 SYNCED 0']],
    ['says at the removal that it does not exist', { lived: [10, 60] }, {}, ['10 SYNCED 0', '60 null 0']],
    ['says so at the very end', { lived: [10, 100] }, {}, ['10 SYNCED 0', '100 null 0']],
    ['says so when it was removed just now', { lived: [10, 60] }, { now: 60 }, ['10 SYNCED 0', '60 null 0']],
    ['does not know a removal after its end', { lived: [10, 101] }, {}, ['10 SYNCED 0', '100 SYNCED 0']],
    ['does not know a removal that is yet to come', { lived: [10, 71] }, { now: 70 }, ['10 SYNCED 0', '70 SYNCED 0']],
    ['is two rows for a life of one millisecond', { lived: [50, 51] }, {}, ['50 SYNCED 0', '51 null 0']],
    ['is two rows for what is removed at once', { lived: [10, 60] }, { from: 59 }, ['59 SYNCED 0', '60 null 0']],
    ['is nothing before the first report', { lived: [200, null] }, {}, []],
    ['is nothing in a range that is yet to come', {}, { from: 2000, to: 3000 }, []],
    ['is nothing after the removal', { lived: [10, 60] }, { from: 61 }, []],
    ['is nothing from the removal on', { lived: [10, 60] }, { from: 60 }, []],
    ['is one row for a life that begins where the range ends', { lived: [100, null] }, {}, ['100 SYNCED 0']],
    ['is nothing for a life of no time', { lived: [50, 50], drifts: [[50, 50]] }, {}, []],
    [
      'has a row where a drift opens and one where it closes',
      { drifts: [[20, 30]] },
      {},
      ['10 SYNCED 0', '20 OUT_OF_SYNC 1', '30 SYNCED 0', '100 SYNCED 0'],
    ],
    [
      'counts the drifts that are open at a time',
      {
        drifts: [
          [20, 50],
          [30, null],
          [30, 40],
        ],
      },
      {},
      [
        '10 SYNCED 0',
        '20 OUT_OF_SYNC 1',
        '30 OUT_OF_SYNC 3',
        '40 OUT_OF_SYNC 2',
        '50 OUT_OF_SYNC 1',
        '100 OUT_OF_SYNC 1',
      ],
    ],
    [
      'has no row where one file takes the place of another',
      {
        drifts: [
          [20, 30],
          [30, null],
        ],
      },
      {},
      ['10 SYNCED 0', '20 OUT_OF_SYNC 1', '100 OUT_OF_SYNC 1'],
    ],
    [
      'begins with what was open already',
      {
        drifts: [
          [10, null],
          [15, 20],
        ],
      },
      { from: 18 },
      ['18 OUT_OF_SYNC 2', '20 OUT_OF_SYNC 1', '100 OUT_OF_SYNC 1'],
    ],
    ['leaves out what closes at from', { drifts: [[10, 20]] }, { from: 20 }, ['20 SYNCED 0', '100 SYNCED 0']],
    ['leaves out what was over before', { drifts: [[10, 20]] }, { from: 30 }, ['30 SYNCED 0', '100 SYNCED 0']],
    ['leaves out what opens after it', { drifts: [[101, null]] }, {}, ['10 SYNCED 0', '100 SYNCED 0']],
    ['shows what opens at its end', { drifts: [[100, null]] }, {}, ['10 SYNCED 0', '100 OUT_OF_SYNC 1']],
    ['shows what closes at its end', { drifts: [[20, 100]] }, {}, ['10 SYNCED 0', '20 OUT_OF_SYNC 1', '100 SYNCED 0']],
    [
      'does not show that drifts end with the source',
      { lived: [10, 60], drifts: [[20, 60]], lapses: [[40, 60]] },
      {},
      ['10 SYNCED 0', '20 OUT_OF_SYNC 1', '40 STALE 1', '60 null 0'],
    ],
    [
      'is STALE during a lapse, whatever drifts',
      { drifts: [[30, null]], lapses: [[20, 50]] },
      {},
      ['10 SYNCED 0', '20 STALE 0', '30 STALE 1', '50 OUT_OF_SYNC 1', '100 OUT_OF_SYNC 1'],
    ],
    [
      'has no row between a lapse and the next',
      {
        lapses: [
          [20, 50],
          [50, null],
        ],
      },
      {},
      ['10 SYNCED 0', '20 STALE 0', '100 STALE 0'],
    ],
    ['knows no lapse that is yet to come', { lapses: [[80, null]] }, { now: 70 }, ['10 SYNCED 0', '70 SYNCED 0']],
    [
      'is STALE from the millisecond on in which it becomes so',
      { lapses: [[70, null]] },
      { now: 70 },
      ['10 SYNCED 0', '70 STALE 0'],
    ],
    [
      'has no row for what opens and closes at once',
      { drifts: [[20, 20]], lapses: [[30, 30]] },
      {},
      ['10 SYNCED 0', '100 SYNCED 0'],
    ],
  ];
  for (const [what, life, asked, expected] of rows) {
    it(what, () => {
      expect(changes(life, asked)).to.deep.equal(expected);
    });
  }
});

const SECOND = 1000;
const REPO = 'web';

type Row = {
  time_ms: number;
  repo: string;
  server: string;
  verdict: Verdict | null;
  state: number | null;
  drift_count: number;
};
/** What `/status.json` says of a source. */
type State = { readonly verdict: Verdict | null; readonly drift_count: number };

type Action =
  | { kind: 'report'; server: string; names: string[] | 'unknown'; ageMs: number; staleAfter: number | undefined }
  | { kind: 'remove'; server: string }
  | { kind: 'wait'; ms: number }
  | { kind: 'restart'; ms: number };

const servers = fc.constantFrom('a', 'b', 'c');
const times = fc.oneof(
  fc.integer({ min: 1, max: 6 }).map((seconds) => seconds * SECOND),
  fc.integer({ min: 1, max: 3 * SECOND }),
);
const actions: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('report' as const),
      server: servers,
      names: fc.oneof(
        { weight: 4, arbitrary: fc.subarray(['f', 'g', 'h']) },
        { weight: 1, arbitrary: fc.constant('unknown' as const) },
      ),
      ageMs: fc.oneof(
        fc.constant(0),
        fc.integer({ min: -3, max: 12 }).map((seconds) => seconds * SECOND),
        fc.nat(9999),
      ),
      staleAfter: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: times }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), server: servers }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), ms: times }) },
);
/** In parts of the time that has passed, a little beyond both ends included. */
const ranges = fc.array(
  fc.tuple(fc.double({ min: -0.1, max: 1.1, noNaN: true }), fc.double({ min: 0, max: 1.2, noNaN: true })),
  {
    minLength: 8,
    maxLength: 8,
  },
);

describe('history', () => {
  it('is what /status.json had said, second by second, whatever happened', async () => {
    const plans = fc.array(actions, { minLength: 10, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(plans, ranges, async (plan, parts) => {
        const world = await createWorld();
        try {
          for (const action of plan) await world.act(action);
          await world.ask();
          const passed = world.now() - NOW;
          await world.compare(NOW, world.now() + 1);
          for (const [start, length] of parts) {
            const from = NOW + Math.round(start * passed);
            await world.compare(from, from + 1 + Math.round(length * passed));
          }
          // ends that lie where something happens
          for (const at of world.seconds().slice(1)) await world.compare(NOW, at);
        } finally {
          await world.end();
        }
      }),
      { numRuns: runs(30) },
    );
  }).timeout(runs(300_000));
});

/** The service, and what it was seen to say. */
async function createWorld() {
  const folder = makeFolder();
  const clock: Clock = createClock();
  let service: Service = await start();
  const seen = new Map<number, ReadonlyMap<string, State>>();

  function start(): Promise<Service> {
    return startService({ dataDir: folder.path, clock, staleAfterMs: 8 * SECOND });
  }

  async function ask(): Promise<void> {
    const rows = (await (await service.request('/status.json')).json()) as Row[];
    seen.set(clock.now(), new Map(rows.map(({ server, verdict, drift_count }) => [server, { verdict, drift_count }])));
  }

  /** Asks at every full second, when all that happens in it has happened. */
  async function pass(ms: number): Promise<void> {
    const end = clock.now() + ms;
    while (clock.now() < end) {
      if (clock.now() % SECOND === 0) await ask();
      clock.set(Math.min(end, Math.floor(clock.now() / SECOND) * SECOND + SECOND));
    }
  }

  return {
    now: clock.now,
    ask,
    seconds: () => [...seen.keys()],

    async act(action: Action): Promise<void> {
      if (action.kind === 'wait') {
        await pass(action.ms);
      } else if (action.kind === 'remove') {
        await service.request(`/api/status/${REPO}/${action.server}`, { method: 'DELETE' });
      } else if (action.kind === 'restart') {
        const down = clock.now();
        await service.stop();
        clock.advance(action.ms);
        service = await start();
        // what a reader would have seen meanwhile
        clock.set(down);
        await pass(action.ms);
      } else {
        const { server, names, ageMs, staleAfter } = action;
        const last_check = toIso(clock.now() - ageMs);
        const isUnknown = names === 'unknown';
        const report = reportOf(isUnknown ? [] : names, {
          ...(isUnknown && { sync_status: 'UNKNOWN' }),
          repo: REPO,
          server,
          last_check,
          stale_after_seconds: staleAfter,
        });
        expect((await service.post(report)).ok).to.equal(true);
      }
    },

    async compare(from: number, to: number): Promise<void> {
      const response = await service.request(`/history.json?from=${from}&to=${to}`);
      const rows = (await response.json()) as Row[];
      expect(rows.map(({ time_ms }) => time_ms)).to.deep.equal(
        rows.map(({ time_ms }) => time_ms).toSorted((a, b) => a - b),
      );
      const end = Math.min(to, clock.now());
      for (const server of ['a', 'b', 'c']) {
        const ofServer = rows.filter((row) => row.server === server);
        const expected: Record<string, State | undefined> = {};
        const read: Record<string, State | undefined> = {};
        for (const [at, states] of seen) {
          const state = states.get(server);
          if (at < from || at > end) continue;
          expected[at - NOW] = state;
          read[at - NOW] = readAt(ofServer, at);
        }
        expect(read, `${server} from ${from - NOW} to ${to - NOW}`).to.deep.equal(expected);
        if (from <= end && seen.get(end)?.has(server)) expect(ofServer.at(-1)?.time_ms).to.equal(end);
      }
    },

    async end(): Promise<void> {
      await service.stop();
      folder.remove();
    },
  };
}

/** The rows of one source as a step function. */
function readAt(rows: readonly Row[], at: number): State | undefined {
  const row = rows.findLast(({ time_ms }) => time_ms <= at);
  if (row === undefined || row.state === null) return undefined;
  return { verdict: row.verdict, drift_count: row.drift_count };
}
