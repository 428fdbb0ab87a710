/** The power goes while reports come in. What a disk may hold then is rebuilt from all that the service asked of it. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { contradictions } from '../e2e/kills.ts';
import { makeFolder } from '../fixtures.ts';
import { startMain } from '../process.ts';
import { CUTS, type Cut, type DiskRecord, readBase, readRecord } from './disk-record.ts';
import { type FaultyDisk, makeFaultyDisk } from './faults.ts';
import { type Random, campaignRuns, createRandom } from './random.ts';
import { type Ledger, createLedger, startReports } from './reports.ts';

/** Cuts of each life of the service; the next life begins on what the last of them has left. */
const CUTS_PER_LIFE = 20;
/** Services that are started at a time. */
const AT_ONCE = 2;
const SYNC_DELAY_MS = 2;
/** Faults that are printed. */
const SHOWN = 20;

type Figures = { cuts: number; lost: string[]; refusedStarts: string[] };

describe('a campaign of power cuts (turso#2091, better-sqlite3#1237)', () => {
  it('loses no acknowledged report, and starts each time', async () => {
    await expectNothingLost(campaignRuns(10), (disk) => disk.delay('sync', SYNC_DELAY_MS));
  });

  it('loses none either where syncing fails now and then, and what was not synced may be anything (turso#8103)', async () => {
    await expectNothingLost(campaignRuns(3), (disk) => disk.fail('sync', 'EIO', { every: 7 }));
  });

  it('would notice: on a disk that only says that it has synced, reports are lost', async () => {
    const random = createRandom();
    const figures: Figures = { cuts: 0, lost: [], refusedStarts: [] };
    await live(undefined, createLedger(), random, figures, (disk) => disk.lie());
    expect(figures.lost).to.not.be.empty;
  });
});

async function expectNothingLost(lives: number, disturb: (disk: FaultyDisk) => void): Promise<void> {
  const random = createRandom();
  const figures: Figures = { cuts: 0, lost: [], refusedStarts: [] };
  const ledger = createLedger();
  let left: ReturnType<typeof makeFolder> | undefined;
  for (let life = 0; life < lives; life += 1) {
    const next = await live(left?.path, ledger, random, figures, disturb);
    left?.remove();
    left = next;
  }
  left?.remove();
  const { acknowledged, doubtful, refused } = ledger.count;
  const { cuts, lost, refusedStarts } = figures;
  console.log(
    `      ${cuts} power cuts among ${acknowledged} acknowledged reports (${doubtful + refused} refused): ` +
      `${lost.length} lost, ${refusedStarts.length} starts refused (CAMPAIGN_SEED=${random.seed})`,
  );
  for (const fault of [...refusedStarts, ...lost].slice(0, SHOWN)) console.log(`      ${fault}`);
  expect({ lost, refusedStarts }).to.deep.equal({ lost: [], refusedStarts: [] });
}

/**
 * Runs the service under load until it is told to stop, and looks at the disk at random moments of that time.
 * @returns what the last cut has left, and the service has been started on
 */
async function live(
  from: string | undefined,
  ledger: Ledger,
  random: Random,
  figures: Figures,
  disturb: (disk: FaultyDisk) => void,
): Promise<ReturnType<typeof makeFolder>> {
  const disk = makeFaultyDisk();
  try {
    if (from !== undefined) cpSync(from, disk.path, { recursive: true });
    const base = readBase(disk.path);
    const service = await startMain({ DATA_DIR: disk.path, ...disk.env });
    try {
      disturb(disk);
      ledger.restart(await service.list());
      const reports = startReports(service.url, ledger, { connections: 16, sources: 40, moment: disk.moment });
      await reports.acknowledged(500 + random.below(1500));
      await reports.stop();
      service.signal('SIGTERM');
      await service.ended;
    } finally {
      await service.kill();
    }
    return await cutPower(readRecord(disk.record, base), ledger, random, figures);
  } finally {
    disk.remove();
  }
}

async function cutPower(
  record: DiskRecord,
  ledger: Ledger,
  random: Random,
  figures: Figures,
): Promise<ReturnType<typeof makeFolder>> {
  let left = makeFolder();
  for (let cuts = 0; cuts < CUTS_PER_LIFE; cuts += AT_ONCE) {
    const folders = await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        const folder = makeFolder();
        const moment = chooseMoment(record, random);
        const cut = random.pick(CUTS);
        record.rebuild(folder.path, moment, cut, random);
        await expectStart(folder.path, { moment, cut, seed: random.seed }, ledger, figures);
        return folder;
      }),
    );
    left.remove();
    left = folders.pop() as typeof left;
    for (const folder of folders) folder.remove();
  }
  return left;
}

/** A third of them while the log is copied into the database. */
function chooseMoment({ moments }: DiskRecord, random: Random): number {
  const copying = moments.filter(({ written }) => written === 'gitops-status.db');
  return random.pick(copying.length > 0 && random.chance(0.33) ? copying : moments).moment;
}

/** Starts the service on what is left, and notes what is wrong. */
async function expectStart(
  folder: string,
  { moment, cut, seed }: { moment: number; cut: Cut; seed: number },
  ledger: Ledger,
  figures: Figures,
): Promise<void> {
  const note = (text: string): string => `seed ${seed}, moment ${moment}, ${cut} of the unsynced writes: ${text}`;
  figures.cuts += 1;
  try {
    const service = await startMain({ DATA_DIR: folder });
    figures.lost.push(...ledger.faults(await service.list(), moment).map(note));
    await service.kill();
    figures.lost.push(...contradictions(join(folder, 'gitops-status.db')).map((fault) => note(JSON.stringify(fault))));
  } catch (error) {
    figures.refusedStarts.push(note((error as Error).message));
  }
}
