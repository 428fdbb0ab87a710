import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { makeCertificate } from '../certificate.ts';
import { makeFolder, reportBody, sha256, tokensText } from '../fixtures.ts';
import { type Service, isMissing, startMain, until } from '../process.ts';
import { type Wire, exchange, get, openWire, parseAnswer, post } from '../wire.ts';

const SECRET = 'very-secret-token-of-ci';
const AUTHORIZATION = `Authorization: Bearer ${SECRET}`;

describe('connections to the process', function () {
  this.timeout(120_000);

  let folder: ReturnType<typeof makeFolder>;
  let service: Service | undefined;
  let wires: Wire[];

  beforeEach(() => {
    folder = makeFolder();
    wires = [];
  });
  afterEach(async () => {
    for (const wire of wires) wire.destroy();
    await service?.kill();
    folder.remove();
  });

  async function start(env: Record<string, string> = {}, launcher: readonly string[] = []): Promise<Service> {
    service = await startMain({ DATA_DIR: folder.path, ...env }, launcher);
    return service;
  }

  /** A tokens file with {@link SECRET}. */
  function putTokens(): string {
    const file = join(folder.path, 'tokens.json');
    writeFileSync(file, tokensText([{ name: 'ci', sha256: sha256(SECRET), scopes: ['report'] }]));
    return file;
  }

  async function open(port: number, count: number, begin: (wire: Wire) => unknown, isTls = false): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      const wire = await openWire(port, isTls);
      wires.push(wire);
      await begin(wire);
    }
  }

  it('with broken HTTP leave no byte of it in the log (nodejs/node#17672)', async () => {
    const { port, output, signal, ended } = await start({ TOKENS_FILE: putTokens(), LOG_LEVEL: 'trace' });
    const report = JSON.stringify(reportBody());
    for (const bytes of [
      post(`${report}{"note":"${SECRET}"}`, report.length, AUTHORIZATION),
      `${get('/status.json', AUTHORIZATION)}{"a":1}`,
      `POST /api/status HTTP/1.1\r\nHost: x\r\n${AUTHORIZATION}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
      get('/status.json', `${AUTHORIZATION}\r`),
    ]) {
      expect(parseAnswer(await exchange(port, bytes)).status).to.equal(400);
    }
    signal('SIGTERM');
    await ended;
    expect(output().match(/"protocol error"/g)).to.have.lengthOf(4);
    expect(output()).to.not.contain(SECRET).and.not.contain('rawPacket');
    expect(output()).to.not.contain(Buffer.from(SECRET.slice(0, 8)).join(','));
  });

  it('beyond MAX_CONNECTIONS take the place of those that sleep', async () => {
    const { port, url, post: report } = await start({ MAX_CONNECTIONS: '10' });
    await open(port, 20, async (wire) => {
      wire.send(get('/healthz'));
      await wire.has(/"ok"/);
    });
    expect((await report()).status).to.equal(201);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).to.contain('gitops_connections 10\n').and.contain('gitops_limit{limit="connections"} 10\n');
  });

  it('lock nobody out where fewer files may be open than MAX_CONNECTIONS says', async () => {
    const launcher = ['bash', '-c', 'ulimit -n 100; exec "$@"', 'bash'];
    const { port, url, output, post: report } = await start({}, launcher);
    await open(port, 150, async (wire) => {
      wire.send(get('/healthz'));
      await wire.has(/"ok"/);
    });
    expect((await report()).status).to.equal(201);
    expect(await (await fetch(`${url}/metrics`)).text()).to.contain('gitops_limit{limit="connections"} 36\n');
    expect(output()).to.contain('36 connections instead of MAX_CONNECTIONS');
  });

  it('through as many proxies as TRUSTED_PROXIES says have the address that the last of them tells', async () => {
    const { port, output } = await start({ TOKENS_FILE: putTokens(), TRUSTED_PROXIES: '1' });
    await exchange(port, get('/status.json', 'Connection: close', 'X-Forwarded-For: 203.0.113.9, 192.0.2.1'));
    await until(() => (output().includes('"client_address":"192.0.2.1"') ? true : undefined));
    expect(output()).to.not.contain('203.0.113.9');
  });

  for (const isTls of [false, true]) {
    it(`that are half open do not keep ${isTls ? 'an https' : 'the'} service from stopping`, async function () {
      if (isTls && isMissing('openssl')) this.skip();
      const { certFile, keyFile } = isTls ? makeCertificate(folder.path, 'ours') : { certFile: '', keyFile: '' };
      const { port, signal, ended } = await start({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile });
      // without TLS on the port of https: handshakes that never begin, or stop in their middle
      await open(port, 3, () => {});
      await open(port, 3, (wire) => wire.send('\u0016\u0003\u0001\u0002'));
      await open(port, 3, () => {}, isTls);
      await open(port, 3, (wire) => wire.send('GET /healthz HTT'), isTls);
      await open(port, 3, (wire) => wire.send(post('{', 100)), isTls);
      await open(port, 3, (wire) => wire.send(get('/api/events')), isTls);
      await open(
        port,
        3,
        (wire) => {
          wire.send(post('{', 100));
          wire.end();
        },
        isTls,
      );
      await setTimeout(100);
      signal('SIGTERM');
      // 0 and not 1: it was done before the deadline of 10 s that it sets itself
      expect((await ended).code).to.equal(0);
    });
  }
});
