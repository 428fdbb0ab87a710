/** Files are deleted, moved and cut under the service while reports come in. */
import { copyFileSync, readdirSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { contradictions } from '../e2e/kills.ts';
import { type Service, startMain, until } from '../process.ts';
import { makeFaultyDisk } from './faults.ts';
import { campaignRuns, createRandom } from './random.ts';
import { type Ledger, createLedger, startReports } from './reports.ts';

/** `aside`: where to move what is taken away. */
type Places = { readonly folder: string; readonly database: string; readonly log: string; readonly aside: string };
type Taking = {
  readonly what: string;
  take(places: Places): void;
  /** Undefined: it is lost. */
  readonly putBack?: (places: Places) => void;
  /** What readiness says then. */
  readonly named: RegExp;
};

const ROUNDS = campaignRuns(3);
/** A few seconds, as the service has them; on two busy cores. */
const NOTICED_WITHIN_MS = 10_000;
/** A commit is under way most of the time, so that most files go in the middle of one. */
const WRITE_DELAY_MS = 1;
/** Answers of 503 that are waited for. */
const REFUSALS = 40;

const DATABASE = /gitops-status\.db\b/;
const LOG = /gitops-status\.db-wal\b/;
const ANY_FILE = /gitops-status\.db|lock\.db/;

const TAKINGS: readonly Taking[] = [
  {
    what: 'all of DATA_DIR is deleted',
    take: ({ folder }) => {
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { force: true });
    },
    named: ANY_FILE,
  },
  {
    what: 'DATA_DIR is moved',
    take: ({ folder, aside }) => renameSync(folder, aside),
    putBack: ({ folder, aside }) => renameSync(aside, folder),
    named: DATABASE,
  },
  { what: 'the database is deleted', take: ({ database }) => rmSync(database), named: DATABASE },
  {
    what: 'the database is moved',
    take: ({ database, aside }) => renameSync(database, aside),
    putBack: ({ database, aside }) => renameSync(aside, database),
    named: DATABASE,
  },
  {
    what: 'a copy takes the place of the database',
    take: ({ database, aside }) => {
      copyFileSync(database, aside);
      renameSync(aside, database);
    },
    named: DATABASE,
  },
  { what: 'the database is emptied', take: ({ database }) => truncateSync(database), named: DATABASE },
  { what: 'the log is deleted', take: ({ log }) => rmSync(log), named: LOG },
  {
    what: 'the log is moved',
    take: ({ log, aside }) => renameSync(log, aside),
    putBack: ({ log, aside }) => renameSync(aside, log),
    named: LOG,
  },
  { what: 'the log is emptied', take: ({ log }) => truncateSync(log), named: LOG },
  { what: 'the log is cut in its first page', take: ({ log }) => truncateSync(log, 100), named: LOG },
];

describe('a campaign of files that are taken away (turso#2091)', () => {
  for (const taking of TAKINGS) {
    it(`acknowledges nothing more, and says which file it is, once ${taking.what}`, async () => {
      const random = createRandom();
      const ledger = createLedger();
      const wrong: string[] = [];
      let slowestMs = 0;
      for (let round = 0; round < ROUNDS; round += 1) {
        const { noticedAfterMs, faults } = await lose(taking, ledger, 1 + random.below(500));
        slowestMs = Math.max(slowestMs, noticedAfterMs);
        wrong.push(...faults);
      }
      const { acknowledged, refused, doubtful } = ledger.count;
      console.log(
        `      ${ROUNDS} times, noticed within ${Math.ceil(slowestMs)} ms: ${acknowledged} reports acknowledged, ` +
          `${refused} not stored, ${doubtful} perhaps stored; ${wrong.length} wrong (CAMPAIGN_SEED=${random.seed})`,
      );
      expect(wrong).to.deep.equal([]);
    });
  }
});

/** @returns how long it took until the service was not ready, and, where the file was put back, what is wrong after a kill and a start */
async function lose(
  { take, putBack, named }: Taking,
  ledger: Ledger,
  after: number,
): Promise<{ noticedAfterMs: number; faults: string[] }> {
  const disk = makeFaultyDisk();
  const folder = disk.path;
  const database = join(folder, 'gitops-status.db');
  const places = { folder, database, log: `${database}-wal`, aside: `${folder}-aside` };
  let service: Service | undefined;
  try {
    service = await startMain({ DATA_DIR: folder, ...disk.env });
    disk.delay('write', WRITE_DELAY_MS);
    ledger.restart([]);
    const reports = startReports(service.url, ledger, { connections: 16, sources: 40 });
    await reports.acknowledged(after);
    take(places);
    const noticedAfterMs = await expectNoticed(service, named);
    await expectNothingTaken(service, ledger, named);
    if (putBack === undefined) {
      await service.kill();
      await reports.stop();
      return { noticedAfterMs, faults: [] };
    }
    putBack(places);
    await waitForReadiness(service, 200);
    await reports.acknowledged(100);
    await service.kill();
    await reports.stop();
    service = await startMain({ DATA_DIR: folder });
    const faults = ledger.faults(await service.list());
    await service.kill();
    return { noticedAfterMs, faults: [...faults, ...contradictions(database).map((fault) => JSON.stringify(fault))] };
  } finally {
    await service?.kill();
    disk.remove();
  }
}

async function expectNoticed(service: Service, named: RegExp): Promise<number> {
  const takenAt = performance.now();
  await waitForReadiness(service, 503);
  const noticedAfterMs = performance.now() - takenAt;
  expect(noticedAfterMs, 'milliseconds until it is not ready').to.be.below(NOTICED_WITHIN_MS);
  const { detail } = (await (await fetch(`${service.url}/readyz`)).json()) as { detail: string };
  expect(detail).to.match(named);
  return noticedAfterMs;
}

async function expectNothingTaken(service: Service, ledger: Ledger, named: RegExp): Promise<void> {
  const { acknowledged } = ledger.count;
  const refusals = (): number => ledger.count.refused + ledger.count.doubtful;
  const goal = refusals() + REFUSALS;
  await until(() => refusals() >= goal || undefined);
  expect(ledger.count.acknowledged, 'acknowledged after that').to.equal(acknowledged);
  const response = await fetch(`${service.url}/readyz`);
  expect(response.status).to.equal(503);
  expect(((await response.json()) as { detail: string }).detail).to.match(named);
}

async function waitForReadiness(service: Service, status: number): Promise<void> {
  await until(async () => (await fetch(`${service.url}/readyz`)).status === status || undefined);
}
