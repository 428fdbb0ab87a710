import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'chai';
import { type Service, NOW, makeFolder, reportBody, reportOf, startService } from '../../fixtures.ts';
import { runMain } from '../../process.ts';

/** What changed bits of one column may look like, and what the refusal names. */
const DAMAGE: readonly (readonly [column: string, value: string | number, named: RegExp])[] = [
  ['files', '[["a",1776767540000,1', /the files of server rsyslog-lab of repo rsyslog/],
  ['files', '[["a",1776767540000,1]],', /the files of server/],
  ['files', '[["a",-1776767540000,1]]', /the files of server/],
  ['files', '[["a",1776767540000]]', /the files of server/],
  ['files', '{"a":[1776767540000,1]}', /the files of server/],
  ['files', '[["",1776767540000,1]]', /the files of server/],
  ['files', 'null', /the files of server/],
  ['files', '[]', /the row of server/],
  ['stale_at', 4_611_686_018_427, /the row of server/],
  ['stale_at', 1, /the row of server/],
  ['last_check', '2026-04-21T90:32:15Z', /the row of server/],
  ['last_check', '2096-04-21T10:32:15Z', /the row of server/],
  ['received_at', 9_007_199_254_740_991, /the row of server/],
  ['status_since', -1, /the row of server/],
  ['version', -5, /the row of server/],
];

describe('a database with changed bits in its rows', function () {
  this.timeout(30_000);

  let folder: ReturnType<typeof makeFolder>;
  let service: Service;
  let isRunning = false;

  beforeEach(async () => {
    folder = makeFolder();
    service = await startService({ dataDir: folder.path });
    isRunning = true;
    await service.post(reportBody({ files: [{ name: 'a', diff: 'x' }], drift_count: 1 }));
    await service.post(reportOf(['b'], { server: 'other' }));
    await service.post(reportOf([], { server: 'other' }));
  });
  afterEach(async () => {
    await stop();
    folder.remove();
  });

  async function stop(): Promise<void> {
    if (isRunning) await service.stop();
    isRunning = false;
  }

  function run(sql: string, ...values: (string | number)[]): void {
    const db = new DatabaseSync(join(folder.path, 'gitops-status.db'));
    db.exec('PRAGMA ignore_check_constraints = ON');
    db.prepare(sql).run(...values);
    db.close();
  }

  const damage = (column: string, value: string | number): void =>
    run(`UPDATE sources SET ${column} = ? WHERE server = 'rsyslog-lab'`, value);

  for (const [column, value, named] of DAMAGE) {
    it(`(${column} ${value}) is refused at the start, naming the source and what to do`, async () => {
      await stop();
      damage(column, value);
      const { code, output } = await runMain({ DATA_DIR: folder.path, PORT: '0', HOST: '127.0.0.1' });
      expect(code).to.equal(1);
      expect(output)
        .to.match(named)
        .and.match(/restore a backup/);
      expect(output).to.not.match(/\n\s+at /);
    });
  }

  for (const counts of ['[0,0', '[1,2]', '[0,0,0,0,0,0,0,0,-1]', '{}', '']) {
    it(`(counts ${counts}) is refused at the start`, async () => {
      await stop();
      run('UPDATE durations SET counts = ?', counts);
      const { code, output } = await runMain({ DATA_DIR: folder.path, PORT: '0', HOST: '127.0.0.1' });
      expect(code).to.equal(1);
      expect(output).to.match(/the time to reconcile of repo rsyslog/);
    });
  }

  for (const [column, value] of [
    ['diffs', '{"a":"x'],
    ['diffs', '[1]'],
    ['diffs', '{"a":1}'],
    ['diffs', 'null'],
    ['files', '[["a",1'],
    ['received_at', 9_007_199_254_740_991],
  ] as const) {
    it(`(${column} ${value}) gives no answer about the source, and says so in the log`, async () => {
      damage(column, value);
      const response = await service.request('/api/status/rsyslog/rsyslog-lab');
      expect(response.status).to.equal(503);
      expect(await response.json()).to.include({ reason: 'store_unavailable' });
      expect(JSON.stringify(service.log)).to.match(/The database is damaged/);
      expect((await service.request('/api/status/rsyslog/other')).status).to.equal(200);
    });
  }

  it('(files) gives no history', async () => {
    damage('files', '[["a",1');
    service.clock.advance(1000);
    expect((await service.request(`/history.json?from=${NOW - 1000}`)).status).to.equal(503);
    expect((await service.request(`/history.json?server=other&from=${NOW - 1000}`)).status).to.equal(200);
  });

  it('(counts) takes no report that would count on', async () => {
    run("UPDATE durations SET counts = '[0,0'");
    const refused = await service.post(reportOf([]));
    expect(refused.status).to.equal(503);
    expect(await refused.json()).to.include({ stored: false });
  });
});
