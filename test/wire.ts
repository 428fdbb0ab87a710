/** A client below HTTP: it sends whatever it wants, and shows what comes back. */
import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { until } from './fixtures.ts';

export type Wire = {
  readonly socket: Socket;
  send(bytes: string | Buffer): void;
  /** Ends its half of the connection. */
  end(): void;
  /** What has come so far. */
  text(): string;
  readonly isClosed: () => boolean;
  /** Resolves with all that came when the connection is gone. */
  readonly closed: Promise<string>;
  /** Resolves with what has come as soon as it matches. Rejects when the connection goes before. */
  has(pattern: RegExp): Promise<string>;
  destroy(): void;
};

/** Resolves when the connection is there, with `isTls` after the handshake. */
export async function openWire(port: number, isTls = false): Promise<Wire> {
  const at = { port, host: '127.0.0.1' };
  const socket = isTls ? connectTls({ ...at, rejectUnauthorized: false }) : connect(at);
  let text = '';
  let isClosed = false;
  // a reset is the end of a connection, too
  socket.on('error', () => {});
  socket.setEncoding('latin1').on('data', (part: string) => {
    text += part;
  });
  const closed = new Promise<string>((resolve) => {
    socket.once('close', () => {
      isClosed = true;
      resolve(text);
    });
  });
  await once(socket, isTls ? 'secureConnect' : 'connect');

  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    end: () => void socket.end(),
    text: () => text,
    isClosed: () => isClosed,
    closed,
    async has(pattern) {
      await until(() => pattern.test(text) || isClosed);
      if (!pattern.test(text)) throw new Error(`closed after ${JSON.stringify(text)}`);
      return text;
    },
    destroy: () => void socket.destroy(),
  };
}

/** Sends the bytes, and resolves with all that came back when the service has closed the connection. */
export async function exchange(port: number, bytes: string | Buffer, isTls = false): Promise<string> {
  const wire = await openWire(port, isTls);
  wire.send(bytes);
  return wire.closed;
}

/** A request without a body; `headers` are whole lines without their ends. */
export function get(path: string, ...headers: readonly string[]): string {
  return `GET ${path} HTTP/1.1\r\nHost: service\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`;
}

/** A report with its headers; `length` is what Content-Length says, in bytes. */
export function post(body: string, length = Buffer.byteLength(body), ...headers: readonly string[]): string {
  const lines = ['Content-Type: application/json', `Content-Length: ${length}`, ...headers];
  return `POST /api/status HTTP/1.1\r\nHost: service\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
}

export type Answer = {
  readonly status: number;
  /** By their names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  readonly problem: Readonly<Record<string, unknown>>;
};

/** The one answer in the text, whose body is JSON and ends with it. */
export function parseAnswer(text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const body = rest.join('\r\n\r\n');
  return {
    status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]),
    headers: new Map(lines.map((line) => line.split(': ') as [string, string]).map(([k, v]) => [k.toLowerCase(), v])),
    body,
    problem: body.startsWith('{') ? (JSON.parse(body) as Record<string, unknown>) : {},
  };
}
