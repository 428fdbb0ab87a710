import { execFile } from 'node:child_process';
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { mayMount, openSmallDisk } from '../e2e/small-disk.ts';
import { makeFolder } from '../fixtures.ts';
import { startMain } from '../process.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import { commitEach, contentOf, copyAsKilled, sourcesIn } from '../store/sqlite/stores.ts';

const run = promisify(execFile);
const NOBODY = 65_534;
/** How many sources each has. */
const NEWER = 9;
const IN_BACKUP = 4;

describe('npm run restore', function () {
  this.timeout(120_000);
  let folder: ReturnType<typeof makeFolder>;
  let dataDir: string;
  let database: string;
  let backup: string;

  beforeEach(async () => {
    folder = makeFolder();
    dataDir = join(folder.path, 'data');
    database = join(dataDir, 'gitops-status.db');
    backup = join(folder.path, 'backup.db');
    const running = join(folder.path, 'running');
    const store = await openSqlite(running);
    await commitEach(store, 0, IN_BACKUP);
    await command('backup', running, backup);
    await commitEach(store, IN_BACKUP, NEWER);
    // with everything in its log
    copyAsKilled(running, dataDir);
    await store.close();
  });
  afterEach(() => folder.remove());

  it('makes a backup the database, and keeps what was there with its log', async () => {
    const before = contentOf(dataDir);
    const output = await command('restore', dataDir, backup);
    expect(output)
      .to.include(`${database}: ${IN_BACKUP} sources, from ${backup}`)
      .and.include('kept, until you delete it');
    expect(await namesIn(dataDir)).to.deep.equal(servers(IN_BACKUP));
    const kept = keptIn(dataDir);
    expect(kept.map((name) => name.replace(/\d{8}T\d{6}Z/, 'TIME'))).to.deep.equal([
      'gitops-status.db.before-restore-TIME',
      'gitops-status.db.before-restore-TIME-wal',
    ]);
    for (const name of kept) {
      expect(output).to.include(join(dataDir, name));
      const was = name.replace(/\.before-restore-\d{8}T\d{6}Z/, '');
      expect(readFileSync(join(dataDir, name)).toString('latin1') === before[was], name).to.equal(true);
    }
  });

  it('can be undone: what it kept can be restored, with what was in its log', async () => {
    await command('restore', dataDir, backup);
    const [kept = ''] = keptIn(dataDir);
    expect(await command('restore', dataDir, join(dataDir, kept))).to.include(`${NEWER} sources`);
    expect(await namesIn(dataDir)).to.deep.equal(servers(NEWER));
    expect(keptIn(dataDir)).to.include(kept).and.have.length(3);
    expect(readdirSync(dataDir).filter((name) => name.endsWith('-shm'))).to.deep.equal([]);
  });

  it('mends what a service refuses: a database that is damaged, or gone from beside its log', async () => {
    for (const damage of [
      () => truncateSync(database, 0),
      () => rmSync(database),
      () => writeFileSync(database, 'no database'),
    ]) {
      damage();
      await command('restore', dataDir, backup);
      expect(await namesIn(dataDir)).to.deep.equal(servers(IN_BACKUP));
    }
  });

  it('works into a folder that is not there, or is empty', async () => {
    const fresh = join(folder.path, 'new', 'data');
    expect(await command('restore', fresh, backup)).to.not.include('kept');
    expect(await namesIn(fresh)).to.deep.equal(servers(IN_BACKUP));
  });

  it('takes a backup that lies in DATA_DIR, even one moved there over the database', async () => {
    copyFileSync(backup, database);
    const aside = join(dataDir, 'monday.db');
    renameSync(database, aside);
    await command('restore', dataDir, aside);
    expect(await namesIn(dataDir)).to.deep.equal(servers(IN_BACKUP));
    expect(existsSync(aside)).to.equal(true);
  });

  it('takes copies that were made in other ways', async () => {
    const other = join(folder.path, 'other.db');
    const db = new DatabaseSync(backup);
    db.exec(`PRAGMA journal_mode = WAL; VACUUM INTO '${other}'`);
    db.close();
    for (const file of [backup, other]) {
      expect(await command('restore', dataDir, file)).to.include(`${IN_BACKUP} sources`);
      expect(readFileSync(database)[18], 'with no log of its own').to.equal(1);
    }
  });

  it('refuses while a service runs, and says who it is', async () => {
    const service = await startMain({ DATA_DIR: dataDir });
    try {
      const message = await failure(dataDir, backup);
      expect(message).to.match(/^1: .*nothing was restored: .* is in use by another gitops-status-server/);
      expect(message).to.include(`process ${service.pid}`);
      expect(await service.list()).to.have.length(NEWER);
    } finally {
      await service.kill();
    }
    expect(readdirSync(dataDir).filter((name) => name.includes('restore'))).to.deep.equal([]);
  });

  it('gives the files to the user whose the others are', async function () {
    if (process.getuid?.() !== 0) this.skip();
    const fresh = join(folder.path, 'fresh');
    mkdirSync(fresh);
    for (const path of [dataDir, database, fresh]) chownSync(path, NOBODY, NOBODY);
    for (const path of [dataDir, fresh]) {
      await command('restore', path, backup);
      for (const name of ['gitops-status.db', 'lock.db', 'owner.json']) {
        const { uid, gid, mode } = statSync(join(path, name));
        expect([uid, gid, mode & 0o777], name).to.deep.equal([NOBODY, NOBODY, 0o600]);
      }
    }
  });

  describe('changes nothing and says why, when the file', () => {
    const cases: readonly (readonly [what: string, says: RegExp, make: (file: string) => void])[] = [
      ['is not there', /there is no .*copy\.db$/, () => {}],
      ['is a folder', /copy\.db is not a file/, (file) => mkdirSync(file)],
      ['is empty', /copy\.db is empty/, (file) => writeFileSync(file, '')],
      [
        'is no database',
        /copy\.db is damaged \(file is not a database\)|not a database/,
        (file) => writeFileSync(file, 'x'.repeat(9999)),
      ],
      [
        'is short',
        /copy\.db .*(damaged|not a database)/,
        (file) => writeFileSync(file, readFileSync(backup).subarray(0, 50)),
      ],
      ["is another program's", /not a database of gitops-status-server/, (file) => execute(file, 'CREATE TABLE t (x)')],
      [
        'is of a newer version',
        /written by a newer version/,
        (file) => execute(copyTo(file), 'PRAGMA user_version = 99'),
      ],
      ['has lost its end', /damaged|malformed/, (file) => truncateSync(copyTo(file), 4096 * 4)],
      ['is damaged inside', /damaged|malformed/, (file) => overwrite(copyTo(file), 4096 * 4)],
      [
        'has the log of another beside it',
        /-wal does not belong/,
        (file) => copyFileSync(`${database}-wal`, `${copyTo(file)}-wal`),
      ],
      ['was not written to its end', /-journal is there/, (file) => writeFileSync(`${copyTo(file)}-journal`, JOURNAL)],
      ['is another file of the service', /not a database/, (file) => writeFileSync(file, '{"pid":1}'.repeat(99))],
    ];
    for (const [what, says, make] of cases) {
      it(what, async () => {
        const file = join(folder.path, 'copy.db');
        make(file);
        const [before, filesBefore] = [contentOf(dataDir), readdirSync(folder.path)];
        const message = await failure(dataDir, file);
        expect(message)
          .to.match(/^1: gitops-status-server restore: nothing was restored: /)
          .and.match(says);
        expect(message).to.not.include('npm run restore');
        expect(contentOf(dataDir)).to.deep.equal(before);
        expect(readdirSync(folder.path)).to.deep.equal(filesBefore);
      });
    }

    it('is the database itself', async () => {
      expect(await failure(dataDir, database)).to.match(/^1: .* is the database itself/);
    });

    function copyTo(file: string): string {
      copyFileSync(backup, file);
      return file;
    }
  });

  it('explains itself when it is called without a file', async () => {
    expect(await failure(dataDir)).to.match(/^2: .*usage: npm run restore -- FILE/);
    expect(await failure(dataDir, backup, backup)).to.match(/^2: .*usage: npm run restore -- FILE/);
    expect(await command('restore', dataDir, '--help')).to.match(/^usage: npm run restore -- FILE/);
  });

  it('leaves the old state or the new one, wherever it is killed', async () => {
    const outcomes = new Set<number>();
    for (let step = 1; ; step += 1) {
      const path = join(folder.path, `killed-${step}`);
      copyAsKilled(dataDir, path);
      const isDone = await restoreUntil(step, path, backup);
      const found = (await namesIn(path)).length;
      outcomes.add(found);
      expect(found, `killed at step ${step}`).to.be.oneOf([NEWER, IN_BACKUP]);
      if (found === IN_BACKUP) {
        expect(sourcesIn(renamed(path)), `what step ${step} has kept`).to.equal(NEWER);
      }
      expect(readdirSync(path).filter((name) => /unfinished|\.restore-/.test(name))).to.deep.equal([]);
      if (isDone) break;
    }
    expect(outcomes.size, 'killed before and after the point from which it goes on').to.equal(2);
  });

  it('is finished in the end, however often it is killed', async () => {
    for (let step = 1; !(await restoreUntil(step, dataDir, backup)); step += 1);
    expect(await namesIn(dataDir)).to.deep.equal(servers(IN_BACKUP));
    const [oldest = ''] = keptIn(dataDir);
    await command('restore', dataDir, join(dataDir, oldest));
    expect(await namesIn(dataDir), 'the first that was kept').to.deep.equal(servers(NEWER));
  });

  if (mayMount()) {
    it('changes nothing when the disk has no room, and says how much it needs', async () => {
      const disk = openSmallDisk();
      try {
        const path = join(disk.path, 'data');
        copyAsKilled(dataDir, path);
        const before = contentOf(path);
        const big = join(folder.path, 'big.db');
        copyFileSync(backup, big);
        execute(big, 'INSERT INTO drifts SELECT 1, hex(randomblob(2000000)), 1, 1, 1');
        const { size } = statSync(big);
        expect(await failure(path, big)).to.match(new RegExp(`^1: .*needs ${size} bytes .* has room for \\d+`));
        expect(contentOf(path)).to.deep.equal(before);
        disk.fill();
        expect(await failure(path, backup)).to.match(/^1: .*(M|m)ake room/);
        rmSync(join(disk.path, 'filler'));
        expect(contentOf(path)).to.deep.equal(before);
        expect(await namesIn(path)).to.deep.equal(servers(NEWER));
      } finally {
        disk.remove();
      }
    });
  }
});

/** A journal's first bytes: one page to be put back. */
const JOURNAL = Buffer.concat([Buffer.from('d9d505f920a163d7000000010000000100000001', 'hex'), Buffer.alloc(492)]);

async function command(name: 'backup' | 'restore', dataDir: string, ...files: string[]): Promise<string> {
  const { stdout } = await run('npm', ['run', '--silent', name, '--', ...files], {
    env: { ...process.env, DATA_DIR: dataDir },
  });
  return stdout;
}

/** The exit code and what was printed, of a restore that must fail. */
async function failure(dataDir: string, ...files: string[]): Promise<string> {
  const error = await command('restore', dataDir, ...files).then(
    (stdout) => ({ code: 0, stderr: stdout }),
    (reason: { code: number; stderr: string }) => reason,
  );
  return `${error.code}: ${error.stderr.trim()}`;
}

/** Kills the command at its n-th call that changes a file or brings one to the disk. @returns whether it ended before */
async function restoreUntil(step: number, dataDir: string, file: string): Promise<boolean> {
  const hook = `import fs from 'node:fs'; import { syncBuiltinESMExports } from 'node:module';
    let step = 0;
    for (const name of ['renameSync', 'rmSync', 'fsyncSync', 'chownSync', 'writeFileSync', 'chmodSync', 'statfsSync']) {
      const real = fs[name];
      fs[name] = (...args) => { if (++step === ${step}) process.kill(process.pid, 'SIGKILL'); return real(...args); };
    }
    syncBuiltinESMExports();`;
  const args = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`, 'src/commands/restore.ts', file];
  return run(process.execPath, args, { env: { ...process.env, DATA_DIR: dataDir } }).then(
    () => true,
    (error: { signal: string; stderr: string }) => {
      expect(error.signal, error.stderr).to.equal('SIGKILL');
      return false;
    },
  );
}

/** The servers that a service finds. */
async function namesIn(dataDir: string): Promise<string[]> {
  const store = await openSqlite(dataDir);
  const names: string[] = [];
  try {
    for await (const page of store.load()) names.push(...page.map(({ snapshot }) => snapshot.server));
  } finally {
    await store.close();
  }
  return names;
}

function servers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `s${i}`);
}

function keptIn(dataDir: string): string[] {
  return readdirSync(dataDir)
    .filter((name) => name.includes('before-restore'))
    .toSorted();
}

/** A folder in which what was kept has the database's name again. */
function renamed(dataDir: string): string {
  const to = join(dataDir, 'kept');
  mkdirSync(to);
  for (const name of keptIn(dataDir)) {
    copyFileSync(join(dataDir, name), join(to, name.replace(/\.before-restore-\d{8}T\d{6}Z/, '')));
  }
  return to;
}

function execute(path: string, sql: string): void {
  const db = new DatabaseSync(path);
  db.exec(sql);
  db.close();
}

function overwrite(path: string, at: number): void {
  const content = readFileSync(path);
  content.fill(0xa5, at, at + 4096);
  writeFileSync(path, content);
}
