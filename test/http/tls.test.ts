import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'chai';
import { makeCertificate } from '../certificate.ts';
import { type Service, makeFolder, startService } from '../fixtures.ts';
import { isMissing } from '../process.ts';
import { type Wire, exchange, get, openWire, parseAnswer, post } from '../wire.ts';

const MAX = 20;
const SECRET = 'very-secret-token-of-ci';

describe('over https, the service', () => {
  let folder: ReturnType<typeof makeFolder>;
  let service: Service;
  let wires: Wire[];

  before(function () {
    if (isMissing('openssl')) this.skip();
  });
  beforeEach(async () => {
    wires = [];
    folder = makeFolder();
    service = await startService({ tls: makeCertificate(folder.path, 'ours'), maxConnections: MAX });
  });
  afterEach(async () => {
    for (const wire of wires) wire.destroy();
    await service.stop();
    folder.remove();
  });

  async function open(count: number, isTls: boolean, begin: (wire: Wire) => unknown): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      const wire = await openWire(service.port, isTls);
      wires.push(wire);
      await begin(wire);
    }
  }

  async function expectServed(): Promise<void> {
    const answer = await exchange(service.port, get('/healthz', 'Connection: close'), true);
    expect(parseAnswer(answer).status).to.equal(200);
  }

  const scrape = (): Promise<string> => service.metrics.render();

  for (const [name, bytes] of [
    ['a GET', get('/status.json', `Authorization: Bearer ${SECRET}`)],
    ['a report', post('{}', 2, `Authorization: Bearer ${SECRET}`)],
    ['a deletion', get('/api/status/a/b', `Authorization: Bearer ${SECRET}`).replace('GET', 'DELETE')],
  ] as const) {
    it(`tells ${name} over http that it speaks https`, async () => {
      const { status, headers, problem } = parseAnswer(await exchange(service.port, bytes));
      expect(status).to.equal(400);
      expect(headers.get('content-type')).to.equal('application/problem+json');
      expect(problem.detail).to.contain('https://');
      expect(await scrape()).to.contain('http_protocol_errors_total{code="tls"} 1\n');
      expect(service.log.at(-1)).to.include({ level: 40, code: 'tls', client_address: '127.0.0.1' });
      expect(JSON.stringify(service.log)).to.not.contain(SECRET);
    });
  }

  it('closes a connection that speaks neither', async () => {
    await exchange(service.port, `\0\u0001garbage ${SECRET}`);
    expect(await scrape()).to.contain('http_protocol_errors_total{code="tls"} 1\n');
    expect(JSON.stringify(service.log)).to.not.contain(SECRET);
    await expectServed();
  });

  it('answers broken HTTP within TLS, and does not log its bytes', async () => {
    const { status, problem } = parseAnswer(await exchange(service.port, `${SECRET}\r\n\r\n`, true));
    expect(status).to.equal(400);
    expect(problem.reason).to.equal('bad_request');
    expect(await scrape()).to.contain('http_protocol_errors_total{code="bad_request"} 1\n');
    expect(JSON.stringify(service.log)).to.not.contain(SECRET).and.not.contain('rawPacket');
  });

  it('takes no notice of a client that only looks whether the port is open', async () => {
    const wire = await openWire(service.port);
    wire.end();
    await wire.closed;
    expect(await scrape()).to.contain('http_protocol_errors_total{code="tls"} 0\n');
    expect(service.log).to.be.empty;
  });

  it('is not locked out by connections that sleep', async () => {
    await open(MAX, true, async (wire) => {
      wire.send(get('/healthz'));
      await wire.has(/"ok"/);
    });
    await expectServed();
    expect(await scrape()).to.match(/gitops_connections (19|20)\n/);
  });

  for (const [name, isTls, bytes] of [
    ['that never begin a handshake', false, ''],
    ['that never complete a handshake', false, Buffer.from('160301020001000001fc0303', 'hex')],
    ['that never send a request', true, ''],
    ['that never complete a request', true, 'GET /healthz HTTP/1.1\r\nHo'],
  ] as const) {
    it(`is not locked out by connections ${name}`, async () => {
      await open(MAX, isTls, (wire) => wire.send(bytes));
      for (let i = 0; i < 3; i += 1) {
        await expectServed();
        await open(2, isTls, (wire) => wire.send(bytes));
      }
    });
  }

  it('closes new connections while all have an answer under way', async () => {
    await open(MAX, true, async (wire) => {
      wire.send(get('/api/events'));
      await wire.has(/retry/);
    });
    const refused = await openWire(service.port);
    expect(await refused.closed).to.equal('');
    expect(await scrape()).to.contain('http_protocol_errors_total{code="other"} 1\n');
    wires[0]?.destroy();
    while (!/gitops_connections 19\n/.test(await scrape())) await nextTurn();
    await expectServed();
  });
});
