import { expect } from 'chai';
import { toIso } from '../../../src/core/timestamp.ts';
import {
  type Clock,
  type Disk,
  NOW,
  type Service,
  createClock,
  createDisk,
  makeFolder,
  reportBody,
  reportOf,
  startService,
  until,
} from '../../fixtures.ts';

const BROKEN = reportBody({ drift_count: 9 });

describe('a report that was refused', () => {
  let folder: ReturnType<typeof makeFolder>;
  let clock: Clock;
  let disk: Disk;
  let service: Service;

  beforeEach(async () => {
    folder = makeFolder();
    clock = createClock();
    await start();
    await service.post(reportBody());
  });
  afterEach(async () => {
    await service.stop();
    folder.remove();
  });

  async function start(): Promise<void> {
    service = await startService({
      dataDir: folder.path,
      clock,
      wrapStore(store) {
        disk = createDisk(store);
        return disk.store;
      },
    });
  }

  async function restart(): Promise<void> {
    await service.stop();
    await start();
  }

  async function refuse(): Promise<void> {
    expect((await service.post(BROKEN)).status).to.equal(422);
  }

  /** What row, detail and metrics say of it, which must be the same. */
  async function rejectedAt(): Promise<unknown> {
    const [row] = (await (await service.request('/status.json')).json()) as Record<string, unknown>[];
    const detail = await (await service.request('/api/status/rsyslog/rsyslog-lab')).json();
    const metrics = await (await service.request('/metrics')).text();
    const seconds = /^gitops_last_rejected_timestamp_seconds\{.*\} (.+)$/m.exec(metrics)?.[1];
    expect(detail).to.include({ last_rejected_at: row?.last_rejected_at });
    expect(seconds === undefined ? null : toIso(Number(seconds) * 1000)).to.equal(row?.last_rejected_at);
    return row?.last_rejected_at;
  }

  const written = (): Promise<void> =>
    until(async () => (await service.store.source('rsyslog', 'rsyslog-lab'))?.snapshot.lastRejectedAt !== null);

  it('is shown with its source, at once and after a restart', async () => {
    await refuse();
    expect(await rejectedAt()).to.equal(toIso(NOW));
    await restart();
    expect(await rejectedAt()).to.equal(toIso(NOW));
  });

  it('changes the validators of list and detail', async () => {
    for (const path of ['/status.json', '/api/status/rsyslog/rsyslog-lab']) {
      clock.advance(2000);
      const etag = (await service.request(path)).headers.get('ETag') as string;
      await refuse();
      const again = await service.request(path, { headers: { 'If-None-Match': etag } });
      expect(again.status).to.equal(200);
    }
  });

  for (const [result, report] of [
    ['unchanged', reportBody()],
    ['changed', reportOf(['other'])],
    ['unchanged', reportBody({ last_check: '2026-04-21T10:32:16Z' })],
  ] as const) {
    it(`is forgotten once one is accepted (${result}, ${String(report.last_check)})`, async () => {
      await refuse();
      await written();
      const receipt = await (await service.post(report)).json();
      expect(receipt).to.include({ result });
      expect(await rejectedAt()).to.equal(null);
      await restart();
      expect(await rejectedAt()).to.equal(null);
    });
  }

  it('is not forgotten for one that is superseded', async () => {
    await refuse();
    const receipt = await (await service.post(reportBody({ last_check: '2026-04-21T10:00:00Z' }))).json();
    expect(receipt).to.include({ result: 'superseded' });
    expect(await rejectedAt()).to.equal(toIso(NOW));
  });

  it('is forgotten with its source', async () => {
    await refuse();
    await service.request('/api/status/rsyslog/rsyslog-lab', { method: 'DELETE' });
    await service.post(reportBody());
    expect(await rejectedAt()).to.equal(null);
  });

  it('holds up nobody while the disk hangs, and waits to be written', async () => {
    disk.hang();
    await refuse();
    expect(await rejectedAt()).to.equal(toIso(NOW));
    disk.heal();
    await restart();
    expect(await rejectedAt()).to.equal(toIso(NOW));
  });

  it('is noted in memory where the disk is full', async () => {
    disk.fail('disk full');
    expect((await service.post(reportBody())).status).to.equal(503);
    expect(await rejectedAt()).to.equal(toIso(NOW));
    disk.heal();
    expect((await service.post(reportBody())).status).to.equal(200);
    expect(await rejectedAt()).to.equal(null);
  });

  it('after another one is written at most once a second', async () => {
    const commits = (): number => disk.calls.filter((call) => call === 'commit').length;
    await refuse();
    await written();
    const before = commits();
    for (let i = 0; i < 20; i += 1) {
      clock.advance(40);
      await refuse();
    }
    expect(commits()).to.equal(before);
    expect(await rejectedAt()).to.equal(toIso(NOW));
    clock.advance(200);
    await refuse();
    await until(() => commits() === before + 1);
    expect(await rejectedAt()).to.equal(toIso(NOW + 1000));
  });

  it('while the one before is being written is written, too', async () => {
    disk.hang();
    const calls = disk.calls.length;
    await refuse();
    await until(() => disk.calls.length > calls);
    clock.advance(2000);
    await refuse();
    disk.heal();
    await until(
      async () => (await service.store.source('rsyslog', 'rsyslog-lab'))?.snapshot.lastRejectedAt === NOW + 2000,
    );
    expect(await rejectedAt()).to.equal(toIso(NOW + 2000));
  });

  it('while one is being stored is shown: it came later', async () => {
    disk.hang();
    const calls = disk.calls.length;
    const accepted = service.post(reportOf(['other']));
    await until(() => disk.calls.length > calls);
    await refuse();
    disk.heal();
    expect(await (await accepted).json()).to.include({ result: 'changed' });
    expect(await rejectedAt()).to.equal(toIso(NOW));
    await restart();
    expect(await rejectedAt()).to.equal(toIso(NOW));
  });

  it('of a source that is not known is noted nowhere', async () => {
    await service.post(reportBody({ server: 'other', drift_count: 9 }));
    expect(service.fleet.size).to.equal(1);
    expect(await rejectedAt()).to.equal(null);
  });
});
