import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { makeCertificate } from '../certificate.ts';
import { type Service, makeFolder, reportBody, startService } from '../fixtures.ts';
import { isMissing } from '../process.ts';
import { type Wire, get, openWire, parseAnswer, post } from '../wire.ts';

const SHORT = { requestMs: 1000, headersMs: 500, handshakeMs: 500, checkEveryMs: 10 };
/** Longer than all of them. */
const PAUSE_MS = 1500;
const REPORT = JSON.stringify(reportBody());

describe('limits of time', () => {
  let folder: ReturnType<typeof makeFolder>;
  let service: Service;

  before(() => {
    folder = makeFolder();
  });
  after(() => folder.remove());
  afterEach(() => service.stop());

  const counted = async (code: string): Promise<number> =>
    Number(
      new RegExp(`http_protocol_errors_total\\{code="${code}"\\} (\\d+)`).exec(await service.metrics.render())?.[1],
    );

  /** Sends byte by byte until the service has had enough. */
  async function drip(wire: Wire, bytes: string): Promise<string> {
    for (const byte of bytes) {
      if (wire.isClosed()) break;
      wire.send(byte);
      await setTimeout(20);
    }
    return wire.closed;
  }

  async function expectTimeout(answer: string): Promise<void> {
    const { status, headers, problem } = parseAnswer(answer);
    expect(status).to.equal(408);
    expect(headers.get('content-type')).to.equal('application/problem+json');
    expect(headers.get('connection')).to.equal('close');
    expect(problem).to.include({ reason: 'request_timeout', status: 408 });
    expect(await counted('timeout')).to.equal(1);
    const lines = service.log.filter(({ msg }) => msg === 'protocol error');
    expect(lines).to.have.lengthOf(1);
    expect(lines[0]).to.include({ code: 'timeout', client_address: '127.0.0.1' });
  }

  for (const isTls of [false, true]) {
    describe(`over ${isTls ? 'https' : 'http'}`, () => {
      before(function () {
        if (isTls && isMissing('openssl')) this.skip();
      });
      beforeEach(async () => {
        const tls = isTls ? makeCertificate(folder.path, 'ours') : undefined;
        service = await startService({ timeLimits: SHORT, tls });
      });

      it('end a connection that sends nothing', async () => {
        await expectTimeout(await (await openWire(service.port, isTls)).closed);
      });

      it('end a head that comes slowly', async () => {
        const wire = await openWire(service.port, isTls);
        await expectTimeout(await drip(wire, get('/status.json', `X: ${'x'.repeat(200)}`)));
      });

      it('end a body that comes slowly, which is no rejected report', async () => {
        const wire = await openWire(service.port, isTls);
        wire.send(post(REPORT).slice(0, -REPORT.length));
        await expectTimeout(await drip(wire, `{${' '.repeat(200)}`));
        expect(await service.metrics.render()).to.contain('gitops_reports_total{result="rejected"} 0\n');
        expect(service.fleet.size).to.equal(0);
      });

      it('end a slow request on a connection that was kept', async () => {
        const wire = await openWire(service.port, isTls);
        wire.send(get('/healthz'));
        const first = await wire.has(/"ok"\}\s*$/);
        await expectTimeout((await drip(wire, get('/healthz', `X: ${'x'.repeat(200)}`))).slice(first.length));
      });

      it('do not end a connection that is kept', async () => {
        const wire = await openWire(service.port, isTls);
        wire.send(get('/healthz'));
        await wire.has(/"ok"/);
        await setTimeout(PAUSE_MS);
        wire.send(get('/healthz'));
        await wire.has(/"ok"[^]*"ok"/);
        wire.destroy();
      });

      it('do not end an event stream', async () => {
        const wire = await openWire(service.port, isTls);
        wire.send(get('/api/events'));
        await setTimeout(PAUSE_MS);
        service.events.publish('change', '{"still":"here"}');
        await wire.has(/still/);
        wire.destroy();
      });
    });
  }

  it('keep a connection longer than load balancers do', async () => {
    service = await startService();
    const response = await service.request('/healthz');
    expect(response.headers.get('Keep-Alive')).to.equal('timeout=620');
  });

  describe('before there is TLS', () => {
    before(function () {
      if (isMissing('openssl')) this.skip();
    });
    beforeEach(async () => {
      service = await startService({ timeLimits: SHORT, tls: makeCertificate(folder.path, 'ours') });
    });

    for (const [name, bytes] of [
      ['a silent handshake', ''],
      ['one that stops in its middle', Buffer.from('160301020001000001fc0303', 'hex')],
    ] as const) {
      it(`end ${name}`, async () => {
        const wire = await openWire(service.port);
        wire.send(bytes);
        await wire.closed;
        expect(await counted('timeout')).to.equal(1);
      });
    }
  });
});
