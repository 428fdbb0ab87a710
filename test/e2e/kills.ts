/** The process, killed again and again in the middle of load, and what must be true after each kill. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'chai';
import { makeFolder } from '../fixtures.ts';
import { type Service, startMain } from '../process.ts';
import { startLoad } from './load.ts';

export type Campaign = { readonly kills: number; readonly acknowledged: number; readonly unanswered: number };

/**
 * After each kill the service must start again and show every report that it had acknowledged; at the end its database must be sound.
 * @param onKill is told of the campaign so far
 * @throws AssertionError at the first report that is lost
 */
export async function killUnderLoad(kills: number, onKill: (soFar: Campaign) => void = () => {}): Promise<Campaign> {
  const folder = makeFolder();
  let service: Service | undefined;
  let load: ReturnType<typeof startLoad> | undefined;
  let campaign: Campaign = { kills: 0, acknowledged: 0, unanswered: 0 };
  try {
    while (campaign.kills < kills) {
      service = await startMain({ DATA_DIR: folder.path });
      load?.expectKept(await service.list());
      load = startLoad(service.url, { connections: 16, sources: 40 }, load?.account);
      // other places each time: among first reports, in a write-ahead log of any length, around a checkpoint
      await load.acknowledged(1 + ((campaign.kills * 97) % 400));
      await service.kill();
      await load.stop();
      const { acknowledged, unanswered } = load.figures();
      campaign = {
        kills: campaign.kills + 1,
        acknowledged: campaign.acknowledged + acknowledged,
        unanswered: campaign.unanswered + unanswered,
      };
      onKill(campaign);
    }
    service = await startMain({ DATA_DIR: folder.path });
    load?.expectKept(await service.list());
    await service.kill();
    expect(contradictions(join(folder.path, 'gitops-status.db'))).to.deep.equal([]);
    return campaign;
  } finally {
    await service?.kill();
    folder.remove();
  }
}

/** What must never be in the database, whenever the process was killed. */
export function contradictions(file: string): unknown[] {
  const db = new DatabaseSync(file);
  try {
    return [
      ...db.prepare("SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'").all(),
      ...db.prepare("SELECT * FROM sources WHERE (sync_status = 'SYNCED') <> (files = '[]')").all(),
      ...db.prepare('SELECT * FROM drifts WHERE closed_at < opened_at').all(),
    ];
  } finally {
    db.close();
  }
}
