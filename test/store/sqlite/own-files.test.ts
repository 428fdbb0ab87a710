import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, truncateSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeFolder } from '../../fixtures.ts';
import { type Service, startMain, until } from '../../process.ts';

type Files = { readonly folder: string; readonly database: string; readonly log: string; readonly aside: string };

/** What people and scripts do to the files of a service that runs, and which one its answers must name. */
const FAULTS: readonly (readonly [what: string, run: (files: Files) => void, named: RegExp])[] = [
  [
    'all of it is deleted',
    ({ folder }) => {
      for (const name of readdirSync(folder)) rmSync(join(folder, name));
    },
    /gitops-status\.db is gone/,
  ],
  ['the folder is deleted', ({ folder }) => rmSync(folder, { recursive: true }), /gitops-status\.db is gone/],
  ['the folder is moved', ({ folder, aside }) => renameSync(folder, aside), /gitops-status\.db is gone/],
  ['the database is deleted', ({ database }) => unlinkSync(database), /gitops-status\.db is gone/],
  ['the database is moved', ({ database, aside }) => renameSync(database, aside), /gitops-status\.db is gone/],
  [
    'another database is put in its place',
    ({ database, aside }) => {
      copyFileSync(database, aside);
      renameSync(aside, database);
    },
    /gitops-status\.db is another file/,
  ],
  ['the database is emptied', ({ database }) => truncateSync(database), /gitops-status\.db has lost its end/],
  ['the database is cut', ({ database }) => truncateSync(database, 2048), /gitops-status\.db has lost its end/],
  ['the log is deleted', ({ log }) => unlinkSync(log), /gitops-status\.db-wal is gone/],
  ['the log is moved', ({ log, aside }) => renameSync(log, aside), /gitops-status\.db-wal is gone/],
  ['the log is emptied', ({ log }) => truncateSync(log), /gitops-status\.db-wal has lost its end/],
  ['the log is cut', ({ log }) => truncateSync(log, 100), /gitops-status\.db-wal has lost its end/],
  [
    'the log is emptied amid a commit, whose end makes it as long as before',
    ({ log }) => {
      const { size } = statSync(log);
      truncateSync(log);
      truncateSync(log, size);
    },
    /gitops-status\.db-wal has lost what was in it/,
  ],
  ['the index of the log is deleted', ({ database }) => unlinkSync(`${database}-shm`), /gitops-status\.db-shm is gone/],
  ['the lock is deleted', ({ folder }) => unlinkSync(join(folder, 'lock.db')), /lock\.db is gone/],
];

describe('when files are changed under the running service', function () {
  this.timeout(60_000);

  let root: ReturnType<typeof makeFolder>;
  let files: Files;
  let service: Service;

  beforeEach(async () => {
    root = makeFolder();
    const folder = join(root.path, 'data');
    mkdirSync(folder);
    const database = join(folder, 'gitops-status.db');
    files = { folder, database, log: `${database}-wal`, aside: join(root.path, 'aside') };
    service = await startMain({ DATA_DIR: folder });
    for (let i = 0; i < 20; i += 1) await report(`before-${i}`);
  });
  afterEach(async () => {
    await service.kill();
    root.remove();
  });

  const report = async (server: string): Promise<Response> => service.post({ server });
  const ready = (): Promise<Response> => fetch(`${service.url}/readyz`);

  for (const [what, run, named] of FAULTS) {
    it(`(${what}) reports get 503 at once, and readiness names the file`, async () => {
      run(files);
      const refused = await report('after');
      expect(refused.status).to.equal(503);
      expect(await refused.json()).to.include({ reason: 'store_unavailable', stored: false });
      const response = await ready();
      expect(response.status).to.equal(503);
      expect(((await response.json()) as { detail: string }).detail).to.match(named);
      await until(() => named.test(service.output()) || undefined);
      // reads go on
      expect(await service.list()).to.have.lengthOf(20);
    });
  }

  it('readiness notices it though nobody reports', async () => {
    unlinkSync(files.database);
    await until(async () => ((await ready()).status === 503 ? true : undefined));
  });

  it('what was put back is as it was, and the service goes on', async () => {
    renameSync(files.folder, files.aside);
    expect((await report('refused')).status).to.equal(503);
    renameSync(files.aside, files.folder);
    expect((await report('after')).status).to.equal(201);
    expect((await ready()).status).to.equal(200);
    await service.kill();
    service = await startMain({ DATA_DIR: files.folder });
    const servers = (await service.list()).map((row) => row.server);
    expect(servers).to.have.lengthOf(21).and.include('after');
  });

  it('a log that grows, is copied into the database, and begins anew, is no fault', async () => {
    for (let round = 0; round < 10; round += 1) {
      const names = Array.from({ length: 2000 }, (_, i) => ({ name: `${round}-${i}-${'x'.repeat(400)}` }));
      const response = await service.post({ drift_count: 2000, files: names });
      expect(response.status).to.be.oneOf([200, 201]);
    }
    expect((await ready()).status).to.equal(200);
  });
});
