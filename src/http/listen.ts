import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type RequestListener, type Server, type ServerOptions, createServer } from 'node:http';
import { type Server as TlsServer, createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ConfigError } from '../core/config-error.ts';
import type { Connections } from './connections.ts';
import { hearServer } from './server-events.ts';
import type { ProtocolErrors } from './protocol-errors.ts';

export type Listening = {
  readonly port: number;
  readonly url: string;
  /** Takes no new connections, lets requests in flight finish, and resolves when the last connection is gone. */
  close(): Promise<void>;
};

/** How long a client may take, milliseconds. */
export type TimeLimits = {
  /** For the whole request. A report of the largest size passes a slow line in less. */
  readonly requestMs: number;
  /** For the request line and the headers; a new connection that sends nothing has no longer. */
  readonly headersMs: number;
  readonly handshakeMs: number;
  /** The limits above are looked after so often. */
  readonly checkEveryMs: number;
  /** After an answer. Longer than proxies and load balancers keep theirs, so that none of them sends a request into a connection that is being closed. */
  readonly keepAliveMs: number;
};

/** Where to listen, and with which certificate. */
export type ListenOptions = {
  /** Undefined: all interfaces, IPv6 and IPv4. */
  readonly host: string | undefined;
  /** 0: any free one. */
  readonly port: number;
  /** PEM files. Undefined: http. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly connections: Connections;
  readonly protocolErrors: ProtocolErrors;
  readonly timeLimits?: TimeLimits;
};

export const TIME_LIMITS: TimeLimits = {
  requestMs: 30_000,
  headersMs: 10_000,
  handshakeMs: 5000,
  checkEveryMs: 1000,
  keepAliveMs: 620_000,
};
/** Of the request line and the headers together; over it the answer is 431. A token of a CI job can have 16 KiB. */
const MAX_HEAD_BYTES = 65_536;
/** After this long, requests that are still in flight are cut off, so that what was accepted can still be written. */
const DRAIN_TIMEOUT_MS = 6000;
const SWEEP_MS = 100;

/**
 * Serves http, or https with `tls`. Rejects when the address cannot be had.
 * @throws {ConfigError} when certificate and key cannot be read or do not fit
 */
export async function listen(listener: RequestListener, options: ListenOptions): Promise<Listening> {
  const { host, port, tls, connections, protocolErrors, timeLimits = TIME_LIMITS } = options;
  const server = tls === undefined ? createServer(limitsOf(timeLimits)) : openTlsServer(tls, timeLimits);
  hearServer(server, { listener, connections, protocolErrors });
  server.listen(port, host);
  await once(server, 'listening');
  server.on('error', (error) => protocolErrors.acceptFailed(error));
  const { port: actualPort } = server.address() as AddressInfo;
  const scheme = tls === undefined ? 'http' : 'https';
  const name = host === undefined ? 'localhost' : host.replace(/^.*:.*$/, '[$&]');

  return {
    port: actualPort,
    url: `${scheme}://${name}:${actualPort}`,
    async close() {
      await closeServer(server, connections);
      protocolErrors.close();
    },
  };
}

async function closeServer(server: Server | TlsServer, connections: Connections): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  // a kept connection becomes idle only when its request is done
  const sweep = setInterval(() => connections.closeIdle(), SWEEP_MS);
  const cut = setTimeout(() => connections.closeAll(), DRAIN_TIMEOUT_MS);
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
}

function openTlsServer({ certFile, keyFile }: NonNullable<ListenOptions['tls']>, timeLimits: TimeLimits): TlsServer {
  try {
    return createTlsServer({
      ...limitsOf(timeLimits),
      handshakeTimeout: timeLimits.handshakeMs,
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
    });
  } catch (error) {
    throw new ConfigError([`TLS_CERT_FILE and TLS_KEY_FILE: cannot be used together (${(error as Error).message})`]);
  }
}

/** Set afterwards, they would not hold. */
function limitsOf({ requestMs, headersMs, checkEveryMs, keepAliveMs }: TimeLimits): ServerOptions {
  return {
    requestTimeout: requestMs,
    headersTimeout: headersMs,
    connectionsCheckingInterval: checkEveryMs,
    keepAliveTimeout: keepAliveMs,
    maxHeaderSize: MAX_HEAD_BYTES,
    // answered by us, with a problem
    requireHostHeader: false,
  };
}
