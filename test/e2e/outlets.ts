/** Standard outputs of several kinds for the process, what becomes of them, and the log that is read at their other end. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { expect } from 'chai';
import { type Service, type Stdout, until } from '../process.ts';
import { postBurst } from './burst.ts';

const DROPPED = /^gitops_log_lines_dropped_total (\d+)$/m;

/** A standard output for a process, and its other end. */
export type Outlet = {
  readonly stdout: Stdout;
  /** What a test does once the process has it; until then it has a reader. */
  afterStart(service: Service): void;
  /** From now on somebody reads. @returns what was read so far */
  read(service: Service): () => string;
  close(): void;
};

/** Those that take what they are given, by name. */
export const READ_OUTLETS: Readonly<Record<string, (folder: string) => Outlet>> = {
  'a pipe': (folder) => openPipe(folder),
  'a socket': () => openSocket(),
  'a file': (folder) => openFile(join(folder, 'log')),
};

/** Posts so many reports; the log must have a line of each, and then end in good order. */
export async function expectEachLine(outlet: Outlet, service: Service, reports: number): Promise<void> {
  const text = outlet.read(service);
  await postBurst(service.port, reports);
  expect(await droppedLines(service)).to.equal(0);
  service.signal('SIGTERM');
  expect((await service.ended).code).to.equal(0);
  const lines = await linesUntil('"stopped"', text);
  expect(lines.filter(({ msg }) => msg === 'report')).to.have.lengthOf(reports);
  const times = lines.map(({ time }) => Date.parse(time as string));
  expect(times).to.deep.equal(times.toSorted((a, b) => a - b));
}

/** What the metric says. */
export async function droppedLines({ url }: Service): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(DROPPED.exec(metrics)?.[1]);
}

type Line = Record<string, unknown>;

/** @returns a line that is not JSON as undefined */
export function parseLines(text: string): (Line | undefined)[] {
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

export async function linesUntil(last: string, text: () => string): Promise<Line[]> {
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

export function openFile(path: string): Outlet {
  const stdout = openSync(path, 'w');
  return {
    stdout,
    afterStart() {},
    read: () => () => readFileSync(path, 'utf8'),
    close: () => closeSync(stdout),
  };
}

/** A named one: what Node gives a child is a socket. */
export function openPipe(folder: string, { isClosed = false } = {}): Outlet {
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

export function openSocket({ isClosed = false } = {}): Outlet {
  return {
    stdout: 'unread',
    afterStart({ stdout }) {
      if (isClosed) stdout?.destroy();
    },
    read: ({ stdout }) => collect(stdout as Readable),
    close() {},
  };
}
