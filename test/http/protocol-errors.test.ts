import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'chai';
import { parseTokens } from '../../src/access/tokens.ts';
import { type Service, reportBody, sha256, startService, tokensText, until } from '../fixtures.ts';
import { type Answer, exchange, get, openWire, parseAnswer, post } from '../wire.ts';

const SECRET = 'very-secret-token-of-ci';
const AUTHORIZATION = `Authorization: Bearer ${SECRET}`;
const REPORT = JSON.stringify(reportBody());
const CHUNKED = `POST /api/status HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n${AUTHORIZATION}\r\nTransfer-Encoding: chunked\r\n\r\n`;

type Broken = readonly [name: string, bytes: string | Buffer, status: number, code: string, detail: RegExp];

/** What became public as nodejs/node#17672: `clientError` has the bytes that were being parsed. */
const BROKEN: readonly Broken[] = [
  [
    'a body longer than its Content-Length',
    post(`${REPORT}${REPORT}`, REPORT.length, AUTHORIZATION),
    400,
    'bad_request',
    /carried out/,
  ],
  [
    'a report that its Content-Length cuts short',
    post(REPORT, 20, AUTHORIZATION),
    400,
    'bad_request',
    /not valid HTTP/,
  ],
  ['a GET with a body', `${get('/status.json', AUTHORIZATION)}{"a":1}`, 400, 'bad_request', /not valid HTTP/],
  [
    'a POST with a body but no Content-Length',
    `${get('/api/status', AUTHORIZATION).replace('GET', 'POST')}${REPORT}`,
    400,
    'bad_request',
    /not valid HTTP/,
  ],
  ['a broken chunk', `${CHUNKED}zz\r\n${REPORT}\r\n`, 400, 'bad_request', /chunk size/],
  ['a chunk longer than it says', `${CHUNKED}3\r\n${REPORT}\r\n`, 400, 'bad_request', /not valid HTTP/],
  ['chunk extensions without end', `${CHUNKED}3;${'x'.repeat(20_000)}\r\nabc\r\n`, 400, 'bad_request', /[Cc]hunk ext/],
  [
    'a Content-Length beside chunks',
    CHUNKED.replace('Transfer', 'Content-Length: 3\r\nTransfer'),
    400,
    'bad_request',
    /Content-Length/,
  ],
  ['two Content-Lengths', post(REPORT, 3, 'Content-Length: 4', AUTHORIZATION), 400, 'bad_request', /Content-Length/],
  ['a negative Content-Length', post(REPORT, -3, AUTHORIZATION), 400, 'bad_request', /Content-Length/],
  ['an unknown transfer coding', CHUNKED.replace('chunked', 'gzip'), 400, 'bad_request', /Transfer-Encoding/],
  ['a NUL in a header', get('/status.json', `${AUTHORIZATION}\0`), 400, 'bad_request', /header/],
  ['a blank before a colon', get('/status.json', AUTHORIZATION, 'Accept : text/html'), 400, 'bad_request', /header/],
  ['an unknown method', get('/status.json', AUTHORIZATION).replace('GET', 'FETCH'), 400, 'bad_request', /method/],
  ['a blank in the path', get(`/${SECRET} /status.json`), 400, 'bad_request', /not valid HTTP/],
  [
    'an unknown version',
    get('/status.json', AUTHORIZATION).replace('HTTP/1.1', 'HTTP/1.9'),
    400,
    'bad_request',
    /version/,
  ],
  ['no Host', `GET /status.json HTTP/1.1\r\n${AUTHORIZATION}\r\n\r\n`, 400, 'bad_request', /Host/],
  ['the preface of HTTP/2', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${SECRET}`, 400, 'bad_request', /HTTP\/2/],
  ['a CONNECT', `CONNECT ${SECRET}:443 HTTP/1.1\r\nHost: x\r\n${AUTHORIZATION}\r\n\r\n`, 400, 'bad_request', /proxy/],
  [
    'a TLS handshake on the port of http',
    Buffer.from(`160301020001000001fc0303${Buffer.from(SECRET).toString('hex')}`, 'hex'),
    400,
    'bad_request',
    /http:\/\//,
  ],
  ['a binary blob', Buffer.from([0, 255, 254, ...Buffer.from(SECRET)]), 400, 'bad_request', /not valid HTTP/],
  [
    'headers larger than 64 KiB',
    get('/status.json', AUTHORIZATION, `X: ${'x'.repeat(70_000)}`),
    431,
    'headers_too_large',
    /64 KiB/,
  ],
  ['a path larger than 64 KiB', get(`/${SECRET}${'x'.repeat(70_000)}`), 431, 'headers_too_large', /64 KiB/],
  [
    'an unknown expectation',
    post(REPORT, REPORT.length, 'Expect: a-miracle', AUTHORIZATION),
    417,
    'other',
    /100-continue/,
  ],
  [
    'an unknown expectation beside a known one',
    post(REPORT, REPORT.length, 'Expect: 100-continue, a-miracle', AUTHORIZATION),
    417,
    'other',
    /100-continue/,
  ],
  ['an expectation of a read', get('/healthz', 'Expect: a-miracle', AUTHORIZATION), 417, 'other', /100-continue/],
  ['an expectation without a value', get('/healthz', 'Expect:', AUTHORIZATION), 417, 'other', /100-continue/],
  [
    'an unknown method with a body',
    post(REPORT, REPORT.length, AUTHORIZATION).replace('POST', 'REPORT1'),
    400,
    'bad_request',
    /method/,
  ],
  ['a method in small letters', get('/status.json', AUTHORIZATION).replace('GET', 'get'), 400, 'bad_request', /method/],
  ['a method of RTSP', get('/status.json', AUTHORIZATION).replace('GET', 'DESCRIBE'), 400, 'bad_request', /method/],
  ['a method of HTTP/1.0 that is unknown', 'FOO / HTTP/1.0\r\n\r\n', 400, 'bad_request', /method/],
  ['an unknown method alone', 'FOO', 400, 'bad_request', /method/],
];

/** Headers with a token from a file, as `curl -H "Authorization: Bearer $(cat token)"` sends them. */
const LINE_BREAKS: readonly (readonly [name: string, header: string])[] = [
  ['CR at its end', `${AUTHORIZATION}\r`],
  ['LF at its end', `${AUTHORIZATION}\n`],
  ['CR in it', AUTHORIZATION.replace('token', 'to\rken')],
  ['LF in it', AUTHORIZATION.replace('token', 'to\nken')],
  ['CR LF in it', AUTHORIZATION.replace('token', 'to\r\nken')],
  ['CR LF and a blank in it', AUTHORIZATION.replace('token', 'to\r\n ken')],
  ['CR LF and a colon in it', AUTHORIZATION.replace('token', 'to\r\n ken: x')],
  ['two CR at its end', `${AUTHORIZATION}\r\r`],
];

describe('broken HTTP', () => {
  let service: Service;

  beforeEach(async () => {
    // for one source only: then it is known whose report is broken
    const source = { repos: ['rsyslog'], servers: ['rsyslog-lab'] };
    const entry = { name: 'ci', sha256: sha256(SECRET), scopes: ['report'], ...source };
    const tokens = parseTokens(tokensText([entry], ['read']));
    service = await startService({ tokens: () => tokens });
  });
  afterEach(() => service.stop());

  const scrape = (): Promise<string> => service.metrics.render();

  /** Mocha's time limit ends it. */
  async function scrapeUntil(pattern: RegExp): Promise<string> {
    for (;;) {
      const text = await scrape();
      if (pattern.test(text)) return text;
      await nextTurn();
    }
  }

  function expectProblem({ status, headers, problem, body }: Answer, expected: number, detail: RegExp): void {
    expect(status).to.equal(expected);
    expect(headers.get('content-type')).to.equal('application/problem+json');
    expect(headers.get('content-length')).to.equal(String(Buffer.byteLength(body)));
    expect(headers.get('connection')).to.equal('close');
    expect(headers.get('x-content-type-options')).to.equal('nosniff');
    expect(headers.get('x-request-id')).to.equal(problem.request_id);
    expect(problem).to.include({ type: 'about:blank', status: expected });
    expect(problem.detail).to.match(detail);
  }

  /** Neither as it is nor as the bytes that loggers make of buffers. */
  function expectNoTrace(secret: string): void {
    const text = JSON.stringify(service.log);
    const bytes = Buffer.from(secret.slice(0, 12));
    for (const trace of [secret, bytes.join(','), bytes.toString('hex'), bytes.toString('base64').slice(0, 12)]) {
      expect(text).to.not.contain(trace);
    }
    expect(text).to.not.contain('rawPacket');
  }

  for (const [name, bytes, status, code, detail] of BROKEN) {
    it(`such as ${name} is answered, counted and logged without its bytes (nodejs/node#17672)`, async () => {
      const answer = parseAnswer(await exchange(service.port, bytes));
      expectProblem(answer, status, detail);
      expect(await scrape()).to.contain(`http_protocol_errors_total{code="${code}"} 1\n`);
      const lines = service.log.filter(({ level }) => Number(level) >= 40);
      expect(lines).to.have.lengthOf(1);
      expect(lines[0]).to.include({
        level: 40,
        code,
        reason: answer.problem.reason,
        client_address: '127.0.0.1',
        request_id: answer.problem.request_id,
      });
      expectNoTrace(SECRET);
    });

    it(`such as ${name} is no rejected report`, async () => {
      const report = (): Promise<Response> => service.post(reportBody(), { Authorization: `Bearer ${SECRET}` });
      expect((await report()).status).to.equal(201);
      await exchange(service.port, bytes);
      // whatever had been begun has ended when a later report has
      expect((await report()).status).to.equal(200);
      const text = await scrape();
      expect(text).to.contain('gitops_reports_total{result="rejected"} 0\n');
      expect(text).to.not.match(/gitops_reports_rejected_total\{reason="\w+"\} [1-9]/);
      expect(service.fleet.find('rsyslog', 'rsyslog-lab')?.snapshot.lastRejectedAt).to.equal(null);
    });
  }

  for (const [name, header] of LINE_BREAKS) {
    it(`by a token with ${name} is told of the line break`, async () => {
      for (const request of [get('/status.json', header), post(REPORT, REPORT.length, header)]) {
        const answer = parseAnswer(await exchange(service.port, request));
        expectProblem(answer, 400, /line break.*Windows line ends/);
      }
      expectNoTrace(SECRET);
    });
  }

  it('by a token with an empty line at its end is told of the line break', async () => {
    const bytes = get('/status.json', `${AUTHORIZATION}\r\n`, 'Accept: application/json');
    expectProblem(parseAnswer(await exchange(service.port, bytes)), 400, /line break in a token/);
    expectNoTrace(SECRET);
  });

  it('in the middle of a body that comes slowly ends the request', async () => {
    const wire = await openWire(service.port);
    wire.send(`${CHUNKED}5\r\n{"rep\r\n`);
    await scrapeUntil(/gitops_connections 1\n/);
    wire.send(`oops-${SECRET}\r\n`);
    expectProblem(parseAnswer(await wire.closed), 400, /chunk size/);
    expectNoTrace(SECRET);
    expect(await scrape()).to.contain('gitops_reports_total{result="rejected"} 0\n');
  });

  it('behind an answer that has gone out is answered after it', async () => {
    const wire = await openWire(service.port);
    wire.send(get('/healthz'));
    await wire.has(/"ok"/);
    wire.send(`garbage ${SECRET}`);
    const text = await wire.closed;
    expect(text).to.match(/^HTTP\/1\.1 200 /);
    expectProblem(parseAnswer(text.slice(text.indexOf('HTTP/1.1 400'))), 400, /^This is not valid HTTP: [^.]+$/);
    expectNoTrace(SECRET);
  });

  it('behind an answer that has begun puts nothing into it', async () => {
    const wire = await openWire(service.port);
    wire.send(get('/api/events', AUTHORIZATION));
    await wire.has(/retry: 5000\n\n/);
    wire.send(`garbage ${SECRET}`);
    expect(await wire.closed).to.not.contain('HTTP/1.1 400');
    expect(await scrape()).to.contain('http_protocol_errors_total{code="bad_request"} 1\n');
    expectNoTrace(SECRET);
  });

  it('keeps a complete report before it, and says that it may have been carried out', async () => {
    const text = await exchange(service.port, `${post(REPORT, REPORT.length, AUTHORIZATION)}garbage`);
    expect(parseAnswer(text).problem.detail).to.contain('may have been carried out');
    await until(() => service.fleet.size === 1);
  });

  it('is answered though the client goes on sending megabytes', async () => {
    const wire = await openWire(service.port);
    wire.send(get('/status.json', `X: ${'x'.repeat(100_000)}`));
    for (let i = 0; i < 64; i += 1) wire.send('y'.repeat(65_536));
    wire.end();
    expectProblem(parseAnswer(await wire.closed), 431, /64 KiB/);
  });

  it('does not let what follows a refused request be carried out', async () => {
    const smuggled = post(REPORT, REPORT.length, AUTHORIZATION);
    await exchange(service.port, `GET / HTTP/1.1\r\n\r\n${smuggled}`);
    await exchange(service.port, `${get('/', 'Expect: a-miracle')}${smuggled}`);
    await exchange(service.port, `CONNECT a:1 HTTP/1.1\r\n\r\n${smuggled}`);
    await service.request('/status.json');
    expect(service.fleet.size).to.equal(0);
  });

  it('is counted and answered once, whatever else is wrong with what follows', async () => {
    for (const first of ['GET / HTTP/1.1\r\n\r\n', get('/', 'Expect: a-miracle')]) {
      const text = await exchange(service.port, `${first}garbage\r\n\r\n`);
      expect(text.match(/HTTP\/1\.1 \d/g)).to.have.lengthOf(1);
    }
    expect(service.log.filter(({ msg }) => msg === 'protocol error')).to.have.lengthOf(2);
    const text = await scrape();
    expect(text).to.contain('http_protocol_errors_total{code="bad_request"} 1\n');
    expect(text).to.contain('http_protocol_errors_total{code="other"} 1\n');
  });

  describe('whose client takes the answer and stays', () => {
    /** A client that keeps its half of the connection open. */
    async function openHalf(): Promise<Socket> {
      const socket = connect({ port: service.port, host: '127.0.0.1', allowHalfOpen: true });
      socket.on('error', () => {}).resume();
      socket.write('garbage\r\n\r\n');
      await once(socket, 'data');
      return socket;
    }

    it('is closed after a while', async () => {
      const socket = await openHalf();
      await scrapeUntil(/gitops_connections 0\n/);
      socket.destroy();
    });

    it('is closed when it sends very much', async () => {
      const socket = await openHalf();
      const closed = new Promise((resolve) => socket.once('close', resolve));
      const chunk = Buffer.alloc(1_048_576, 'x');
      let sent = 0;
      for (; sent < 64 && !socket.destroyed; sent += 1) {
        if (!socket.write(chunk)) await Promise.race([closed, new Promise((resolve) => socket.once('drain', resolve))]);
      }
      expect(sent).to.be.lessThan(64);
      socket.destroy();
    });
  });

  it('from a client that leaves in the middle of a report is no rejected report', async () => {
    const gone = await openWire(service.port);
    gone.send(post('{"repo":', 100, AUTHORIZATION));
    gone.end();
    expectProblem(parseAnswer(await gone.closed), 400, /in the middle of a request/);
    const reset = await openWire(service.port);
    reset.send(post('{"repo":', 100, AUTHORIZATION, 'Expect: 100-continue'));
    await reset.has(/100 Continue/);
    reset.socket.resetAndDestroy();
    expect(await scrapeUntil(/gitops_connections 0\n/)).to.contain('gitops_reports_total{result="rejected"} 0\n');
  });

  it('begins all its counters at 0', async () => {
    const text = await scrape();
    for (const code of ['bad_request', 'headers_too_large', 'timeout', 'tls', 'other']) {
      expect(text).to.contain(`http_protocol_errors_total{code="${code}"} 0\n`);
    }
  });

  it('floods no log: ten lines a minute, then a number', async () => {
    for (let i = 0; i < 25; i += 1) await exchange(service.port, 'garbage\r\n\r\n');
    expect(service.log.filter(({ msg }) => msg === 'protocol error')).to.have.lengthOf(10);
    expect(await scrape()).to.contain('http_protocol_errors_total{code="bad_request"} 25\n');
    await service.stop();
    expect(service.log.at(-1)).to.include({ level: 40, lines: 15 });
    service = await startService();
  });
});
