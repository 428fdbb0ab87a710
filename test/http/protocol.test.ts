import { expect } from 'chai';
import { parseTokens } from '../../src/access/tokens.ts';
import { type Service, reportBody, sha256, startService, tokensText } from '../fixtures.ts';
import { exchange, get, openWire, parseAnswer, post } from '../wire.ts';

const REPORT = JSON.stringify(reportBody());
const EXPECT = 'Expect: 100-continue';

describe('HTTP as few speak it', () => {
  let service: Service;

  beforeEach(async () => {
    service = await startService({ maxBodyBytes: 2048 });
  });
  afterEach(() => service.stop());

  describe('a client that asks before it sends its report', () => {
    it('is told to go on', async () => {
      const wire = await openWire(service.port);
      wire.send(post('', REPORT.length, EXPECT));
      expect(await wire.has(/\r\n\r\n/)).to.equal('HTTP/1.1 100 Continue\r\n\r\n');
      wire.send(REPORT);
      await wire.has(/HTTP\/1\.1 201 /);
      wire.destroy();
    });

    it('is refused a report that is too large before it sends it', async () => {
      const answer = parseAnswer(await exchange(service.port, post('', 2049, EXPECT)));
      expect(answer.status).to.equal(413);
      expect(answer.headers.get('connection')).to.equal('close');
      expect(answer.problem.reason).to.equal('too_large');
    });

    it('is refused one of the wrong type before it sends it', async () => {
      const bytes = post('', 100, EXPECT).replace('application/json', 'text/plain');
      expect(parseAnswer(await exchange(service.port, bytes)).status).to.equal(415);
    });

    it('is refused without a token before it sends it', async () => {
      const tokens = parseTokens(tokensText([{ name: 'ci', sha256: sha256('ci'), scopes: ['report'] }]));
      const guarded = await startService({ tokens: () => tokens });
      try {
        expect(parseAnswer(await exchange(guarded.port, post('', 100, EXPECT))).status).to.equal(401);
      } finally {
        await guarded.stop();
      }
    });

    it('is not told to send a body that nobody reads', async () => {
      const text = await exchange(service.port, get('/healthz', EXPECT, 'Content-Length: 10'));
      expect(parseAnswer(text).status).to.equal(200);
    });
  });

  for (const [protocol, lines] of [
    ['h2c', ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA']],
    ['websocket', ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']],
  ] as const) {
    it(`a client that would rather speak ${protocol} is answered in HTTP/1.1, and the connection goes on`, async () => {
      const wire = await openWire(service.port);
      wire.send(get('/healthz', ...lines));
      await wire.has(/^HTTP\/1\.1 200 [^]*"ok"/);
      wire.send(post(REPORT, REPORT.length, ...lines));
      await wire.has(/HTTP\/1\.1 201 /);
      wire.destroy();
    });
  }

  it('a client of HTTP/1.0 needs no Host, and gets its answer and the end of the connection', async () => {
    const { status, headers, body } = parseAnswer(await exchange(service.port, 'GET /healthz HTTP/1.0\r\n\r\n'));
    expect(status).to.equal(200);
    expect(headers.get('connection')).to.equal('close');
    expect(body).to.contain('ok');
  });

  it('a client that sends a line break behind its report goes on with the next', async () => {
    const wire = await openWire(service.port);
    wire.send(`\r\n${post(REPORT)}\r\n${post(REPORT)}\r\n${get('/healthz')}`);
    await wire.has(/HTTP\/1\.1 201 [^]*HTTP\/1\.1 200 [^]*"ok"/);
    wire.destroy();
  });

  it('requests that come at once are answered in their order', async () => {
    const wire = await openWire(service.port);
    wire.send(`${get('/status.json')}${post(REPORT)}${get('/none')}`);
    await wire.has(/HTTP\/1\.1 200 [^]*HTTP\/1\.1 201 [^]*HTTP\/1\.1 404 /);
    wire.destroy();
  });
});
