import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'chai';
import { advance } from '../../../src/core/ledger.ts';
import { parseReport } from '../../../src/core/report.ts';
import { APPLICATION_ID } from '../../../src/store/sqlite/migrations.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { type Change, type Store, StoreError } from '../../../src/store/store.ts';
import { NOW, makeFolder, reportOf, driftsOf, loadAll } from '../../fixtures.ts';

describe('sqlite', () => {
  let folder: ReturnType<typeof makeFolder>;
  let file: string;
  beforeEach(() => {
    folder = makeFolder();
    file = join(folder.path, 'gitops-status.db');
  });
  afterEach(() => folder.remove());

  it('makes the folder, and the folders above it, when they are not there', async () => {
    const path = join(folder.path, 'var', 'lib');
    const store = await openSqlite(path);
    await store.close();
    expect(readdirSync(path)).to.include('gitops-status.db');
  });

  it('keeps its files and the folder that it makes from other users', async () => {
    const path = join(folder.path, 'data');
    const store = await openSqlite(path);
    await store.commit([firstReport('s')]);
    // the thread that reads has files of its own
    await store.detail('web', 's', 1);
    const modes = modesIn(path);
    await store.close();
    expect(modes).to.deep.equal({
      '.': '700',
      'gitops-status.db': '600',
      'gitops-status.db-shm': '600',
      'gitops-status.db-wal': '600',
      'lock.db': '600',
      'lock.db-journal': '600',
      'owner.json': '600',
    });
  });

  it('takes from other users what an earlier version has left to them, but leaves a folder that is there as it is', async () => {
    const running = join(folder.path, 'running');
    const killed = join(folder.path, 'killed');
    mkdirSync(killed);
    const store = await openSqlite(running);
    await store.commit([firstReport('s')]);
    for (const name of readdirSync(running)) {
      copyFileSync(join(running, name), join(killed, name));
      chmodSync(join(killed, name), 0o644);
    }
    await store.close();
    chmodSync(killed, 0o750);
    const again = await openSqlite(killed);
    await again.commit([firstReport('t')]);
    const { '.': own, ...files } = modesIn(killed);
    await again.close();
    expect(own).to.equal('750');
    expect(new Set(Object.values(files))).to.deep.equal(new Set(['600']));
  });

  it('has its write-ahead log in the database when it is closed', async () => {
    await fill(folder.path, 10);
    expect(existsSync(`${file}-wal`)).to.equal(false);
  });

  it('cuts its write-ahead log back after a long read has made it grow', async () => {
    const store = await openSqlite(folder.path);
    const logBytes = (): number => statSync(`${file}-wal`).size;
    const diffs = { a: 'x'.repeat(16_000) };
    let servers = 0;
    const commitMuch = async (): Promise<void> => {
      await store.commit(Array.from({ length: 500 }, () => ({ ...firstReport(`s${(servers += 1)}`), diffs })));
    };
    const reader = new DatabaseSync(file, { readOnly: true });
    try {
      reader.exec('BEGIN; SELECT count(*) FROM sources');
      while (logBytes() < 50_000_000) await commitMuch();
      reader.exec('COMMIT');
      // one copies the log, the next begins it anew
      for (let i = 0; i < 2; i += 1) await commitMuch();
      expect(logBytes()).to.be.below(40_000_000);
    } finally {
      reader.close();
      await store.close();
    }
  });

  it('finds every commit after the process was killed', async () => {
    const store = await openSqlite(folder.path);
    const killed = makeFolder();
    try {
      for (let i = 0; i < 20; i += 1) await store.commit([firstReport(`s${i}`)]);
      // what a kill leaves behind: the database and its log as they are, in use
      for (const name of ['gitops-status.db', 'gitops-status.db-wal']) {
        copyFileSync(join(folder.path, name), join(killed.path, name));
      }
      const next = await openSqlite(killed.path);
      const loaded = await loadAll(next);
      await next.close();
      expect(loaded).to.have.length(20);
    } finally {
      await store.close();
      killed.remove();
    }
  });

  it('reads history while a commit is on its way', async () => {
    const store = await openSqlite(folder.path);
    const answers = await Promise.all([
      store.commit(Array.from({ length: 500 }, (_, i) => firstReport(`s${i}`))),
      driftsOf(store, { from: 0, to: NOW }),
      store.lapses({ from: 0, to: NOW }),
      store.detail('rsyslog', 's0', 10),
    ]);
    await store.close();
    expect(answers[1]).to.deep.equal([]);
    expect(answers[2]).to.deep.equal([]);
  });

  it('reads again after reading has failed', async () => {
    const store = await openSqlite(folder.path);
    await store.commit([firstReport('lab')]);
    renameSync(file, `${file}.away`);
    const failure = await store.detail('rsyslog', 'lab', 10).catch((error: unknown) => error);
    renameSync(`${file}.away`, file);
    const detail = await store.detail('rsyslog', 'lab', 10).catch((error: unknown) => error);
    await store.close();
    expect(failure).to.be.instanceOf(StoreError);
    expect(detail).to.have.property('snapshot');
  });

  it('tells a failure of an operation and goes on', async () => {
    const store = await openSqlite(folder.path);
    const failure = await store.prune(Number.NaN, Number.NaN).catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(StoreError);
    expect(await loadAll(store)).to.deep.equal([]);
    await store.close();
  });

  describe('two on one folder', () => {
    let first: Store;
    beforeEach(async () => {
      first = await openSqlite(folder.path);
    });
    afterEach(() => first.close());

    it('the second is refused, and told who has it', async () => {
      const message = await refusal(folder.path);
      expect(message).to.include(folder.path).and.include(`process ${process.pid} on `).and.include('in use');
    });

    it('the second is refused though the first has left no name', async () => {
      writeFileSync(join(folder.path, 'owner.json'), 'nothing of use');
      expect(await refusal(folder.path)).to.include('which left no name');
    });

    it('the first goes on', async () => {
      await refusal(folder.path);
      await first.commit([firstReport('lab')]);
      expect(await loadAll(first)).to.have.length(1);
    });

    it('the next has the folder once the first has closed', async () => {
      await first.close();
      first = await openSqlite(folder.path);
      await first.ready();
    });
  });

  it('says of a folder that cannot be one what to do', async () => {
    const path = join(folder.path, 'occupied');
    writeFileSync(path, 'a file');
    expect(await refusal(path)).to.include(`DATA_DIR ${path} cannot be written`);
    expect(readFileSync(path, 'utf8')).to.equal('a file');
  });

  describe('refuses to start, naming file and remedy and changing nothing, on', () => {
    const cases: readonly (readonly [what: string, says: string, damage: () => void])[] = [
      ['a file that is no database', 'is damaged', () => writeFileSync(file, 'x'.repeat(10_000))],
      ['a database that lost its end', 'is damaged', () => truncateSync(file, 4096 * 3)],
      ['a database with a page overwritten', 'is damaged', () => overwrite(file, 4096 * 4, 4096)],
      ['a database whose first page is overwritten', 'is damaged', () => overwrite(file, 100, 2000)],
      ['a database of a newer version', 'newer version', () => execute(file, 'PRAGMA user_version = 99')],
      ['the database of another program', "another program's", () => execute(file, 'PRAGMA application_id = 7')],
    ];
    for (const [what, says, damage] of cases) {
      it(what, async () => {
        await fill(folder.path, 300);
        damage();
        const before = readFileSync(file);
        const message = await refusal(folder.path);
        expect(message).to.include(file).and.include(says).and.include('Nothing was changed');
        expect(message, 'what to do').to.match(/Move the file away|Run that version|a DATA_DIR of its own/);
        expect(readFileSync(file).equals(before)).to.equal(true);
        // reading a database with a write-ahead log may make an empty one
        if (existsSync(`${file}-wal`)) expect(readFileSync(`${file}-wal`)).to.have.length(0);
      });
    }

    it('what is there, and gives the folder free again', async () => {
      writeFileSync(file, 'x'.repeat(10_000));
      await refusal(folder.path);
      writeFileSync(file, '');
      const store = await openSqlite(folder.path);
      await store.close();
    });
  });

  it('names the file and what to look at when reading it works but writing does not', async () => {
    // passes for a database of ours that has no tables yet, and cannot be given any
    execute(file, `PRAGMA application_id = ${APPLICATION_ID}; CREATE TABLE sources (id)`);
    const message = await refusal(folder.path);
    expect(message).to.include(file).and.include('already exists').and.include('cannot be written');
  });

  it('says that what belongs to the database has to be moved with it', async () => {
    writeFileSync(file, 'x'.repeat(10_000));
    expect(await refusal(folder.path)).to.include(`${file}-wal`);
  });
});

function firstReport(server: string): Change {
  const names = Array.from({ length: 20 }, (_, i) => `etc/some/folder/file-${i}`);
  const report = parseReport(reportOf(names, { server }), NOW);
  const advanced = advance(null, report, NOW, 600_000);
  if (advanced === null) throw new Error('a first report is never superseded');
  return { kind: 'report', expected: null, advance: advanced, diffs: null };
}

async function fill(path: string, sources: number): Promise<void> {
  const store = await openSqlite(path);
  await store.commit(Array.from({ length: sources }, (_, i) => firstReport(`s${i}`)));
  await store.close();
}

async function refusal(path: string): Promise<string> {
  const opened = await openSqlite(path).catch((error: unknown) => error);
  if (opened instanceof StoreError) return opened.message;
  if (opened instanceof Error) throw opened;
  await (opened as Store).close();
  throw new Error('it opened');
}

function overwrite(path: string, at: number, bytes: number): void {
  const content = readFileSync(path);
  content.fill(0xa5, at, at + bytes);
  writeFileSync(path, content);
}

function execute(path: string, sql: string): void {
  const db = new DatabaseSync(path);
  db.exec(sql);
  db.close();
}

/** The modes of a folder (as `.`) and of what is in it. */
function modesIn(path: string): Record<string, string> {
  const names = ['.', ...readdirSync(path)].toSorted();
  return Object.fromEntries(names.map((name) => [name, (statSync(join(path, name)).mode & 0o777).toString(8)]));
}
