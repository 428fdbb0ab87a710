/** The disk answers with errors while reports come in. */
import { join } from 'node:path';
import { expect } from 'chai';
import { contradictions } from '../e2e/kills.ts';
import { type Service, startMain, until } from '../process.ts';
import { type FaultyDisk, makeFaultyDisk } from './faults.ts';
import { type Random, campaignRuns, createRandom } from './random.ts';
import { type Ledger, createLedger, startReports } from './reports.ts';

const ROUNDS = campaignRuns(4);
/** Answers of 503 that are waited for, where each commit fails. */
const REFUSALS = 40;

type Fault = { readonly name: string; readonly isLasting: boolean; inject(disk: FaultyDisk): void };

const FAULTS: readonly Fault[] = [
  { name: 'syncing fails once (EIO)', isLasting: false, inject: (disk) => disk.fail('sync', 'EIO', { times: 1 }) },
  {
    name: 'syncing fails five times (EIO)',
    isLasting: false,
    inject: (disk) => disk.fail('sync', 'EIO', { times: 5 }),
  },
  { name: 'each third sync fails (EIO)', isLasting: false, inject: (disk) => disk.fail('sync', 'EIO', { every: 3 }) },
  { name: 'syncing fails (EIO)', isLasting: true, inject: (disk) => disk.fail('sync', 'EIO') },
  { name: 'writing fails once (EIO)', isLasting: false, inject: (disk) => disk.fail('write', 'EIO', { times: 1 }) },
  { name: 'each 50th write fails (EIO)', isLasting: false, inject: (disk) => disk.fail('write', 'EIO', { every: 50 }) },
  { name: 'writing fails (EIO)', isLasting: true, inject: (disk) => disk.fail('write', 'EIO') },
  {
    name: 'each 50th write finds no room (ENOSPC)',
    isLasting: false,
    inject: (disk) => disk.fail('write', 'ENOSPC', { every: 50 }),
  },
  { name: 'writing finds no room (ENOSPC)', isLasting: true, inject: (disk) => disk.fail('write', 'ENOSPC') },
];

describe('a campaign of I/O errors (better-sqlite3#1237)', () => {
  for (const fault of FAULTS) {
    it(`keeps all that was acknowledged and nothing that was refused, where ${fault.name}`, async () => {
      const random = createRandom();
      const ledger = createLedger();
      const storedOf503 = new Set<unknown>();
      const wrong: string[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        wrong.push(...(await suffer(fault, ledger, random, round % 2 === 0, (stored) => storedOf503.add(stored))));
      }
      const { acknowledged, refused, doubtful } = ledger.count;
      console.log(
        `      ${ROUNDS} kills: ${acknowledged} reports acknowledged, ${refused} not stored, ${doubtful} perhaps stored; ` +
          `${wrong.length} of them lost or there all the same (CAMPAIGN_SEED=${random.seed})`,
      );
      expect(wrong).to.deep.equal([]);
      expect([false, 'unknown'], 'stored of each 503').to.include.members([...storedOf503]);
    });
  }
});

/**
 * Lets the fault happen under load, kills the service, during the fault or when it is over, and starts it on a disk that is well.
 * @returns what is wrong then
 */
async function suffer(
  { isLasting, inject }: Fault,
  ledger: Ledger,
  random: Random,
  isHealed: boolean,
  onRefusal: (stored: unknown) => void,
): Promise<string[]> {
  const disk = makeFaultyDisk();
  let service: Service | undefined;
  try {
    service = await startMain({ DATA_DIR: disk.path, ...disk.env });
    ledger.restart([]);
    const reports = startReports(service.url, ledger, {
      connections: 16,
      sources: 40,
      onAnswer: (status, stored) => status === 503 && onRefusal(stored),
    });
    await reports.acknowledged(1 + random.below(1500));
    inject(disk);
    await waitForRefusals(ledger, isLasting ? REFUSALS : 1);
    if (isLasting) await expectNothingTaken(service, ledger);
    if (isHealed) {
      disk.heal();
      await waitForReadiness(service, 200);
      await reports.acknowledged(100);
    }
    await service.kill();
    await reports.stop();
    service = await startMain({ DATA_DIR: disk.path });
    const wrong = ledger.faults(await service.list());
    await service.kill();
    return [...wrong, ...contradictions(join(disk.path, 'gitops-status.db')).map((fault) => JSON.stringify(fault))];
  } finally {
    await service?.kill();
    disk.remove();
  }
}

async function expectNothingTaken(service: Service, ledger: Ledger): Promise<void> {
  await waitForReadiness(service, 503);
  const { acknowledged } = ledger.count;
  await waitForRefusals(ledger, REFUSALS);
  expect(ledger.count.acknowledged, 'acknowledged where no write succeeds').to.equal(acknowledged);
  expect((await fetch(`${service.url}/readyz`)).status).to.equal(503);
}

async function waitForRefusals(ledger: Ledger, more: number): Promise<void> {
  const refusals = (): number => ledger.count.refused + ledger.count.doubtful;
  const goal = refusals() + more;
  await until(() => refusals() >= goal || undefined);
}

async function waitForReadiness(service: Service, status: number): Promise<void> {
  await until(async () => (await fetch(`${service.url}/readyz`)).status === status || undefined);
}
