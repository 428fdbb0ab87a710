import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { expect } from 'chai';
import { APPLICATION_ID, MIGRATIONS } from '../../../src/store/sqlite/migrations.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { NOW, loadAll, makeFolder } from '../../fixtures.ts';

describe('a database of an older version', () => {
  let folder: ReturnType<typeof makeFolder>;

  beforeEach(() => {
    folder = makeFolder();
  });
  afterEach(() => folder.remove());

  /** As version 0.1.0 left it: schema 2, with one source. */
  function makeOld(): void {
    const db = new DatabaseSync(join(folder.path, 'gitops-status.db'));
    db.exec(`${MIGRATIONS.slice(0, 2).join(';')}; PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = 2`);
    db.prepare(
      `INSERT INTO sources (repo, server, version, sync_status, last_check, first_seen, status_since, received_at, stale_at, files)
        VALUES ('rsyslog', 'lab', 3, 'OUT_OF_SYNC', '2026-04-21T10:32:15Z', ?, ?, ?, ?, ?)`,
    ).run(NOW, NOW, NOW, NOW + 1000, JSON.stringify([['a', NOW, 2]]));
    db.close();
  }

  it('is brought up to date, and nothing of it is lost', async () => {
    makeOld();
    const store = await openSqlite(folder.path);
    const [source] = await loadAll(store);
    await store.close();
    expect(source?.snapshot).to.deep.include({
      repo: 'rsyslog',
      server: 'lab',
      version: 3,
      files: [{ name: 'a', since: NOW, times: 2 }],
      statusSince: NOW,
      reportedBy: null,
    });
  });
});
