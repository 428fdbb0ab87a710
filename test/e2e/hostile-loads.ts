/** What a careless or hostile client does, each bounded in number and time. None of them waits for a service that is gone. */
import { randomBytes } from 'node:crypto';
import { type Socket, connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { reportBody, reportOf } from '../fixtures.ts';

export type HostileLoad = {
  readonly name: string;
  /** Runs it once and resolves when it is over and its connections are closed. */
  run(port: number, scale: Scale): Promise<void>;
};

/** How much of a load: the whole of what once ended the service, or a part of it. */
export type Scale = { readonly clients: number; readonly holdMs: number };

const MIB = 1_048_576;
const FILES_PER_REPORT = 10_000;
const LISTENER_REPORTS = 5;

/** Names of 60 to 80 characters. */
function largeReport(server: string, files = FILES_PER_REPORT): string {
  const names = Array.from(
    { length: files },
    (_, i) => `etc/some/application/with/a/long/path/conf.d/part-of-it-${i}-x.conf`,
  );
  return JSON.stringify(reportOf(names, { repo: 'hostile', server, last_check: new Date().toISOString() }));
}

/** One report of almost a MiB that opens a single drift: its bulk is a diff that is cut. */
function bulkyReport(server: string): string {
  const changes = { repo: 'hostile', server, last_check: new Date().toISOString(), drift_count: 1 };
  const body = JSON.stringify(reportBody({ ...changes, files: [{ name: 'a', diff: '' }] }));
  return body.replace('"diff":""', `"diff":"${'x'.repeat(MIB - body.length - 16)}"`);
}

/** One report of almost a MiB that is kept: many diffs, which do not pack well. */
function diffsReport(server: string): string {
  const files = Array.from({ length: 60 }, (_, i) => ({
    name: `file-${i}`,
    diff: randomBytes(12_000).toString('base64'),
  }));
  const changes = { repo: 'hostile', server, last_check: new Date().toISOString(), drift_count: files.length };
  return JSON.stringify(reportBody({ ...changes, files }));
}

export const hostileLoads: readonly HostileLoad[] = [
  {
    name: 'reports of 10,000 files each',
    async run(port, { clients }) {
      let next = 0;
      const work = async (): Promise<void> => {
        while (next < clients) {
          next += 1;
          await post(port, largeReport(`server-${next}`));
        }
      };
      await Promise.all([work(), work(), work(), work()]);
    },
  },
  {
    name: 'reports of 1 MiB, all at once',
    async run(port, { clients }) {
      await Promise.all(Array.from({ length: clients }, (_, i) => post(port, bulkyReport(`bulky-${i}`))));
    },
  },
  {
    name: 'connections that send all but one byte of 1 MiB',
    async run(port, { clients, holdMs }) {
      const body = bulkyReport('stalled').slice(0, -1);
      const head = `POST /api/status HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length + 1}\r\n\r\n`;
      await hold(port, clients, holdMs, (socket) => {
        socket.resume();
        socket.write(head + body);
      });
    },
  },
  {
    name: 'clients that ask for all sources and never read',
    run: (port, { clients, holdMs }) => hold(port, clients, holdMs, (socket) => socket.write(get('/status.json'))),
  },
  {
    name: 'connections with very many requests for all sources that never read',
    run: (port, { clients, holdMs }) =>
      hold(port, Math.ceil(clients / 20), holdMs, (socket) => socket.write(get('/status.json').repeat(1000))),
  },
  {
    name: 'clients that ask for metrics, compressed, and never read',
    run: (port, { clients, holdMs }) =>
      hold(port, clients, holdMs, (socket) => socket.write(get('/metrics', 'Accept-Encoding: gzip\r\n'))),
  },
  {
    name: 'clients that ask for a large source in full, compressed, and never read',
    async run(port, { clients, holdMs }) {
      await post(port, diffsReport('in-full'));
      const request = get('/api/status/hostile/in-full', 'Accept-Encoding: gzip\r\n');
      await hold(port, clients * 3, holdMs, (socket) => socket.write(request));
    },
  },
  {
    name: 'queries of the past over a wide range that are left after a second',
    async run(port, { clients }) {
      const path = '/drifts.json?limit=100000&from=1000000000000';
      await hold(port, clients, 1000, (socket) => socket.write(get(path)));
      await hold(port, clients, 1000, (socket) => socket.write(get(path.replace('drifts', 'history'))));
    },
  },
  {
    name: 'listeners that never read, while large reports come',
    async run(port, { clients, holdMs }) {
      await hold(
        port,
        clients,
        holdMs,
        (socket) => socket.write(get('/api/events')),
        async () => {
          for (let i = 0; i < LISTENER_REPORTS; i += 1)
            await post(port, largeReport(`heard-${i % 2}`, i % 2 === 0 ? 9999 : 0));
        },
      );
    },
  },
  {
    name: 'connections that sleep',
    run: (port, { clients, holdMs }) => hold(port, clients * 5, holdMs, () => {}),
  },
];

function get(path: string, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
}

/** Resolves with the status, or undefined where the service hung up. */
async function post(port: number, body: string): Promise<number | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/api/status`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
      signal: AbortSignal.timeout(60_000),
    });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return undefined;
  }
}

/** Opens connections that do something and read nothing, keeps them for a while, and closes them. */
async function hold(
  port: number,
  count: number,
  holdMs: number,
  begin: (socket: Socket) => unknown,
  meanwhile: () => Promise<void> = async () => {},
): Promise<void> {
  const sockets = Array.from({ length: count }, () => {
    const socket = connect({ port, host: '127.0.0.1' });
    // whoever is cut off or refused has had his answer
    socket.on('error', () => {});
    socket.on('connect', () => begin(socket));
    socket.pause();
    return socket;
  });
  await Promise.all([setTimeout(holdMs), meanwhile()]);
  for (const socket of sockets) socket.destroy();
}
