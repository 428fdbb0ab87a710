import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'chai';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { makeFolder } from '../../fixtures.ts';
import { runMain, startMain } from '../../process.ts';
import { commitEach, contentOf, makeKilled, refusalOf, sourcesIn } from './stores.ts';

const COMMITS = 12;

describe('the start of the service, with what lies in DATA_DIR', function () {
  this.timeout(60_000);
  let folder: ReturnType<typeof makeFolder>;
  let path: string;
  let file: string;

  beforeEach(async () => {
    folder = makeFolder();
    path = join(folder.path, 'data');
    file = join(path, 'gitops-status.db');
    await makeKilled(path, COMMITS);
  });
  afterEach(() => folder.remove());

  async function expectRefusal(...says: string[]): Promise<void> {
    const before = contentOf(path);
    const message = await refusalOf(path);
    for (const words of says) expect(message).to.include(words);
    expect(message).to.include('othing was changed');
    expect(contentOf(path)).to.deep.equal(before);
  }

  it('goes on from what a kill has left', async () => {
    const store = await openSqlite(path);
    await store.close();
    expect(sourcesIn(path)).to.equal(COMMITS);
  });

  describe('is refused, and nothing is changed, when', () => {
    it('the database has 0 bytes and its log is there', async () => {
      truncateSync(file, 0);
      await expectRefusal(
        `${file} has lost its content (0 bytes), but ${file}-wal is there`,
        'npm run restore -- FILE',
        `move ${file}-wal away`,
      );
    });

    it('the database is gone and its log is there', async () => {
      rmSync(file);
      await expectRefusal(`${file} is gone, but ${file}-wal is there`);
    });

    it('the database is gone and a journal of its pages is there', async () => {
      rmSync(`${file}-wal`);
      makeJournal(file);
      rmSync(file);
      await expectRefusal(`${file} is gone, but ${file}-journal is there`);
      writeFileSync(file, '');
      await expectRefusal(`${file} has lost its content (0 bytes), but ${file}-journal is there`);
    });

    for (const bytes of [1, 50, 99, 100, 4095, 4096, 3 * 4096, 5 * 4096 + 7]) {
      it(`the database has lost all but ${bytes} bytes`, async () => {
        rmSync(`${file}-wal`);
        truncateSync(file, bytes);
        await expectRefusal(`${file} is damaged`);
      });
    }

    it('a backup was put in its place, and the old log is there', async () => {
      const backup = await makeBackup(1);
      copyFileSync(backup, file);
      await expectRefusal(
        `${file} is not the database that ${file}-wal belongs to`,
        'npm run restore -- FILE',
        `move ${file}-wal away`,
      );
    });

    it('it is not a file', async () => {
      rmSync(path, { recursive: true });
      mkdirSync(file, { recursive: true });
      expect(await refusalOf(path)).to.include(`${file} is a folder`);
    });
  });

  it('is as it was once the log that belongs to nothing is moved away', async () => {
    copyFileSync(await makeBackup(1), file);
    await refusalOf(path);
    renameSync(`${file}-wal`, `${file}-wal.away`);
    await (await openSqlite(path)).close();
    expect(sourcesIn(path)).to.equal(1);
  });

  it('ends the process with 1 and says why', async () => {
    truncateSync(file, 0);
    const before = contentOf(path);
    const { code, output } = await runMain({ DATA_DIR: path });
    expect(code).to.equal(1);
    expect(output).to.include(`${file} has lost its content`);
    expect(contentOf(path)).to.deep.equal(before);
  });

  it('takes back what was half done when the very first start was interrupted', async () => {
    rmSync(path, { recursive: true });
    mkdirSync(path);
    // the first write of a database, with its journal still there
    const db = new DatabaseSync(file);
    db.exec('PRAGMA cache_size = 1; BEGIN; CREATE TABLE t (x)');
    for (let i = 0; i < 50; i += 1) db.exec('INSERT INTO t VALUES (randomblob(4000))');
    const [database, journal] = [readFileSync(file), readFileSync(`${file}-journal`)];
    db.exec('ROLLBACK');
    db.close();
    for (const bytes of [Buffer.alloc(0), database]) {
      writeFileSync(file, bytes);
      writeFileSync(`${file}-journal`, journal);
      await (await openSqlite(path)).close();
      expect(sourcesIn(path)).to.equal(0);
      for (const suffix of ['', '-journal']) rmSync(file + suffix, { force: true });
    }
  });

  it('takes back what was half done when a backup was being opened', async () => {
    rmSync(`${file}-wal`);
    copyFileSync(await makeBackup(3), file);
    makeJournal(file);
    await (await openSqlite(path)).close();
    expect(sourcesIn(path)).to.equal(3);
  });

  it('goes on in another place with other names of the same files', async () => {
    const moved = join(folder.path, 'moved');
    renameSync(path, moved);
    await (await openSqlite(moved)).close();
    expect(sourcesIn(moved)).to.equal(COMMITS);
  });

  it('goes on from a checkpoint that a power cut has ended', async () => {
    const [before, log] = [readFileSync(file), readFileSync(`${file}-wal`)];
    await (await openSqlite(path)).close();
    const after = readFileSync(file);
    for (const every of [2, 3, 5, 7]) {
      // SQLite copies pages in any order before it syncs
      const torn = Buffer.from(after);
      for (let at = 0; at < torn.length; at += 512 * every) {
        torn.fill(0, at, at + 512);
        if (at < before.length) before.copy(torn, at, at, at + 512);
      }
      writeFileSync(file, torn.subarray(0, Math.max(before.length, 512 * every)));
      writeFileSync(`${file}-wal`, log);
      await (await openSqlite(path)).close();
      expect(sourcesIn(path)).to.equal(COMMITS);
    }
  });

  it('warns when it starts empty beside other databases', async () => {
    const empty = join(folder.path, 'empty');
    mkdirSync(empty);
    copyFileSync(await makeBackup(2), join(empty, 'backup-monday.db'));
    writeFileSync(join(empty, 'notes.txt'), 'not a database');
    const service = await startMain({ DATA_DIR: empty });
    await service.kill();
    const lines = service
      .output()
      .split('\n')
      .filter((line) => line.includes('backup-monday.db'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map(({ msg }) => msg)).to.deep.equal([
      `data is in ${empty}`,
      `starting empty: ${empty} has no gitops-status.db, but holds other databases (backup-monday.db). If one of them is a backup ` +
        `to go on from, stop the service and run: npm run restore -- ${join(empty, 'backup-monday.db')}`,
    ]);
    expect(lines.map(({ level }) => level)).to.deep.equal([30, 40]);
  });

  it('does not warn when there is no other database, or ours is there', async () => {
    const warnings: string[] = [];
    copyFileSync(file, join(path, 'backup.db'));
    for (const dataDir of [path, join(folder.path, 'new')]) {
      await (await openSqlite(dataDir, (warning) => warnings.push(warning))).close();
      await (await openSqlite(dataDir, (warning) => warnings.push(warning))).close();
    }
    expect(warnings).to.deep.equal([]);
  });

  /** As `npm run backup` makes it, which is compared with it in the tests of the commands. */
  async function makeBackup(sources: number): Promise<string> {
    const from = join(folder.path, 'other');
    const store = await openSqlite(from);
    await commitEach(store, 0, sources);
    await store.close();
    const db = new DatabaseSync(join(from, 'gitops-status.db'));
    db.exec('PRAGMA journal_mode = DELETE');
    db.close();
    return join(from, 'gitops-status.db');
  }
});

/** What a process that is killed in a transaction leaves: a changed database, and the pages that were there before. */
function makeJournal(file: string): void {
  const db = new DatabaseSync(file);
  db.exec('PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN; DELETE FROM sources');
  for (let i = 0; i < 50; i += 1) db.exec('INSERT INTO drifts VALUES (1, hex(randomblob(2000)), 1, 1, 1)');
  const copies = ['', '-journal'].map((suffix) => [file + suffix, readFileSync(file + suffix)] as const);
  db.exec('ROLLBACK');
  db.close();
  for (const [path, bytes] of copies) writeFileSync(path, bytes);
}
