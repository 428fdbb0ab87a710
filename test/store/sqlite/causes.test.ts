import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { mayMount, openSmallDisk } from '../../e2e/small-disk.ts';
import { makeFolder } from '../../fixtures.ts';
import { runMain } from '../../process.ts';
import { contentOf, copyAsKilled, makeKilled, refusalOf, sourcesIn } from './stores.ts';

const NOBODY = 65_534;
const IS_ROOT = process.getuid?.() === 0;
/** Who is refused. */
const USER = IS_ROOT ? NOBODY : process.getuid?.();
const COMMITS = 12;

describe('a start that is kept from its database', function () {
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

  if (mayMount()) {
    it('says that the disk is full, and goes on once there is room', async () => {
      const disk = openSmallDisk();
      try {
        const onDisk = join(disk.path, 'data');
        copyAsKilled(path, onDisk);
        disk.fill();
        const before = contentOf(onDisk);
        expect(await refusalOf(onDisk))
          .to.match(/[Mm]ake room/)
          .and.not.include('is damaged');
        expect(contentOf(onDisk)).to.deep.equal(before);
        disk.makeRoom();
        await (await openSqlite(onDisk)).close();
        expect(sourcesIn(onDisk)).to.equal(COMMITS);
      } finally {
        disk.remove();
      }
    });
  }

  it('may be in a folder that a symbolic link leads to', async () => {
    const link = join(folder.path, 'link');
    symlinkSync(path, link);
    await (await openSqlite(link)).close();
    expect(sourcesIn(path)).to.equal(COMMITS);
  });
});

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
