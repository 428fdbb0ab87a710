import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeFolder } from '../fixtures.ts';
import { type Service, findFreePort, spawnMain, startMain, startMainOn, until } from '../process.ts';
import { postBurst } from './burst.ts';
import {
  type Outlet,
  READ_OUTLETS,
  droppedLines,
  expectEachLine,
  linesUntil,
  openFile,
  openPipe,
  openSocket,
  parseLines,
} from './outlets.ts';
import { mayMount, openSmallDisk } from './small-disk.ts';

/** Writes more than a pipe and what may wait for its reader hold together. */
const FLOOD = 3000;

const OUTLETS: Readonly<Record<string, (folder: string) => Outlet>> = {
  'a full disk': () => openFile('/dev/full'),
  'a pipe that nobody reads': (folder) => openPipe(folder),
  'a pipe whose reader is gone': (folder) => openPipe(folder, { isClosed: true }),
  'a socket that nobody reads': () => openSocket(),
  'a socket whose reader is gone': () => openSocket({ isClosed: true }),
};
describe('the log', function () {
  this.timeout(120_000);

  let folder: ReturnType<typeof makeFolder>;
  let outlet: Outlet | undefined;
  let service: Service | undefined;

  beforeEach(() => {
    folder = makeFolder();
  });
  afterEach(async () => {
    await service?.kill();
    outlet?.close();
    outlet = undefined;
    service = undefined;
    folder.remove();
  });

  async function start(open: (folder: string) => Outlet): Promise<{ outlet: Outlet; service: Service }> {
    outlet = open(folder.path);
    service = await startMainOn(outlet.stdout, { DATA_DIR: join(folder.path, 'data') });
    outlet.afterStart(service);
    return { outlet, service };
  }

  for (const [name, open] of Object.entries(OUTLETS)) {
    describe(`on ${name}`, () => {
      it('holds up no report, read or probe, and counts the lines that are lost', async () => {
        const { service: running } = await start(open);
        await postBurst(running.port, FLOOD);
        expect((await fetch(`${running.url}/healthz`)).status).to.equal(200);
        expect((await fetch(`${running.url}/readyz`)).status).to.equal(200);
        expect(await running.list()).to.have.lengthOf(1);
        await until(async () => (await droppedLines(running)) > 0 || undefined);
      });

      it('does not keep the process from ending in good order', async () => {
        const { service: running } = await start(open);
        await postBurst(running.port, FLOOD);
        running.signal('SIGTERM');
        expect((await running.ended).code).to.equal(0);
      });
    });
  }

  for (const [name, open] of Object.entries(READ_OUTLETS)) {
    it(`has each line of a burst, whole and in order, on ${name} that takes them`, async () => {
      const started = await start(open);
      await expectEachLine(started.outlet, started.service, FLOOD);
    });
  }

  for (const name of ['a pipe that nobody reads', 'a socket that nobody reads']) {
    it(`goes on, on ${name}, when somebody reads again`, async () => {
      const { outlet: unread, service: running } = await start(OUTLETS[name] as (folder: string) => Outlet);
      await postBurst(running.port, FLOOD);
      const text = unread.read(running);
      // before all that waits is written, the lines of the end would be dropped, too
      const lost = await until(async () => {
        const dropped = await droppedLines(running);
        return text().split('"msg":"report"').length - 1 === FLOOD - dropped ? dropped : undefined;
      });
      expect(lost).to.be.above(0);
      running.signal('SIGTERM');
      const lines = await linesUntil('"stopped"', text);
      expect(lines.filter(({ msg }) => msg === 'report')).to.have.lengthOf(FLOOD - lost);
    });
  }

  if (mayMount()) {
    it('goes on with whole lines when the disk has room again', async () => {
      const disk = openSmallDisk();
      const file = join(disk.path, 'log');
      try {
        const { service: running } = await start(() => openFile(file));
        disk.fill(running);
        await postBurst(running.port, FLOOD);
        await until(async () => (await droppedLines(running)) || undefined);
        disk.makeRoom();
        await postBurst(running.port, FLOOD);
        const lost = await droppedLines(running);
        running.signal('SIGTERM');
        expect((await running.ended).code).to.equal(0);
        const lines = parseLines(readFileSync(file, 'utf8'));
        expect(lines.filter((line) => line?.msg === 'report')).to.have.lengthOf(2 * FLOOD - lost);
        expect(lines.at(-1)).to.include({ msg: 'stopped' });
        // the one that the end of the disk has cut
        expect(lines.filter((line) => line === undefined).length).to.be.at.most(1);
      } finally {
        await service?.kill();
        outlet?.close();
        outlet = undefined;
        disk.remove();
      }
    });
  }

  it('may have standard output and standard error closed from the start', async () => {
    const port = await findFreePort();
    const env = { ...process.env, HOST: '127.0.0.1', PORT: String(port), DATA_DIR: folder.path };
    const child = spawn('bash', ['-c', 'exec "$0" src/main.ts >&- 2>&-', process.execPath], { env, stdio: 'ignore' });
    try {
      await until(async () => (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined))?.ok);
      await postBurst(port, 100);
      child.kill('SIGTERM');
      expect(await once(child, 'exit')).to.deep.equal([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('does not matter to the exit code of a wrong setting, though nobody reads standard error either', async () => {
    const { child, ended } = spawnMain({ DATA_DIR: folder.path, PORT: 'none' });
    child.stderr?.destroy();
    expect((await ended).code).to.equal(2);
  });

  it('has warnings of Node as lines, too', async () => {
    service = await startMain({ DATA_DIR: folder.path, NODE_OPTIONS: `--import=${warningSoon()}` });
    await until(() => service?.output().includes('"a warning of Node"') || undefined);
    const line = parseLines(service.output()).find((some) => some?.msg === 'a warning of Node');
    expect(line).to.have.property('level', 40);
    expect(line?.err).to.include({ message: 'take care' });
  });
});

function warningSoon(): string {
  const script = "setTimeout(() => process.emitWarning('take care'), 500).unref()";
  return `data:text/javascript,${encodeURIComponent(script)}`;
}
