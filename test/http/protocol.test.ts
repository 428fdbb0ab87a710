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
      const answer = parseAnswer(await exchange(service.port, post('', 8 * 2048 + 1, EXPECT)));
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

    const chunked = post('', 100, EXPECT).replace('Content-Length: 100', 'Transfer-Encoding: chunked');
    const refused: readonly (readonly [status: number, what: string, bytes: string])[] = [
      [400, 'a fragment in its target', post('', 100, EXPECT).replace('/api/status', '/api/status#x')],
      [400, 'no Host', post('', 100, EXPECT).replace('Host: service\r\n', '')],
      [400, 'a length of nothing', post('', 0, EXPECT, 'Connection: close')],
      [400, 'no length', post('', 0, EXPECT, 'Connection: close').replace('Content-Length: 0\r\n', '')],
      [404, 'a wrong path', post('', 100, EXPECT).replace('/api/status', '/api/reports')],
      [404, 'a slash behind its path', chunked.replace('/api/status', '/api/status/')],
      [405, 'a wrong method', post('', 100, EXPECT).replace('POST', 'PUT')],
      [405, 'a list in the place of its path', chunked.replace('/api/status', '/status.json')],
      [413, 'its length', post('', 8 * 2048 + 1, EXPECT)],
      [413, 'its length, packed', post('', 8 * 2048 + 1, EXPECT, 'Content-Encoding: gzip')],
      [413, 'its length, in other letters', post('', 8 * 2048 + 1, 'Expect: 100-Continue')],
      [413, 'its length, asked twice', post('', 8 * 2048 + 1, EXPECT, EXPECT)],
      [415, 'its type', chunked.replace('application/json', 'text/plain')],
      [415, 'no type', chunked.replace('Content-Type: application/json\r\n', '')],
      [415, 'its encoding', post('', 100, EXPECT, 'Content-Encoding: compress')],
      [417, 'another expectation beside it', post('', 100, 'Expect: 100-continue, a-miracle')],
      [417, 'another expectation before it', post('', 100, 'Expect: a-miracle', EXPECT)],
      [417, 'a parameter of it', post('', 8 * 2048 + 1, 'Expect: 100-continue;q=1')],
      [417, 'quotes around it', post('', 8 * 2048 + 1, 'Expect: "100-continue"')],
      [417, 'an expectation without a value', post('', 8 * 2048 + 1, 'Expect: ')],
    ];
    for (const [status, what, bytes] of refused) {
      it(`is refused for ${what} with ${status}, without being told to go on`, async () => {
        const answer = parseAnswer(await exchange(service.port, bytes));
        expect(answer.status).to.equal(status);
        expect(answer.problem).to.include({ status, request_id: answer.headers.get('x-request-id') });
        expect(answer.headers.get('connection')).to.equal('close');
      });
    }

    it('is refused with a token for other things before it sends it', async () => {
      const tokens = parseTokens(tokensText([{ name: 'reader', sha256: sha256('reader'), scopes: ['read'] }]));
      const guarded = await startService({ tokens: () => tokens });
      try {
        const bytes = post('', 100, EXPECT, 'Authorization: Bearer reader');
        expect(parseAnswer(await exchange(guarded.port, bytes)).status).to.equal(403);
      } finally {
        await guarded.stop();
      }
    });

    it('in HTTP/1.0 is not told anything, and answered when it has sent its report', async () => {
      const wire = await openWire(service.port);
      wire.send(post('', REPORT.length, EXPECT).replace('HTTP/1.1', 'HTTP/1.0'));
      wire.send(REPORT);
      expect(parseAnswer(await wire.closed).status).to.equal(201);
    });

    it('in HTTP/1.0 is refused after its report was read, which it sends at once', async () => {
      const body = 'x'.repeat(3_000_000);
      const wire = await openWire(service.port);
      wire.send(post(body, body.length, EXPECT).replace('HTTP/1.1', 'HTTP/1.0'));
      expect(parseAnswer(await wire.closed).status).to.equal(413);
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
