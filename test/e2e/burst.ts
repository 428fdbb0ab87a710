import { once } from 'node:events';
import { connect } from 'node:net';
import { reportBody } from '../fixtures.ts';

const CONNECTIONS = 16;
/** Makes a line of the log some 600 bytes long. */
const LONG = 'x'.repeat(150);

/** Posts so many reports of one source as fast as the service takes them, and resolves when all have a 2xx. */
export async function postBurst(port: number, reports: number): Promise<void> {
  const repo = `burst-${LONG}`;
  const body = JSON.stringify(reportBody({ repo, server: `burst-${LONG}`, last_check: new Date().toISOString() }));
  const head = `POST /api/status HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
  const request = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  let left = reports;

  /** One after the other on a connection of its own. */
  async function postSome(): Promise<void> {
    const socket = connect(port, '127.0.0.1').setEncoding('latin1').setNoDelay();
    await once(socket, 'connect');
    while (left > 0) {
      left -= 1;
      socket.write(request);
      const [answer] = (await once(socket, 'data')) as [string];
      if (!/^HTTP\/1\.1 20[01] /.test(answer)) throw new Error(answer);
    }
    socket.destroy();
  }

  await Promise.all(Array.from({ length: CONNECTIONS }, postSome));
}
