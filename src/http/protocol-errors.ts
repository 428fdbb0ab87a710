import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { Refusal } from '../core/refusal.ts';
import type { Connections } from './connections.ts';
import { createLineLimit } from './line-limit.ts';
import type { Metrics } from './metrics.ts';
import { headersOf, renderProblem, statusOf } from './problem.ts';
import type { ProtocolError } from './node-errors.ts';

/** Refuses what never becomes a request, with a problem, a line in the log and a count. */
export type ProtocolErrors = {
  /** Answers if that is possible, and closes the connection. Only the first refusal of a connection counts. */
  refuse(socket: Socket, error: ProtocolError): void;
  /** Counts and logs, for a connection that cannot be answered, and closes it. */
  drop(socket: Socket, error: ProtocolError): void;
  /** Counts and logs that a connection could not even be had. */
  acceptFailed(error: NodeJS.ErrnoException): void;
  /** Closes the connection of a client that has left. That is no error of the protocol. */
  abandon(socket: Socket): void;
  /** Whether the connection has been refused. */
  isRefused(socket: Socket): boolean;
  /** Whether the request was under way when its connection was refused: then its own refusal reaches nobody. */
  isBroken(request: IncomingMessage): boolean;
  /** Logs what was held back. */
  close(): void;
};

export type ProtocolErrorsOptions = {
  readonly connections: Connections;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'protocolError'>;
  readonly newRequestId: () => string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** Any stranger can cause these lines: beyond so many a minute they are only counted. */
const MAX_LINES = 10;
const WINDOW_MS = 60_000;

export function createProtocolErrors({
  connections,
  log,
  metrics,
  newRequestId,
  now,
}: ProtocolErrorsOptions): ProtocolErrors {
  const refused = new WeakSet<Socket>();
  const broken = new WeakSet<IncomingMessage>();
  const lines = createLineLimit(MAX_LINES, WINDOW_MS, (held) => {
    log.warn({ lines: held }, 'more protocol errors than are logged in a minute');
  });

  /** @returns false if it has been refused before */
  function note(socket: Socket, { code, cause, refusal }: ProtocolError, requestId: string): boolean {
    if (refused.has(socket)) return false;
    refused.add(socket);
    const { reason, message: detail } = refusal;
    countAndLog(code, { cause, reason, detail, client_address: socket.remoteAddress, request_id: requestId });
    return true;
  }

  function countAndLog(code: ProtocolError['code'], line: Record<string, unknown>): void {
    metrics.protocolError(code);
    if (lines.allows()) log.warn({ code, ...line }, 'protocol error');
  }

  return {
    refuse(socket, error) {
      const requestId = newRequestId();
      if (!note(socket, error, requestId)) return;
      const responses = connections.responsesOf(socket);
      for (const { req } of responses) broken.add(req);
      // a second answer inside of one that has begun would be read as a part of it
      const hasBegun = responses.some(({ headersSent, writableFinished }) => headersSent && !writableFinished);
      const refusal = responses.some(({ req }) => req.complete) ? afterRequest(error.refusal) : error.refusal;
      if (hasBegun) socket.destroy();
      else connections.closeWith(socket, renderAnswer(refusal, requestId, now()));
    },

    drop(socket, error) {
      note(socket, error, newRequestId());
      socket.destroy();
    },

    acceptFailed: ({ code, message }) => countAndLog('other', { cause: code, detail: message }),

    abandon(socket) {
      for (const { req } of connections.responsesOf(socket)) if (!req.complete) broken.add(req);
      socket.destroy();
    },

    isRefused: (socket) => refused.has(socket),
    isBroken: (request) => broken.has(request),
    close: () => lines.close(),
  };
}

/** The answer stands in the place of the one to that request. */
function afterRequest({ reason, message }: Refusal): Refusal {
  const before = 'a request whose body is longer than its Content-Length, or whose headers end too early';
  const detail = `${message}. It came behind ${before}, as after a line break in a token. That one may have been carried out`;
  return new Refusal(reason, detail);
}

/** The whole answer, as it goes over the wire. */
function renderAnswer(refusal: Refusal, requestId: string, now: number): string {
  const problem = renderProblem(refusal, requestId);
  const headers = {
    ...headersOf(refusal),
    'Content-Type': 'application/problem+json',
    'Content-Length': Buffer.byteLength(problem),
    'X-Content-Type-Options': 'nosniff',
    'X-Request-Id': requestId,
    Date: new Date(now).toUTCString(),
    Connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const status = statusOf(refusal);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${problem}`;
}
