import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'chai';
import { makeCertificate } from './certificate.ts';
import { makeFolder, sha256, tokensText } from './fixtures.ts';
import { type Service, isMissing, runMain, startMain, until } from './process.ts';

describe('the process', function () {
  this.timeout(120_000);

  let folder: ReturnType<typeof makeFolder>;
  let services: Service[];

  beforeEach(() => {
    folder = makeFolder();
    services = [];
  });
  afterEach(async () => {
    await Promise.all(services.map((service) => service.kill()));
    folder.remove();
  });

  async function start(env: Record<string, string> = {}): Promise<Service> {
    const service = await startMain({ DATA_DIR: folder.path, ...env });
    services.push(service);
    return service;
  }

  async function stop(service: Service): Promise<void> {
    service.signal('SIGTERM');
    expect((await service.ended).code).to.equal(0);
  }

  describe('on the command line', () => {
    it('explains every variable with its default on --help', async () => {
      const { code, output } = await runMain({}, ['--help']);
      expect(code).to.equal(0);
      for (const name of ['PORT', 'HOST', 'DATA_DIR', 'STALE_AFTER', 'EXPIRE_AFTER', 'HISTORY_RETENTION']) {
        expect(output).to.contain(name);
      }
      expect(output)
        .to.match(/STALE_AFTER +10m/)
        .and.match(/MAX_BODY_BYTES +1048576/);
    });

    it('says its name and version on --version', async () => {
      const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
        version: string;
      };
      const { code, output } = await runMain({}, ['--version']);
      expect({ code, output }).to.deep.equal({ code: 0, output: `gitops-status-server ${version}\n` });
    });

    it('refuses an option that it does not know, and points to --help', async () => {
      const { code, output } = await runMain({}, ['--port=80']);
      expect(code).to.equal(2);
      expect(output).to.contain('--port').and.contain('See --help');
    });

    it('names every wrong variable at once, and leaves the disk alone', async () => {
      const dataDir = join(folder.path, 'data');
      const { code, output } = await runMain({
        PORT: '99999',
        STALE_AFTER: 'soon',
        MAX_SOURCES: '-1',
        LOG_LEVEL: 'loud',
        TLS_KEY_FILE: '/nowhere.key',
        DATA_DIR: dataDir,
      });
      expect(code).to.equal(2);
      for (const name of ['PORT', 'STALE_AFTER', 'MAX_SOURCES', 'LOG_LEVEL', 'TLS_KEY_FILE', 'TLS_CERT_FILE']) {
        expect(output).to.contain(name);
      }
      expect(existsSync(dataDir)).to.equal(false);
    });
  });

  describe('when it starts', () => {
    it('says where it listens, where its data is and that anyone may write', async () => {
      const service = await start();
      expect(service.output())
        .to.contain(`listening on http://127.0.0.1:${service.port}`)
        .and.contain(folder.path)
        .and.contain('access control is off');
    });

    it('makes the data folder that it is told to use', async () => {
      const service = await start({ DATA_DIR: join(folder.path, 'not', 'yet', 'there') });
      expect((await fetch(`${service.url}/readyz`)).status).to.equal(200);
    });

    it('shows after a restart what it showed before', async () => {
      const first = await start();
      expect((await first.post()).status).to.equal(201);
      const before = await first.list();
      await stop(first);
      expect(await (await start()).list()).to.deep.equal(before);
    });

    it('refuses a folder that another process has, and names that process', async () => {
      const first = await start();
      await first.post();
      const before = await first.list();
      const { code, output } = await runMain({ DATA_DIR: folder.path, HOST: '127.0.0.1', PORT: '0' });
      expect(code).to.equal(1);
      expect(output).to.contain(`process ${first.pid} `).and.contain(folder.path);
      expect(await first.list()).to.deep.equal(before);
      expect((await first.post()).status).to.equal(200);
    });

    it('takes over the folder of a process that was killed', async () => {
      const first = await start();
      await first.post();
      await first.kill();
      expect(await (await start()).list()).to.have.lengthOf(1);
    });

    it('says that the folder cannot be made', async () => {
      const file = join(folder.path, 'file');
      writeFileSync(file, '');
      await expectRefusal({ DATA_DIR: join(file, 'data') }, 'cannot be written');
      expect(readFileSync(file, 'utf8')).to.equal('');
    });

    it('says that the folder cannot be written', async () => {
      // there, and writable for nobody, root included
      await expectRefusal({ DATA_DIR: '/proc' }, 'cannot be written');
    });

    it('says that the port is taken', async () => {
      const other = createServer().listen(0, '127.0.0.1');
      await once(other, 'listening');
      try {
        const { port } = other.address() as AddressInfo;
        await expectRefusal({ PORT: String(port) }, 'cannot listen');
      } finally {
        other.close();
      }
    });
  });

  describe('finding a database that it must not touch', () => {
    let file: string;

    beforeEach(async () => {
      file = join(folder.path, 'gitops-status.db');
      const service = await start();
      await service.post();
      await stop(service);
    });

    async function expectUntouched(sentence: string): Promise<void> {
      const before = readFileSync(file);
      await expectRefusal({}, file, sentence);
      expect(readFileSync(file).equals(before), 'the file is as it was').to.equal(true);
    }

    it('stops at one whose head is damaged', async () => {
      overwrite(file, 0, 'this was a database once');
      await expectUntouched('is damaged');
    });

    it('stops at one that is damaged further inside', async () => {
      const { length } = readFileSync(file);
      overwrite(file, 4096, '\u00ff'.repeat(length - 4096));
      await expectUntouched('is damaged');
    });

    it('stops at one that was cut short', async () => {
      writeFileSync(file, readFileSync(file).subarray(0, 6000));
      await expectUntouched('is damaged');
    });

    it('stops at one of a newer version', async () => {
      change(file, 'PRAGMA user_version = 1000');
      await expectUntouched('newer version');
    });

    it("stops at another program's", async () => {
      change(file, 'PRAGMA application_id = 7');
      await expectUntouched("another program's database");
    });

    it('goes on when what was there before is put back', async () => {
      const good = readFileSync(file);
      overwrite(file, 0, 'this was a database once');
      await expectUntouched('is damaged');
      writeFileSync(file, good);
      expect(await (await start()).list()).to.have.lengthOf(1);
    });
  });

  describe('with a certificate', () => {
    before(function () {
      if (isMissing('openssl')) this.skip();
    });

    it('speaks https', async () => {
      const { certFile, keyFile } = makeCertificate(folder.path, 'ours');
      const service = await start({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile });
      expect(service.url).to.match(/^https:/);
      const request = httpsRequest(`${service.url}/healthz`, { ca: readFileSync(certFile) }).end();
      const [response] = (await once(request, 'response')) as [{ statusCode: number }];
      expect(response.statusCode).to.equal(200);
      request.destroy();
    });

    it('says that certificate and key do not belong together', async () => {
      const { certFile } = makeCertificate(folder.path, 'ours');
      const { keyFile } = makeCertificate(folder.path, 'theirs');
      const env = { DATA_DIR: folder.path, TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile };
      const { code, output } = await runMain(env);
      expect(code).to.equal(2);
      expect(output).to.match(
        /^gitops-status-server: wrong configuration\n {2}TLS_CERT_FILE and TLS_KEY_FILE: [^\n]+\n$/,
      );
    });
  });

  describe('with a tokens file', () => {
    let file: string;
    beforeEach(() => {
      file = join(folder.path, 'tokens.json');
      put(tokensText([token('ci', 'report'), token('grafana', 'read')]));
    });

    const token = (name: string, scope: string): Record<string, unknown> => ({
      name,
      sha256: sha256(`${name}-secret`),
      scopes: [scope],
    });
    const as = (name: string): Record<string, string> => ({ Authorization: `Bearer ${name}-secret` });

    function put(text: string): void {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    }

    async function statusOf(service: Service, path: string, headers: Record<string, string> = {}): Promise<number> {
      const response = await fetch(`${service.url}${path}`, { headers });
      await response.body?.cancel();
      return response.status;
    }

    it('says so, and lets in who has a token', async () => {
      const service = await start({ TOKENS_FILE: file });
      expect(service.output()).to.contain('access control is on').and.not.contain('access control is off');
      expect((await service.post()).status).to.equal(401);
      expect((await service.post({}, as('ci'))).status).to.equal(201);
      expect(await statusOf(service, '/status.json', as('grafana'))).to.equal(200);
      expect(await statusOf(service, '/healthz')).to.equal(200);
      expect(service.output()).to.not.contain('-secret');
    });

    it('goes by what the file says by now, also for those who listen already', async () => {
      const service = await start({ TOKENS_FILE: file });
      const response = await fetch(`${service.url}/api/events`, { headers: as('grafana') });
      expect(response.status).to.equal(200);
      const stream = response.text();
      put(tokensText([token('ci-2', 'report')]));
      await stream;
      await until(() => service.output().includes('TOKENS_FILE has changed and counts') || undefined);
      expect(await statusOf(service, '/status.json', as('grafana'))).to.equal(401);
      expect((await service.post({}, as('ci'))).status).to.equal(401);
      expect((await service.post({}, as('ci-2'))).status).to.equal(201);
    });

    it('keeps to what the file said while it says nothing of use, and tells so', async () => {
      const service = await start({ TOKENS_FILE: file });
      put('{"tokens": ["ci-secret"]}');
      await until(() => service.output().includes('cannot be used') || undefined);
      expect(service.output()).to.contain('TOKENS_FILE: /tokens/0 must be an object').and.not.contain('ci-secret');
      expect((await service.post({}, as('ci'))).status).to.equal(201);
      const scrape = async (): Promise<string> =>
        (await fetch(`${service.url}/metrics`, { headers: as('grafana') })).text();
      expect(await scrape()).to.contain('gitops_tokens_last_reload_successful 0\n');
      put(tokensText([token('grafana', 'read')]));
      await until(async () => (await scrape()).includes('gitops_tokens_last_reload_successful 1\n') || undefined);
    });

    it('refuses to start with one that is of no use, and leaves the disk alone', async () => {
      put('{"tokens": [{"name": "ci", "sha256": "ci-secret"}]}');
      const dataDir = join(folder.path, 'data');
      const { code, output } = await runMain({ DATA_DIR: dataDir, TOKENS_FILE: file });
      expect(code).to.equal(2);
      expect(output).to.match(
        /^gitops-status-server: wrong configuration\n( {2}TOKENS_FILE: \/tokens\/0\/[^\n]+\n){2}$/,
      );
      expect(output).to.not.contain('ci-secret');
      expect(existsSync(dataDir)).to.equal(false);
    });
  });

  /** It must exit with 1 and say, in one line and without a stack, all of `parts`. */
  async function expectRefusal(env: Record<string, string>, ...parts: string[]): Promise<void> {
    const { code, output } = await runMain({ DATA_DIR: folder.path, HOST: '127.0.0.1', PORT: '0', ...env });
    expect(code, output).to.equal(1);
    for (const part of parts) expect(output).to.contain(part);
    expect(output).to.match(/^gitops-status-server: [^\n]+\n$/);
  }
});

function overwrite(file: string, position: number, text: string): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Buffer.from(text, 'latin1'), 0, undefined, position);
  closeSync(descriptor);
}

function change(file: string, sql: string): void {
  const db = new DatabaseSync(file);
  db.exec(sql);
  db.close();
}
