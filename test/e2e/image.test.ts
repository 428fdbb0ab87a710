import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chown, mkdtemp, readFile, readdir } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { makeFolder, reportBody } from '../fixtures.ts';
import { until } from '../process.ts';

const run = promisify(execFile);

/** What an image says about how it is run, as `docker inspect` shows it. */
type ImageConfig = {
  User: string;
  Env: string[];
  Entrypoint: string[];
  WorkingDir: string;
  Volumes: Record<string, unknown>;
  ExposedPorts: Record<string, unknown>;
  Labels: Record<string, string>;
  StopSignal: string;
  Healthcheck: { Test: string[] };
};

describe('the image, built from the Dockerfile', function () {
  this.timeout(900_000);
  let folder: string;
  let remove: (() => void) | undefined;
  let config: ImageConfig;

  before(async function () {
    if (process.env.CI !== 'true') {
      console.log(
        '    skipped: builds an image, which needs root and takes a minute or two. Run it by `npm run test:image`',
      );
      this.skip();
    }
    ({ path: folder, remove } = makeFolder());
    await run('test/e2e/image.sh', [folder], { maxBuffer: 64 * 1024 * 1024 });
    config = JSON.parse(await readFile(join(folder, 'image.json'), 'utf8')).Docker.config;
  });

  after(() => remove?.());

  it('holds the production dependencies and src/, and nothing of the tests or tools', async () => {
    const app = join(folder, 'rootfs/app');
    expect(await readdir(app)).to.have.members([
      'LICENSE',
      'compile-cache',
      'node_modules',
      'package-lock.json',
      'package.json',
      'src',
    ]);
    const { dependencies, devDependencies } = JSON.parse(await readFile('package.json', 'utf8'));
    const installed = (name: string) => existsSync(join(app, 'node_modules', name));
    expect(Object.keys(dependencies).filter((name) => !installed(name))).to.deep.equal([]);
    expect(Object.keys(devDependencies).filter(installed)).to.deep.equal([]);
  });

  it('is labelled with the version of package.json', async () => {
    const { name, version, license } = JSON.parse(await readFile('package.json', 'utf8'));
    expect(config.Labels).to.include({
      'org.opencontainers.image.title': name,
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.licenses': license,
      'org.opencontainers.image.revision': 'test',
    });
  });

  it('names a user that is not root, by number, and one place to write, /data', () => {
    expect(config.User).to.match(/^[1-9]\d+:[1-9]\d+$/);
    expect(Object.keys(config.Volumes)).to.deep.equal(['/data']);
    expect(Object.keys(config.ExposedPorts)).to.deep.equal(['8080/tcp']);
    expect(config.StopSignal).to.equal('SIGTERM');
  });

  it('takes a report as its own user with a read-only root and no capabilities, and has it after a stop and a start', async () => {
    const data = await makeVolume(folder, config);
    const first = await startContainer(folder, config, data);
    try {
      const answer = await first.post(reportBody());
      expect([answer.status, await answer.text()]).to.have.property('0', 201);
    } finally {
      expect(await first.stop()).to.deep.equal({ code: 0, signal: null });
    }

    const second = await startContainer(folder, config, data);
    try {
      const [row] = (await (await fetch(`${second.url}/status.json`)).json()) as [object];
      expect(row).to.include({ repo: 'rsyslog', server: 'rsyslog-lab', drift_count: 2 });
    } finally {
      await second.stop();
    }
  });

  it('lets a report in flight finish when it is stopped', async () => {
    const container = await startContainer(folder, config, await makeVolume(folder, config));
    const body = JSON.stringify(reportBody());
    const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length, Expect: '100-continue' };
    try {
      const post = request(`${container.url}/api/status`, { method: 'POST', headers });
      post.write(body.slice(0, 10));
      await once(post, 'continue');
      const stopped = container.stop();
      await sleep(200);
      post.end(body.slice(10));
      const [answer] = (await once(post, 'response')) as [IncomingMessage];
      expect(answer.statusCode).to.equal(201);
      expect(await stopped).to.deep.equal({ code: 0, signal: null });
    } finally {
      container.kill();
    }
  });

  it('ends with 0 when it is stopped before its program has been loaded', async () => {
    const beforeMain = config.Entrypoint.slice(0, -1);
    expect([...beforeMain, 'src/main.ts']).to.deep.equal(config.Entrypoint);
    const forever = ['--eval', 'setInterval(() => {}, 1000); console.log("loading")'];
    const data = await makeVolume(folder, config);
    const container = launch(enter(config, join(folder, 'rootfs'), data, {}, [...beforeMain, ...forever]));
    try {
      await until(() => container.output().includes('loading') || undefined);
      const stopped = container.signal(config.StopSignal);
      expect(await Promise.race([stopped, sleep(10_000, 'still there')])).to.deep.equal({ code: 0, signal: null });
    } finally {
      container.kill();
    }
  });

  it('runs as pid 1, without root, capabilities or the chance to gain any', async () => {
    const container = await startContainer(folder, config, await makeVolume(folder, config));
    try {
      const status = await readFile(`/proc/${container.pid}/status`, 'utf8');
      expect(status).to.match(/^NSpid:.*\t1$/m);
      expect(status).to.match(/^Uid:\t10001\t10001\t10001\t10001$/m);
      expect(status).to.match(/^CapEff:\t0+$/m);
      expect(status).to.match(/^CapBnd:\t0+$/m);
      expect(status).to.match(/^NoNewPrivs:\t1$/m);
    } finally {
      await container.stop();
    }
  });

  it('backs its database up while it runs, as `kubectl exec` would have it do', async () => {
    const data = await makeVolume(folder, config);
    const container = await startContainer(folder, config, data);
    try {
      expect((await container.run(['node', 'src/commands/backup.ts', '/data/backup.db'])).code).to.equal(0);
      expect(await readdir(data)).to.include('backup.db');
    } finally {
      await container.stop();
    }
  });

  it('is found healthy by its own HEALTHCHECK while it serves, and unhealthy afterwards', async () => {
    const [kind, ...check] = config.Healthcheck.Test;
    expect(kind).to.equal('CMD');
    const container = await startContainer(folder, config, await makeVolume(folder, config));
    try {
      expect((await container.run(check)).code).to.equal(0);
    } finally {
      await container.stop();
    }
    expect((await container.run(check)).code).to.equal(1);
  });

  it('loads every file of its own from the compile cache, in each thread', async () => {
    const container = await startContainer(folder, config, await makeVolume(folder, config), {
      NODE_DEBUG_NATIVE: 'COMPILE_CACHE',
    });
    try {
      await container.post(reportBody());
      await fetch(`${container.url}/api/status/rsyslog/rsyslog-lab`);
    } finally {
      await container.stop();
    }
    const files = (outcome: RegExp) => [...container.output().matchAll(outcome)].map(([, file]) => file);
    const hits = files(/retrieving transpile cache for StrippedTypeScript (\S+?)\.\.\.success/g);
    expect(hits).to.include('file:///app/src/main.ts').and.to.include('file:///app/src/store/sqlite/reader.ts');
    expect(files(/no transpile cache for StrippedTypeScript (\S+)/g)).to.deep.equal([]);
  });
});

/** An empty volume that the image's user owns, as Kubernetes' fsGroup or Docker would give it. */
async function makeVolume(folder: string, config: ImageConfig): Promise<string> {
  const data = await mkdtemp(join(folder, 'data-'));
  const [uid, gid] = config.User.split(':').map(Number) as [number, number];
  await chown(data, uid, gid);
  return data;
}

/**
 * Runs the image as a strict container engine would: its own pid namespace, its root read-only, `data` mounted at /data, no
 * capabilities, no new privileges. Resolves once it answers /readyz.
 */
async function startContainer(folder: string, config: ImageConfig, data: string, env: Record<string, string> = {}) {
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const root = join(folder, 'rootfs');
  const inside = (command: string[]) => enter(config, root, data, { PORT: String(port), ...env }, command);
  const { unshare, output, pid, signal, kill } = launch(inside(config.Entrypoint));

  for (const deadline = Date.now() + 60_000; ; await sleep(100)) {
    const ready = await fetch(`${url}/readyz`).then(
      (answer) => answer.status === 200,
      () => false,
    );
    if (ready) break;
    if (unshare.exitCode !== null || Date.now() > deadline) {
      kill();
      throw new Error(`the container did not become ready:\n${output()}`);
    }
  }

  return {
    url,
    pid: await pid(),
    output,
    post: (report: object) =>
      fetch(`${url}/api/status`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(report),
      }),
    async run(command: string[]) {
      const child = spawn('unshare', inside(command), { stdio: 'inherit' });
      const [code] = (await once(child, 'exit')) as [number | null];
      return { code };
    },
    stop: () => signal(config.StopSignal),
    kill,
  };
}

/** @param args of unshare(1), which waits for its one child, the process that is pid 1 inside */
function launch(args: string[]) {
  const unshare = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [unshare.stdout, unshare.stderr])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = once(unshare, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const pid = async () => Number(await readFile(`/proc/${unshare.pid}/task/${unshare.pid}/children`, 'utf8'));

  return {
    unshare,
    output: () => output,
    pid,
    /** For clean-up: may be called when it is gone already, and takes what runs inside with it. */
    kill: () => unshare.kill('SIGKILL'),
    async signal(name: string) {
      process.kill(await pid(), name);
      const [code, signal] = await exited;
      return { code, signal };
    },
  };
}

/** Arguments of unshare(1) that run `command` inside `root`. */
function enter(
  config: ImageConfig,
  root: string,
  data: string,
  env: Record<string, string>,
  command: string[],
): string[] {
  const [uid, gid] = config.User.split(':');
  const script = `
    mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && mount --bind "$2" "$1/data" && mount -t proc proc "$1/proc" &&
    root=$1 && shift 2 && exec chroot "$root" "$@"`;
  return [
    ...['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', script, 'sh', root, data],
    ...[
      'env',
      '-i',
      `--chdir=${config.WorkingDir}`,
      ...config.Env,
      ...Object.entries(env).map(([k, v]) => `${k}=${v}`),
    ],
    ...['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'],
    ...['--no-new-privs', ...command],
  ];
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
