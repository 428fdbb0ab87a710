import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const FIXTURES = join(ROOT, 'test/fixtures/reporter');
const SCRIPT = join(ROOT, 'reporter/update-gitops-status.sh');

export type Outcome = { code: number | null; stdout: string; stderr: string };
type Options = { env?: Record<string, string>; cwd?: string; input?: string; traced?: boolean };

/** Runs update-gitops-status.sh as a CI job would, but knowing nothing of the CI, the home and the settings of this machine. */
export async function reporter(args: readonly string[], { env, cwd, input, traced }: Options = {}): Promise<Outcome> {
  return run('bash', [...(traced ? ['-x'] : []), SCRIPT, ...args], {
    env: { ...env },
    cwd: cwd ?? ROOT,
    input: input ?? '',
  });
}

export async function run(
  program: string,
  args: readonly string[],
  { env, cwd, input }: { env?: Record<string, string>; cwd?: string; input?: string } = {},
): Promise<Outcome> {
  const home = await makeFolder();
  try {
    const child = spawn(program, args, {
      cwd: cwd ?? ROOT,
      env: { PATH: process.env.PATH, HOME: home, LC_ALL: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1', ...env },
    });
    const outcome: Outcome = { code: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (outcome.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (outcome.stderr += text));
    // a program that does not read its input may be gone before it is written
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    [outcome.code] = (await once(child, 'close')) as [number | null];
    return outcome;
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** The reports that `--dry-run` prints. */
export function reportsIn({ stdout }: Outcome): Report[] {
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{"repo":'))
    .map((line) => JSON.parse(line) as Report);
}

export type Report = {
  repo: string;
  server: string;
  sync_status: string;
  drift_count: number;
  files: { name: string; diff?: string }[];
  last_check: string;
  stale_after_seconds?: number;
  commit?: string;
  pipeline_url?: string;
};

export async function makeFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'gitops-reporter-'));
}

export type Service = { url: string; stop(): Promise<void> };

/** The real service as its own process, on a free port, with an empty store. */
export async function startService(env: Record<string, string> = {}): Promise<Service> {
  const dataDir = await makeFolder();
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, PORT: '0', HOST: '127.0.0.1', DATA_DIR: dataDir, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const port = await portOf(child);
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      const ended = once(child, 'exit');
      child.kill();
      await ended;
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function portOf(child: ChildProcess): Promise<number> {
  if (!child.stdout) throw new Error('the service has no standard output');
  for await (const line of createInterface({ input: child.stdout })) {
    const { msg, port } = JSON.parse(line) as { msg?: string; port?: number };
    if (msg?.startsWith('listening on') && port !== undefined) {
      child.stdout.resume();
      return port;
    }
  }
  throw new Error('the service ended before it listened');
}

/** A server of the test's own, for answers that the real service does not give. */
export async function startStub(answer: RequestListener): Promise<Service> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** `GET path` as JSON. */
export async function get<T>(service: Service, path: string): Promise<T> {
  const response = await fetch(service.url + path);
  return (await response.json()) as T;
}
