import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { makeFolder } from '../../fixtures.ts';
import { runMain, startMain } from '../../process.ts';
import { commitEach, contentOf, copyAsKilled, refusalOf, sourcesIn } from './stores.ts';

const NOBODY = 65_534;
const IS_ROOT = process.getuid?.() === 0;
/** Who is refused. */
const USER = IS_ROOT ? NOBODY : process.getuid?.();
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
    await makeKilled(path);
  });
  afterEach(() => folder.remove());

  /** A database with all its sources in the log. */
  async function makeKilled(to: string): Promise<void> {
    const running = join(folder.path, 'running');
    await (await openSqlite(running)).close();
    const store = await openSqlite(running);
    await commitEach(store, 0, COMMITS);
    copyAsKilled(running, to);
    await store.close();
    rmSync(running, { recursive: true });
  }

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

  describe('names the cause, and does not speak of damage, when', () => {
    for (const suffix of ['', '-wal']) {
      it(`this user may not read gitops-status.db${suffix}`, async () => {
        giveAway(path);
        takeBack(file + suffix);
        expect(await refusalOfUser(path))
          .to.include(`${file + suffix} may not be read and written by this user (uid ${USER}`)
          .and.include('It is not damaged')
          .and.include('chown');
      });
    }

    it('this user may not write to the folder', async () => {
      giveAway(path);
      takeBack(path);
      expect(await refusalOfUser(path))
        .to.include(`DATA_DIR ${path} cannot be written`)
        .and.include(`that this user (uid ${USER}) may write to`);
    });

    it('this user may not write to the lock', async () => {
      writeFileSync(join(path, 'lock.db'), '');
      giveAway(path);
      takeBack(join(path, 'lock.db'));
      expect(await refusalOfUser(path))
        .to.include(join(path, 'lock.db'))
        .and.include(`that this user (uid ${USER}) may write to, with all that is in it`);
    });

    it('another program has the database locked', async () => {
      const shell = await lockInAnotherProcess(file);
      const message = await refusalOf(path);
      shell.kill('SIGKILL');
      await once(shell, 'exit');
      expect(message).to.include(`${file} is locked by another program`).and.include('It is not damaged');
      await (await openSqlite(path)).close();
      expect(sourcesIn(path)).to.equal(COMMITS);
    });

    for (const [what, name] of [
      ['lock.db', 'lock.db'],
      ['owner.json', 'owner.json'],
    ] as const) {
      it(`${what} is a folder`, async () => {
        mkdirSync(join(path, name));
        const message = await refusalOf(path);
        expect(message).to.include(join(path, name)).and.include('Move away').and.not.include('damaged');
      });
    }
  });

  it('does not mind garbage in lock.db and owner.json: they hold nothing', async () => {
    for (const garbage of ['x', 'garbage'.repeat(3000), '{}', 'null']) {
      for (const name of ['lock.db', 'owner.json']) writeFileSync(join(path, name), garbage);
      const store = await openSqlite(path);
      expect(await refusalOf(path)).to.include(`in use by another gitops-status-server (process ${process.pid}`);
      await store.close();
    }
  });

  it('says who has the folder, or that he left no name', async () => {
    const store = await openSqlite(path);
    for (const garbage of ['', '{}', 'null', '[1]', '{"pid":"x"}']) {
      writeFileSync(join(path, 'owner.json'), garbage);
      expect(await refusalOf(path)).to.include('(which left no name)');
    }
    await store.close();
  });

  describe('says what is wrong with DATA_DIR when it', () => {
    it('lies below /proc, and does not look for it for ever', async () => {
      const { code, output } = await runMain({ DATA_DIR: '/proc/gitops/data' });
      expect(output).to.include('DATA_DIR /proc/gitops/data cannot be written');
      expect(code).to.equal(1);
    });

    it('is a symbolic link to nothing', async () => {
      const link = join(folder.path, 'link');
      symlinkSync(join(folder.path, 'nowhere'), link);
      for (const dataDir of [link, join(link, 'below')]) {
        expect(await refusalOf(dataDir)).to.include(`${link} is a symbolic link to ${join(folder.path, 'nowhere')}`);
      }
    });

    it('is a file, or below one', async () => {
      for (const dataDir of [file, join(file, 'below')]) {
        expect(await refusalOf(dataDir)).to.include(`${file} is not a folder`);
      }
    });
  });

  it('may be in a folder that a symbolic link leads to', async () => {
    const link = join(folder.path, 'link');
    symlinkSync(path, link);
    await (await openSqlite(link)).close();
    expect(sourcesIn(path)).to.equal(COMMITS);
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

/** Root may do everything, so it becomes a user to whom the folder belongs. */
function giveAway(path: string): void {
  if (!IS_ROOT) return;
  chmodSync(join(path, '..'), 0o755);
  for (const name of ['.', ...readdirSync(path)]) chownSync(join(path, name), NOBODY, NOBODY);
}

/** Leaves that user no right to it. */
function takeBack(path: string): void {
  if (IS_ROOT) chownSync(path, 0, 0);
  chmodSync(path, IS_ROOT ? 0o700 : 0);
}

/** The message with which a start by that user is refused. */
async function refusalOfUser(dataDir: string): Promise<string> {
  const module = new URL('../../../src/store/sqlite/sqlite.ts', import.meta.url).href;
  // what is imported may be in a folder that only root may read
  const code = `const { openSqlite } = await import(${JSON.stringify(module)});
    if (process.getuid() === 0) { process.setgroups([]); process.setgid(${NOBODY}); process.setuid(${NOBODY}); }
    await openSqlite(process.argv[1]).then(() => process.exit(1), (error) => console.log(error.message))`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code, dataDir]);
  return stdout;
}

async function lockInAnotherProcess(file: string): Promise<ChildProcess> {
  const code = `const { DatabaseSync } = require('node:sqlite');
    const db = new DatabaseSync(process.argv[1]);
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM sources WHERE id < 0');
    console.log('locked'); setInterval(() => {}, 1000)`;
  const child = spawn(process.execPath, ['--eval', code, file], { stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  return child;
}
