import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeFolder } from '../fixtures.ts';
import { startLoad } from './load.ts';
import { type Service, startMain } from '../process.ts';

const KILLS = 20;

describe('killing the process', function () {
  this.timeout(300_000);

  let folder: ReturnType<typeof makeFolder>;
  let service: Service | undefined;

  beforeEach(() => {
    folder = makeFolder();
  });
  afterEach(async () => {
    await service?.kill();
    folder.remove();
  });

  it(`loses no acknowledged report, ${KILLS} times in the middle of load`, async () => {
    let load: ReturnType<typeof startLoad> | undefined;
    for (let kill = 0; kill < KILLS; kill += 1) {
      service = await startMain({ DATA_DIR: folder.path });
      load?.expectKept(await service.list());
      load = startLoad(service.url, { connections: 16, sources: 40 }, load?.account);
      // other places each time: among first reports, in a write-ahead log of any length, around a checkpoint
      await load.acknowledged(1 + ((kill * 97) % 400));
      await service.kill();
      await load.stop();
    }
    service = await startMain({ DATA_DIR: folder.path });
    load?.expectKept(await service.list());
    await service.kill();
    expect(contradictions(join(folder.path, 'gitops-status.db'))).to.deep.equal([]);
  });
});

/** What must never be in the database, whenever the process was killed. */
function contradictions(file: string): unknown[] {
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
