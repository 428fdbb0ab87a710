/** Starts the real process as `npm start` does, and gives the suites access to it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { reportBody } from './fixtures.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
/** Enough for a slow machine on which other suites run too. */
const PATIENCE_MS = 60_000;

export type Ended = { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly output: string };

export type Service = {
  /** Without a slash at its end. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Its other end, unless it was given another one. */
  readonly stdout: Readable | null;
  /** Everything written so far to stdout and stderr. */
  output(): string;
  /** Posts a report whose check ran now. */
  post(changes?: Record<string, unknown>, headers?: Record<string, string>): Promise<Response>;
  /** The rows of `/status.json`. */
  list(): Promise<Record<string, unknown>[]>;
  signal(signal: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
  /** Sends SIGKILL, for clean-up, and resolves when the process has ended. May be called again. */
  kill(): Promise<void>;
};

/** Runs `src/main.ts` until it ends. */
export async function runMain(env: Record<string, string>, args: readonly string[] = []): Promise<Ended> {
  const { ended, child } = spawnMain(env, args);
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  const result = await ended;
  clearTimeout(timer);
  return result;
}

/**
 * Starts `src/main.ts` on a free port and resolves when it says that it listens.
 * @param launcher a command that becomes the one that its arguments are
 */
export async function startMain(env: Record<string, string>, launcher: readonly string[] = []): Promise<Service> {
  const started = spawnMain({ HOST: '127.0.0.1', PORT: '0', ...env }, [], { launcher });
  const url = await until(async () => {
    if (started.child.exitCode !== null) throw new Error(`it has stopped:\n${started.output()}`);
    return /listening on (https?:\/\/[^"\s]+)/.exec(started.output())?.[1];
  });
  return serviceOf(started, url);
}

/** As `startMain`, with a standard output that is the caller's: what it says may never be read. */
export async function startMainOn(stdout: Stdout, env: Record<string, string>): Promise<Service> {
  const url = `http://127.0.0.1:${await findFreePort()}`;
  const started = spawnMain({ HOST: '127.0.0.1', PORT: new URL(url).port, ...env }, [], { stdout });
  await until(async () => {
    if (started.child.exitCode !== null) throw new Error(`it has stopped:\n${started.output()}`);
    return (await fetch(`${url}/healthz`).catch(() => undefined))?.ok;
  });
  return serviceOf(started, url);
}

function serviceOf({ child, ended, output }: Started, url: string): Service {
  return {
    url,
    port: Number(new URL(url).port),
    pid: child.pid as number,
    stdout: child.stdout,
    output,
    post: (changes, headers = {}) =>
      fetch(`${url}/api/status`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: JSON.stringify(reportBody({ last_check: new Date().toISOString(), ...changes })),
      }),
    list: async () => (await (await fetch(`${url}/status.json`)).json()) as Record<string, unknown>[],
    signal: (signal) => child.kill(signal),
    ended,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Whether a suite must be skipped because this program is not installed. False with CI=true: there the suite must fail. */
export function isMissing(program: string): boolean {
  return process.env.CI !== 'true' && spawnSync(program, ['--version']).error !== undefined;
}

/** Calls `ask` again and again until it returns something other than undefined. An error of `ask` ends it. */
export async function until<T>(ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`no answer within ${PATIENCE_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A port of 127.0.0.1 that is free now, for programs that cannot choose one and tell which. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A descriptor; or a socket, of which we read what comes, or nothing. */
export type Stdout = number | 'read' | 'unread';
export type Started = {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  readonly output: () => string;
};

/** Starts `src/main.ts` and does not wait for anything. */
export function spawnMain(
  env: Record<string, string>,
  args: readonly string[] = [],
  { launcher = [], stdout = 'read' }: { launcher?: readonly string[]; stdout?: Stdout } = {},
): Started {
  const [command = '', ...rest] = [...launcher, process.execPath, MAIN, ...args];
  const child = spawn(command, rest, {
    env: { ...process.env, ...env },
    stdio: ['ignore', typeof stdout === 'number' ? stdout : 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [stdout === 'read' ? child.stdout : null, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  // what nobody reads is never closed
  const ended = once(child, stdout === 'read' ? 'close' : 'exit').then(
    ([code, signal]: (number | NodeJS.Signals | null)[]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      output,
    }),
  );
  return { child, ended, output: () => output };
}
