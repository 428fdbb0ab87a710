import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeFolder, reportBody, sha256, tokensText } from '../fixtures.ts';
import { startLoad } from './load.ts';
import { type Service, findFreePort, isMissing, spawnMain, startMain, until } from '../process.ts';

describe('stopping the process', function () {
  this.timeout(120_000);

  let folder: ReturnType<typeof makeFolder>;
  let service: Service;

  beforeEach(async () => {
    folder = makeFolder();
    service = await startMain({ DATA_DIR: folder.path });
  });
  afterEach(async () => {
    await service.kill();
    folder.remove();
  });

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`ends with 0 on ${signal} though clients keep their connections`, async () => {
      await (await fetch(`${service.url}/healthz`)).text();
      const idle = connect(service.port, '127.0.0.1');
      await once(idle, 'connect');
      service.signal(signal);
      const { code, output } = await service.ended;
      expect(code).to.equal(0);
      expect(output).to.contain('stopping').and.contain('"stopped"');
      idle.destroy();
    });
  }

  it('lets a report in flight finish, takes no new connection meanwhile, and keeps the report', async () => {
    const slow = await beginReport(service);
    service.signal('SIGTERM');
    await untilRefusing(service);
    const response = await slow.finish();
    expect(response.statusCode).to.equal(201);
    expect(response.headers.connection).to.equal('close');
    expect((await service.ended).code).to.equal(0);
    service = await startMain({ DATA_DIR: folder.path });
    expect(await service.list()).to.have.lengthOf(1);
  });

  it('cuts off a request that never ends, and still ends with 0', async () => {
    const slow = await beginReport(service);
    service.signal('SIGTERM');
    // 0 and not 1: it was done before the deadline of 10 s that it sets itself
    expect((await service.ended).code).to.equal(0);
    slow.abort();
  });

  it('ends with 0 though a reader follows the events, whose stream ends', async () => {
    const reader = request({ host: '127.0.0.1', port: service.port, path: '/api/events' }).end();
    const [response] = (await once(reader, 'response')) as [IncomingMessage];
    const ended = once(response.resume(), 'end');
    service.signal('SIGTERM');
    await ended;
    expect((await service.ended).code).to.equal(0);
  });

  it('ends with 0 while it still starts, and then never listens', async () => {
    const file = join(folder.path, 'tokens.json');
    execFileSync('mkfifo', [file]);
    const starting = spawnMain({ DATA_DIR: join(folder.path, 'other'), PORT: '0', TOKENS_FILE: file });
    // from now on it waits for what is in the file
    const tokens = await open(file, 'w');
    starting.child.kill('SIGTERM');
    await tokens.writeFile(tokensText([{ name: 'ci', sha256: sha256('ci'), scopes: ['report'] }]));
    await tokens.close();
    const { code, output } = await starting.ended;
    expect(code).to.equal(0);
    expect(output).to.contain('stopping').and.not.contain('listening');
  });

  it('ends at once on a second signal', async () => {
    const slow = await beginReport(service);
    service.signal('SIGTERM');
    await untilRefusing(service);
    service.signal('SIGTERM');
    expect((await service.ended).code).to.equal(143);
    slow.abort();
  });

  it('lets a report in flight finish when its terminal is closed, of which both shell and system tell', async () => {
    const slow = await beginReport(service);
    service.signal('SIGHUP');
    await untilRefusing(service);
    service.signal('SIGHUP');
    expect((await slow.finish()).statusCode).to.equal(201);
    expect((await service.ended).code).to.equal(0);
  });

  it('has on disk all that it acknowledged when it is stopped under load', async () => {
    const load = startLoad(service.url, { connections: 16, sources: 50 });
    await load.acknowledged(200);
    service.signal('SIGTERM');
    expect((await service.ended).code).to.equal(0);
    await load.stop();
    service = await startMain({ DATA_DIR: folder.path });
    load.expectKept(await service.list());
  });
});

describe('stopping the process while its program is being loaded', () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`ends it with 0 on ${signal}`, async () => {
      const args = [
        '--import',
        './src/early-signals.ts',
        '--eval',
        "setInterval(() => {}, 1000); console.log('loading')",
      ];
      const child = spawn(process.execPath, args);
      await once(child.stdout, 'data');
      child.kill(signal);
      expect(await once(child, 'exit')).to.deep.equal([0, null]);
    });
  }
});

describe('stopping npm start', function () {
  this.timeout(120_000);

  let folder: ReturnType<typeof makeFolder>;
  let npm: ChildProcess;
  let port: number;

  before(function () {
    if (isMissing('npm')) this.skip();
  });
  beforeEach(async () => {
    folder = makeFolder();
    port = await findFreePort();
    // npm and what it starts are a group of processes, as in a terminal
    npm = spawn('npm', ['start'], {
      env: { ...process.env, HOST: '127.0.0.1', PORT: String(port), DATA_DIR: folder.path },
      stdio: 'ignore',
      detached: true,
    });
    await until(async () => (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined))?.ok);
  });
  afterEach(() => {
    // the whole group; it may be gone
    try {
      process.kill(-(npm.pid as number), 'SIGKILL');
    } catch {}
    folder.remove();
  });

  it('ends the service on SIGTERM to npm alone', async () => {
    npm.kill('SIGTERM');
    await once(npm, 'exit');
    await untilRefusing({ port });
  });

  it('lets a report in flight finish on Ctrl-C, which reaches the service from the terminal and from npm', async () => {
    const slow = await beginReport({ port });
    process.kill(-(npm.pid as number), 'SIGINT');
    await untilRefusing({ port });
    // as if npm had been slow to pass on its own
    npm.kill('SIGINT');
    expect((await slow.finish()).statusCode).to.equal(201);
    if (npm.exitCode === null) await once(npm, 'exit');
  });
});

/** A report whose body has not all been sent; the service has begun with it. */
async function beginReport({
  port,
}: Pick<Service, 'port'>): Promise<{ finish(): Promise<IncomingMessage>; abort(): void }> {
  const body = JSON.stringify(reportBody({ last_check: new Date().toISOString() }));
  const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length, Expect: '100-continue' };
  const post: ClientRequest = request({ host: '127.0.0.1', port, path: '/api/status', method: 'POST', headers });
  post.on('error', () => {});
  post.write(body.slice(0, 10));
  await once(post, 'continue');
  return {
    async finish() {
      post.end(body.slice(10));
      const [response] = (await once(post, 'response')) as [IncomingMessage];
      response.resume();
      return response;
    },
    abort: () => post.destroy(),
  };
}

async function untilRefusing({ port }: Pick<Service, 'port'>): Promise<void> {
  await until(async () => {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return undefined;
    } catch {
      return true;
    } finally {
      socket.destroy();
    }
  });
}
