import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { makeFolder } from '../fixtures.ts';
import { type Service, isMissing, startMain, until } from '../process.ts';
import { type Disk, mayMount, openSmallDisk } from './small-disk.ts';

/** No file may grow: what a quota or `ulimit -f` does. Anyone may set it. */
function openLimitedDisk(): Disk {
  const folder = makeFolder();
  const limit = (service: Service, size: string): void => {
    execFileSync('prlimit', ['--pid', String(service.pid), `--fsize=${size}:unlimited`]);
  };
  return {
    path: folder.path,
    narrow: (service) => limit(service, '2000000'),
    fill: (service) => limit(service, '1'),
    makeRoom(service) {
      if (service !== undefined) limit(service, 'unlimited');
    },
    remove: folder.remove,
  };
}

// what a system's error says of writing may be wrong; that there was no room may not
const DISKS: readonly (readonly [name: string, open: () => Disk, stored: false | 'unknown'])[] = [
  ...(mayMount() ? [['a full disk', openSmallDisk, false] as const] : []),
  ['a limit on the size of files', openLimitedDisk, 'unknown'],
];

for (const [name, openDisk, stored] of DISKS) {
  describe(name, function () {
    this.timeout(120_000);

    let disk: Disk;
    let service: Service;

    before(function () {
      if (openDisk === openLimitedDisk && isMissing('prlimit')) this.skip();
    });
    beforeEach(async () => {
      disk = openDisk();
      service = await startMain({ DATA_DIR: disk.path });
      await post('kept-1');
      await post('kept-2');
    });
    afterEach(async () => {
      await service.kill();
      disk.remove();
    });

    /** With files of its own, so that the report needs room. */
    async function post(server: string, files: readonly string[] = ['a.conf']): Promise<Response> {
      const diff = 'x'.repeat(16_000);
      return service.post({ server, drift_count: files.length, files: files.map((file) => ({ name: file, diff })) });
    }

    async function servers(): Promise<unknown[]> {
      return (await service.list()).map((row) => row.server);
    }

    it('refuses each report with 503 and when to try again', async () => {
      disk.fill(service);
      const refused = await Promise.all(['new-1', 'new-2', 'kept-1'].map((server) => post(server, ['b.conf'])));
      for (const response of refused) {
        expect(response.status).to.equal(503);
        expect(response.headers.get('Content-Type')).to.match(/^application\/problem\+json/);
        expect(Number(response.headers.get('Retry-After'))).to.be.greaterThan(0);
      }
      expect(await refused[0]?.json()).to.include({ status: 503, title: 'Store unavailable', stored });
    });

    it('goes on showing what was acknowledged, and nothing of what was refused', async () => {
      const before = await service.list();
      disk.fill(service);
      expect((await post('kept-1', ['b.conf'])).status).to.equal(503);
      expect((await post('new-1')).status).to.equal(503);
      const after = await service.list();
      for (const row of [...before, ...after]) delete row.last_rejected_at;
      expect(after).to.deep.equal(before);
      expect((await fetch(`${service.url}/api/status/rsyslog/kept-1`)).status).to.equal(200);
      expect((await fetch(`${service.url}/healthz`)).status).to.equal(200);
    });

    it('is not ready, says why, and counts', async () => {
      disk.fill(service);
      await post('new-1');
      const response = await fetch(`${service.url}/readyz`);
      expect(response.status).to.equal(503);
      expect(((await response.json()) as { detail: string }).detail).to.match(/full|disk/);
      const metrics = await (await fetch(`${service.url}/metrics`)).text();
      expect(metrics)
        .to.match(/^gitops_store_errors_total\{operation="commit"\} [1-9]/m)
        .and.match(/^gitops_reports_rejected_total\{reason="store_unavailable"\} 1$/m);
    });

    it('finds out by itself that it cannot write, before any report', async () => {
      disk.fill(service);
      await until(async () => (await fetch(`${service.url}/readyz`)).status === 503 || undefined);
    });

    it('recovers by itself when there is room again', async () => {
      disk.fill(service);
      expect((await post('new-1')).status).to.equal(503);
      disk.makeRoom(service);
      await until(async () => (await fetch(`${service.url}/readyz`)).status === 200 || undefined);
      expect((await post('new-1')).status).to.equal(201);
      expect((await post('kept-1', ['b.conf'])).status).to.equal(200);
    });

    it('takes reports again when there is room, though nobody asks whether it is ready', async () => {
      disk.fill(service);
      expect((await post('new-1')).status).to.equal(503);
      disk.makeRoom(service);
      expect((await post('new-1')).status).to.equal(201);
    });

    it('refuses to forget a source, and still has it', async () => {
      disk.fill(service);
      const url = `${service.url}/api/status/rsyslog/kept-1`;
      expect((await fetch(url, { method: 'DELETE' })).status).to.equal(503);
      expect(await service.list()).to.have.lengthOf(2);
    });

    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      it(`keeps, filling up under load, exactly what it acknowledged, over ${signal} too`, async () => {
        disk.narrow(service);
        const acknowledged = ['kept-1', 'kept-2'];
        let refused = 0;
        async function report(worker: number): Promise<void> {
          for (let i = 0; refused < 20; i += 1) {
            const server = `load-${worker}-${i}`;
            const { status } = await post(server);
            expect(status).to.be.oneOf([201, 503]);
            if (status === 201) acknowledged.push(server);
            else refused += 1;
          }
        }
        await Promise.all(Array.from({ length: 8 }, (_, worker) => report(worker)));
        expect(await servers()).to.have.members(acknowledged);
        service.signal(signal);
        expect((await service.ended).code).to.equal(signal === 'SIGKILL' ? null : 0);
        disk.makeRoom();
        service = await startMain({ DATA_DIR: disk.path });
        expect(await servers()).to.have.members(acknowledged);
      });
    }

    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      it(`has after ${signal} all that was acknowledged, and nothing that was refused`, async () => {
        const before = await service.list();
        disk.fill(service);
        expect((await post('kept-1', ['b.conf'])).status).to.equal(503);
        expect((await post('new-1')).status).to.equal(503);
        service.signal(signal);
        expect((await service.ended).code).to.equal(signal === 'SIGKILL' ? null : 0);
        disk.makeRoom();
        service = await startMain({ DATA_DIR: disk.path });
        expect(await service.list()).to.deep.equal(before);
      });
    }
  });
}
