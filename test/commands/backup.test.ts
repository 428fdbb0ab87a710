import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, open, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { makeFolder } from '../fixtures.ts';
import { startLoad } from '../e2e/load.ts';
import { startMain } from '../process.ts';

const run = promisify(execFile);

describe('npm run backup', function () {
  this.timeout(120_000);
  let folder: ReturnType<typeof makeFolder>;
  let dataDir: string;
  let copy: string;

  beforeEach(async () => {
    folder = makeFolder();
    dataDir = join(folder.path, 'data');
    copy = join(folder.path, 'copies', 'copy.db');
    await mkdir(join(folder.path, 'copies'));
  });

  afterEach(() => folder.remove());

  it('makes, of a service under load, a copy that holds every report acknowledged before it began', async () => {
    await makeDatabase(dataDir);
    addHistory(dataDir, 100_000);
    const service = await startMain({ DATA_DIR: dataDir });
    const load = startLoad(service.url, { connections: 8, sources: 200 });
    let before = new Map<string, { acknowledged: number }>();
    try {
      // several, so that they begin at many moments of the group commit; each replaces the one before
      for (let copies = 1; copies <= 5; copies++) {
        await load.acknowledged(100);
        before = structuredClone(load.account);
        await backUp(dataDir, copy);
      }
      await load.stop();
    } finally {
      await service.kill();
    }
    expect(await readdir(join(folder.path, 'copies'))).to.deep.equal(['copy.db']);

    const rows = await restore(copy, folder.path);
    const reports = new Map(rows.map((row) => [row.server as string, Number(row.commit)]));
    for (const [server, { acknowledged }] of before) {
      if (acknowledged > 0) expect(reports.get(server), server).to.be.at.least(acknowledged);
    }
  });

  it('copies the database of a service that is stopped', async () => {
    const service = await startMain({ DATA_DIR: dataDir });
    await service.post({ server: 'stopped' });
    service.signal('SIGTERM');
    await service.ended;
    expect(await backUp(dataDir, copy)).to.match(/copy\.db: 1 sources, \d+ bytes/);
    const [row] = await restore(copy, folder.path);
    expect(row).to.include({ server: 'stopped', drift_count: 2 });
  });

  it('lets nobody else read the copy, whatever was there before', async () => {
    await makeDatabase(dataDir);
    for (const before of [copy, `${copy}.unfinished`]) {
      await writeFile(before, '');
      await chmod(before, 0o644);
    }
    await backUp(dataDir, copy);
    expect((await stat(copy)).mode & 0o777).to.equal(0o600);
  });

  it('leaves the earlier copy as it was when the database is damaged, and says so', async () => {
    await mkdir(dataDir);
    await writeFile(join(dataDir, 'gitops-status.db'), 'no database'.repeat(1000));
    await writeFile(copy, 'the earlier copy');
    expect(await failure(dataDir, copy)).to.match(/^1: .*no backup was made: .*not a database/);
    expect(await readdir(join(folder.path, 'copies'))).to.deep.equal(['copy.db']);
    expect(await readFile(copy, 'utf8')).to.equal('the earlier copy');
  });

  it('leaves the earlier copy as it was when only a page somewhere inside is damaged', async () => {
    await makeDatabase(dataDir);
    addHistory(dataDir, 1000);
    const file = await open(join(dataDir, 'gitops-status.db'), 'r+');
    await file.write('\u00ff'.repeat(100), (await file.stat()).size - 4096);
    await file.close();
    await writeFile(copy, 'the earlier copy');
    expect(await failure(dataDir, copy)).to.match(/^1: .*no backup was made: the copy is damaged/);
    expect(await readdir(join(folder.path, 'copies'))).to.deep.equal(['copy.db']);
    expect(await readFile(copy, 'utf8')).to.equal('the earlier copy');
  });

  it('says so when DATA_DIR holds no database', async () => {
    expect(await failure(dataDir, copy)).to.match(
      /^1: .*there is no .*gitops-status\.db\. Is DATA_DIR the service's\?/,
    );
  });

  it('says so when the folder to write to does not exist', async () => {
    await makeDatabase(dataDir);
    expect(await failure(dataDir, join(folder.path, 'nowhere', 'copy.db'))).to.match(
      /^1: .*the folder of .* cannot be used/,
    );
  });

  it("refuses to write over one of the service's own files", async () => {
    await makeDatabase(dataDir);
    for (const file of ['gitops-status.db', 'gitops-status.db-wal', 'lock.db']) {
      expect(await failure(dataDir, join(dataDir, file))).to.match(/^1: .* belongs to the service/);
    }
    const link = join(folder.path, 'link');
    await symlink(dataDir, link);
    expect(await failure(dataDir, join(link, 'gitops-status.db'))).to.match(/^1: .* belongs to the service/);
  });

  it('says so when the file is a folder, or cannot be written', async () => {
    await makeDatabase(dataDir);
    expect(await failure(dataDir, folder.path)).to.match(/^1: .* is a folder\. Name a file in it/);
    // there, and writable for nobody, root included
    expect(await failure(dataDir, '/proc/copy.db')).to.match(
      /^1: .*no backup was made: .*'\/proc\/copy\.db\.unfinished'/,
    );
  });

  it('explains itself when it is called without a file', async () => {
    expect(await failure(dataDir)).to.match(/^2: .*usage: npm run backup -- FILE/);
    expect(await backUp(dataDir, '--help')).to.match(/^usage: npm run backup -- FILE/);
  });
});

async function backUp(dataDir: string, ...files: string[]): Promise<string> {
  const { stdout } = await run('npm', ['run', '--silent', 'backup', '--', ...files], {
    env: { ...process.env, DATA_DIR: dataDir },
  });
  return stdout;
}

/** The exit code and what was printed, of a backup that must fail. */
async function failure(dataDir: string, ...files: string[]): Promise<string> {
  const error = await backUp(dataDir, ...files).then(
    (stdout) => ({ code: 0, stderr: stdout }),
    (reason: { code: number; stderr: string }) => reason,
  );
  const line = error.stderr.split('\n').find((it) => it.startsWith('gitops-status-server'));
  return `${error.code}: ${line}`;
}

/** Starts a service on the copy, and returns what it shows. */
async function restore(copy: string, folder: string): Promise<Record<string, unknown>[]> {
  const dataDir = join(folder, 'restored');
  await mkdir(dataDir);
  await copyFile(copy, join(dataDir, 'gitops-status.db'));
  const service = await startMain({ DATA_DIR: dataDir });
  try {
    return await service.list();
  } finally {
    await service.kill();
  }
}

/** So many drifts that are over, about 60 bytes each. */
function addHistory(dataDir: string, drifts: number): void {
  const db = new DatabaseSync(join(dataDir, 'gitops-status.db'));
  db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${drifts})
    INSERT INTO drifts SELECT i, 'etc/some/file', 1, i, i + 1 FROM n; PRAGMA wal_checkpoint(TRUNCATE)`);
  db.close();
}

async function makeDatabase(dataDir: string): Promise<void> {
  const service = await startMain({ DATA_DIR: dataDir });
  await service.kill();
}
