import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type RequestListener, createServer } from 'node:http';
import { type Server as TlsServer, createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ConfigError } from '../core/config-error.ts';

export type Listening = {
  readonly port: number;
  readonly url: string;
  /** Takes no new connections, lets requests in flight finish, and resolves when the last connection is gone. */
  close(): Promise<void>;
};

/** After this long, requests that are still in flight are cut off, so that what was accepted can still be written. */
const DRAIN_TIMEOUT_MS = 6000;
const SWEEP_MS = 100;
/** Longer than proxies keep theirs (60 s is usual), so that none of them sends a request into a connection that is being closed. */
const KEEP_ALIVE_MS = 75_000;
/** A report of the largest size passes a slow line in less. */
const REQUEST_TIMEOUT_MS = 30_000;

/** Where to listen, and with which certificate. */
export type ListenOptions = {
  /** Undefined: all interfaces, IPv6 and IPv4. */
  readonly host: string | undefined;
  /** 0: any free one. */
  readonly port: number;
  /** PEM files. Undefined: http. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
};

/**
 * Serves http, or https with `tls`. Rejects when the address cannot be had.
 * @throws {ConfigError} when certificate and key cannot be read or do not fit
 */
export async function listen(listener: RequestListener, { host, port, tls }: ListenOptions): Promise<Listening> {
  const server = tls === undefined ? createServer(listener) : openTlsServer(listener, tls);
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.listen(port, host);
  await once(server, 'listening');
  const { port: actualPort } = server.address() as AddressInfo;
  const scheme = tls === undefined ? 'http' : 'https';
  const name = host === undefined ? 'localhost' : host.replace(/^.*:.*$/, '[$&]');

  return {
    port: actualPort,
    url: `${scheme}://${name}:${actualPort}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      // a kept connection becomes idle only when its request is done
      const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS);
      const cut = setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT_MS);
      await closed;
      clearInterval(sweep);
      clearTimeout(cut);
    },
  };
}

function openTlsServer(listener: RequestListener, { certFile, keyFile }: NonNullable<ListenOptions['tls']>): TlsServer {
  try {
    return createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, listener);
  } catch (error) {
    throw new ConfigError([`TLS_CERT_FILE and TLS_KEY_FILE: cannot be used together (${(error as Error).message})`]);
  }
}
