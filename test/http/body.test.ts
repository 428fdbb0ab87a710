import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { type Service, reportBody, startService } from '../fixtures.ts';
import { until } from '../process.ts';

const MIB = 1_048_576;

/** A valid report of about that many bytes: its bulk is a field that is not kept. */
function bulky(server: string, bytes: number): string {
  return JSON.stringify(reportBody({ server, extra: 'x'.repeat(bytes) }));
}

function head(length: number, ...headers: string[]): string {
  const lines = ['Host: localhost', 'Content-Type: application/json', `Content-Length: ${length}`, ...headers];
  return `POST /api/status HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
}

describe('the body of a request', () => {
  let service: Service;
  let sockets: Socket[];

  beforeEach(async () => {
    service = await startService();
    sockets = [];
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await service.stop();
  });

  /** Sends text and gathers what comes back. */
  async function open(...texts: (string | Buffer)[]): Promise<{ socket: Socket; received: () => string }> {
    const socket = connect({ port: service.port, host: '127.0.0.1' });
    sockets.push(socket);
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', () => {});
    await once(socket, 'connect');
    for (const each of texts) socket.write(each);
    return { socket, received: () => text };
  }

  describe('that is never sent whole', () => {
    /** Connections that keep back the last byte of a MiB. */
    async function stall(count: number): Promise<Awaited<ReturnType<typeof open>>[]> {
      const body = bulky('stalled', MIB - 300);
      return Promise.all(Array.from({ length: count }, () => open(head(body.length), body.slice(0, -1))));
    }
    const refused = (all: readonly { received: () => string }[]): number =>
      all.filter(({ received }) => received().includes(' 503 ')).length;

    it('takes a bounded room: what is over it gets 503 with Retry-After before it is read', async () => {
      const stalled = await stall(40);
      await until(() => (refused(stalled) >= 7 ? true : undefined));
      const one = stalled.find(({ received }) => received().includes(' 503 '));
      expect(one?.received()).to.include('Retry-After: 5').and.to.include('"reason":"overloaded"');
    });

    it('locks out no small report, and no large one for long', async () => {
      const stalled = await stall(40);
      await until(() => (refused(stalled) >= 7 ? true : undefined));
      expect((await service.post(reportBody({ server: 'small' }))).status).to.equal(201);
      await setTimeout(1100);
      expect((await service.post(bulky('large', MIB / 2))).status).to.equal(201);
      await until(() => (stalled.some(({ received }) => received().includes('sent too slowly')) ? true : undefined));
    });

    it('gives its room back when its client leaves', async () => {
      const stalled = await stall(31);
      for (const { socket } of stalled) socket.destroy();
      await until(() => (service.log.filter(({ status }) => status === 400).length === 31 ? true : undefined));
      const bodies = Array.from({ length: 8 }, (_, i) => bulky(`large-${i}`, MIB - 300));
      const answers = await Promise.all(bodies.map((body) => service.post(body)));
      expect(answers.map(({ status }) => status)).to.deep.equal(Array.from({ length: 8 }, () => 201));
    });
  });

  it('is counted until it is answered, and not after', async () => {
    for (let i = 0; i < 40; i += 1) expect((await service.post(bulky('same', MIB - 300))).ok).to.equal(true);
  });

  it('that unpacks to very much is given up at the limit', async () => {
    const bomb = gzipSync(Buffer.alloc(500 * MIB, ' '));
    const response = await service.request('/api/status', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' },
      body: bomb,
    });
    expect(response.status).to.equal(413);
    expect(((await response.json()) as { detail: string }).detail).to.include('1048576 bytes');
  });

  it('that is packed and unpacks to nothing is given up at the limit', async () => {
    const { socket, received } = await open(
      head(0, 'Content-Encoding: gzip').replace('Content-Length: 0', 'Transfer-Encoding: chunked'),
    );
    // a name of the packed file that never ends
    socket.write(Buffer.from('a\r\n\x1f\x8b\x08\x08\0\0\0\0\0\0\r\n', 'latin1'));
    for (let i = 0; i < 140; i += 1) socket.write(`10000\r\n${'x'.repeat(65_536)}\r\n`);
    await until(() => (received().endsWith('}\n') ? true : undefined));
    expect(received()).to.match(/^HTTP\/1\.1 413 /);
  });

  describe('that is refused before its end (sveltejs/kit#15526, fleetdm/fleet#17525)', () => {
    const large = bulky('large', 7.5 * MIB);
    const cases: readonly (readonly [what: string, request: string, status: number])[] = [
      ['is too large', head(large.length), 413],
      ['has the wrong type', head(large.length).replace('application/json', 'text/plain'), 415],
      ['has an unknown encoding', head(large.length, 'Content-Encoding: lzma'), 415],
      ['is announced by a question that nobody waits for', head(large.length, 'Expect: 100-continue'), 413],
      ['goes nowhere', head(large.length).replace('/api/status', '/nope'), 404],
      ['goes where there is no body', head(large.length).replace('POST /api/status', 'GET /healthz'), 200],
    ];
    for (const [what, request, status] of cases) {
      it(`${what}: a client that sends it all before it reads gets its ${status} (jfrog/jfrog-cli#326)`, async () => {
        const { socket, received } = await open(request.replace('\r\n', '\r\nConnection: close\r\n'), large);
        await once(socket, 'close');
        expect(received()).to.match(new RegExp(`^(HTTP/1.1 100 Continue\r\n\r\n)?HTTP/1.1 ${status} `));
        expect(received()).to.match(/\}\n?$/);
      });

      it(`${what}: the next request on the connection is answered`, async () => {
        const { received } = await open(request, large, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
        await until(() => (received().match(/HTTP\/1\.1 [2-5]/g)?.length === 2 ? true : undefined));
        expect(received()).to.match(new RegExp(`^(HTTP/1.1 100 Continue\r\n\r\n)?HTTP/1.1 ${status} `));
        await until(() => (received().endsWith('{"status":"ok"}') ? true : undefined));
      });
    }

    it('and goes on for ever: the connection is closed in the middle of it', async () => {
      const { socket, received } = await open(head(1e9));
      const chunk = Buffer.alloc(MIB, 'x');
      // whether by an error or not
      const closed = new Promise((resolve) => socket.once('close', resolve));
      let sent = 0;
      for (; sent < 64 && !socket.destroyed; sent += 1) {
        if (!socket.write(chunk)) await Promise.race([closed, new Promise((resolve) => socket.once('drain', resolve))]);
      }
      await closed;
      expect(sent).to.be.lessThan(64);
      expect(received()).to.satisfy((text: string) => text === '' || text.startsWith('HTTP/1.1 413 '));
    });
  });

  describe('is answered with what is wrong with it', () => {
    async function detailOf(body: Buffer | string, headers: Record<string, string> = {}): Promise<string> {
      const response = await service.request('/api/status', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body,
      });
      const { detail } = (await response.json()) as { detail: string };
      return `${response.status} ${detail}`;
    }
    const valid = JSON.stringify(reportBody());

    it('in UTF-16, with or without a byte order mark (PowerShell#10971)', async () => {
      expect(await detailOf(Buffer.from(valid, 'utf16le'))).to.match(/^400 .*UTF-16/);
      expect(await detailOf(Buffer.from(`\uFEFF${valid}`, 'utf16le'))).to.match(/^400 .*UTF-16/);
      expect(await detailOf(Buffer.from(`\uFEFF${valid}`, 'utf16le').swap16())).to.match(/^400 .*UTF-16/);
    });

    it('in bytes that are not UTF-8: two names must not become one', async () => {
      const latin1 = Buffer.from(JSON.stringify(reportBody({ files: [{ name: 'é' }, { name: 'è' }] })), 'latin1');
      expect(await detailOf(latin1)).to.match(/^400 .*not valid UTF-8/);
      expect(service.fleet.size).to.equal(0);
    });

    it('packed in a way that is not known here', async () => {
      expect(await detailOf(valid, { 'Content-Encoding': 'zstd' })).to.match(/^415 .*gzip, deflate, br or identity/);
    });

    for (const encoding of ['x-gzip', 'GZIP', 'X-GZip', ' gzip']) {
      it(`and taken with Content-Encoding: ${encoding}`, async () => {
        expect(await detailOf(gzipSync(valid), { 'Content-Encoding': encoding })).to.match(/^201/);
      });
    }

    for (const field of ['repo', 'server', 'sync_status', 'drift_count', 'files', 'last_check', 'commit', 'extra']) {
      it(`nested very deeply in ${field}: never a 5xx`, async () => {
        const deep = '['.repeat(200_000) + ']'.repeat(200_000);
        const objects = '{"a":'.repeat(80_000) + '1' + '}'.repeat(80_000);
        for (const value of [deep, objects]) {
          const text = `${JSON.stringify(reportBody({ [field]: undefined })).slice(0, -1)},"${field}":${value}}`;
          expect(await detailOf(text)).to.match(field === 'extra' ? /^20[01]/ : /^4/);
        }
      });
    }
  });
});
