/** Holds everything that a section starts or writes, so that nothing is left behind, however the section ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const PROJECT = fileURLToPath(new URL('..', import.meta.url));
const PATIENCE_MS = 60_000;
const STOP_PATIENCE_MS = 15_000;

export type Running = {
  /** Without a slash at its end. */
  readonly url: string;
  /** From its spawn to its first 200, milliseconds. */
  readonly startMs: number;
  /** Asks it to stop and waits until it has. */
  stop(): Promise<void>;
};

export type Command = {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly port: number;
  /** The path that answers 200 once the server is ready. */
  readonly readyPath: string;
};

export type Stage = {
  /** A new empty folder beside the code. The folder for temporary files is often in memory, where fsync costs nothing. */
  folder(): string;
  /** Resolves once it is ready. */
  start(command: Command): Promise<Running>;
  /** Runs a program to its end; resolves with what it wrote. */
  run(program: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<string>;
  /** Ends what still runs and removes all folders, synchronously: it may be called on process exit. */
  clear(): void;
};

export function createStage(): Stage {
  const children = new Set<ChildProcess>();
  const folders = new Set<string>();

  function folder(): string {
    const cache = join(PROJECT, 'node_modules', '.cache');
    mkdirSync(cache, { recursive: true });
    const path = mkdtempSync(join(cache, 'bench-'));
    folders.add(path);
    return path;
  }

  function launch(
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    output: 'pipe' | number,
  ): ChildProcess {
    const child = spawn(program, args, {
      cwd: PROJECT,
      env: { ...process.env, ...env },
      stdio: ['ignore', output, output],
    });
    children.add(child);
    child.once('close', () => children.delete(child));
    return child;
  }

  return {
    folder,

    async start({ name, program, args, env = {}, port, readyPath }) {
      const logFile = join(folder(), 'log');
      const log = openSync(logFile, 'a');
      const startedAt = performance.now();
      const child = launch(program, args, env, log);
      closeSync(log);
      const url = `http://127.0.0.1:${port}`;
      while (!(await isReady(`${url}${readyPath}`))) {
        const isGone = child.exitCode !== null || child.signalCode !== null;
        if (isGone || performance.now() - startedAt > PATIENCE_MS) {
          throw new Error(`${name} did not start:\n${readFileSync(logFile, 'utf8').slice(-2000)}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const startMs = performance.now() - startedAt;

      return {
        url,
        startMs,
        async stop() {
          if (!children.has(child)) return;
          const closed = once(child, 'close');
          child.kill('SIGTERM');
          const timer = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
          await closed;
          clearTimeout(timer);
        },
      };
    },

    async run(program, args, env) {
      const child = launch(program, args, env, 'pipe');
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
      }
      const [code] = (await once(child, 'close')) as [number | null];
      if (code !== 0) throw new Error(`${program} ended with ${code}:\n${output}`);
      return output;
    },

    clear() {
      for (const child of children) child.kill('SIGKILL');
      for (const path of folders) rmSync(path, { recursive: true, force: true, maxRetries: 5 });
      children.clear();
      folders.clear();
    },
  };
}

/** Another process may take it before it is used; then the start fails. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
