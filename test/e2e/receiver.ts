import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

export type Labels = Record<string, string>;
export type Alert = { labels: Labels; annotations: Record<string, string> };
export type Receiver = {
  url: string;
  find: (status: string, alertname: string, labels: Labels) => Alert | undefined;
  forget: () => void;
  stop: () => Promise<void>;
};

/** A webhook that remembers which alerts it was notified of. */
export async function startReceiver(): Promise<Receiver> {
  let received: (Alert & { status: string })[] = [];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      const { alerts }: { alerts: (Alert & { status: string })[] } = Object(body);
      received.push(...alerts);
      response.end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    find: (status, alertname, labels) =>
      received.find((alert) => alert.status === status && matches(alert, alertname, labels)),
    forget() {
      received = [];
    },
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Whether it is an alert of this name with at least these labels. */
export function matches(alert: Alert, alertname: string, labels: Labels): boolean {
  return Object.entries({ alertname, ...labels }).every(([name, value]) => alert.labels[name] === value);
}
