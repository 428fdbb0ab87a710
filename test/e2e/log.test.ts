import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { expect } from 'chai';
import { makeFolder } from '../fixtures.ts';
import { type Service, type Stdout, findFreePort, spawnMain, startMain, startMainOn, until } from '../process.ts';
import { postBurst } from './burst.ts';
import { mayMount, openSmallDisk } from './small-disk.ts';

/** Writes more than a pipe and what may wait for its reader hold together. */
const FLOOD = 4000;
const DROPPED = /^gitops_log_lines_dropped_total (\d+)$/m;

/** A standard output for a process, and its other end. */
type Outlet = {
  readonly stdout: Stdout;
  /** What a test does once the process has it; until then it has a reader. */
  afterStart(service: Service): void;
  /** From now on somebody reads. @returns what was read so far */
  read(service: Service): () => string;
  close(): void;
};

const OUTLETS: Readonly<Record<string, (folder: string) => Outlet>> = {
  'a full disk': () => openFile('/dev/full'),
  'a pipe that nobody reads': (folder) => openPipe(folder),
  'a pipe whose reader is gone': (folder) => openPipe(folder, { isClosed: true }),
  'a socket that nobody reads': () => openSocket(),
  'a socket whose reader is gone': () => openSocket({ isClosed: true }),
};
const READ: Readonly<Record<string, (folder: string) => Outlet>> = {
  'a pipe': (folder) => openPipe(folder),
  'a socket': () => openSocket(),
  'a file': (folder) => openFile(join(folder, 'log')),
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

  for (const [name, open] of Object.entries(READ)) {
    it(`has each line of a burst, whole and in order, on ${name} that takes them`, async () => {
      const { outlet: taking, service: running } = await start(open);
      const text = taking.read(running);
      await postBurst(running.port, FLOOD);
      expect(await droppedLines(running)).to.equal(0);
      running.signal('SIGTERM');
      expect((await running.ended).code).to.equal(0);
      const lines = await linesUntil('"stopped"', text);
      expect(lines.filter(({ msg }) => msg === 'report')).to.have.lengthOf(FLOOD);
      const times = lines.map(({ time }) => Date.parse(time as string));
      expect(times).to.deep.equal(times.toSorted((a, b) => a - b));
    });
  }

  for (const name of ['a pipe that nobody reads', 'a socket that nobody reads']) {
    it(`goes on, on ${name}, when somebody reads again`, async () => {
      const { outlet: unread, service: running } = await start(OUTLETS[name] as (folder: string) => Outlet);
      await postBurst(running.port, FLOOD);
      const text = unread.read(running);
      await linesUntil('"report"', text);
      const lost = await until(async () => (await droppedLines(running)) || undefined);
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

async function droppedLines({ url }: Service): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(DROPPED.exec(metrics)?.[1]);
}

type Line = Record<string, unknown>;

/** @returns a line that is not JSON as undefined */
function parseLines(text: string): (Line | undefined)[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      try {
        return JSON.parse(line) as Line;
      } catch {
        return undefined;
      }
    });
}

async function linesUntil(last: string, text: () => string): Promise<Line[]> {
  await until(() => (text().includes(last) && text().endsWith('\n')) || undefined);
  const lines = parseLines(text());
  expect(lines).not.to.include(undefined);
  return lines as Line[];
}

function collect(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  return () => text;
}

function openFile(path: string): Outlet {
  const stdout = openSync(path, 'w');
  return {
    stdout,
    afterStart() {},
    read: () => () => readFileSync(path, 'utf8'),
    close: () => closeSync(stdout),
  };
}

/** A named one: what Node gives a child is a socket. */
function openPipe(folder: string, { isClosed = false } = {}): Outlet {
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  const end = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const stdout = openSync(path, 'w');
  let reader: Socket | undefined;
  return {
    stdout,
    afterStart() {
      closeSync(stdout);
      if (isClosed) closeSync(end);
    },
    read() {
      reader = new Socket({ fd: end, readable: true, writable: false });
      return collect(reader);
    },
    close() {
      if (reader !== undefined) reader.destroy();
      else if (!isClosed) closeSync(end);
    },
  };
}

function openSocket({ isClosed = false } = {}): Outlet {
  return {
    stdout: 'unread',
    afterStart({ stdout }) {
      if (isClosed) stdout?.destroy();
    },
    read: ({ stdout }) => collect(stdout as Readable),
    close() {},
  };
}
