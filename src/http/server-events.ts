import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { Refusal } from '../core/refusal.ts';
import type { Connections } from './connections.ts';
import { continueWhenRead, waitsToSend } from './expectation.ts';
import { type NodeError, badRequest, toProtocolError, tooManyConnections } from './node-errors.ts';
import type { ProtocolErrors } from './protocol-errors.ts';

export type ProtocolOptions = {
  /** Gets what is a request. */
  readonly listener: RequestListener;
  readonly connections: Connections;
  readonly protocolErrors: ProtocolErrors;
};

/** Hears of all that can happen on a server's connections, and answers what is not a request, which Node would drop or answer without a body. */
export function hearServer(server: Server | TlsServer, options: ProtocolOptions): void {
  const { connections, protocolErrors } = options;
  const isTls = 'setSecureContext' in server;

  function serve(request: IncomingMessage, response: ServerResponse): void {
    // what had come behind a request that was refused
    if (protocolErrors.isRefused(request.socket)) return;
    connections.requestBegan(response);
    if (request.headers.host === undefined && request.httpVersion === '1.1') {
      protocolErrors.refuse(
        request.socket,
        badRequest('no Host', 'The header Host is missing, which HTTP/1.1 demands'),
      );
    } else options.listener(request, response);
  }

  connections.watch(server, {
    cutOff: (socket) => protocolErrors.drop(socket, tooManyConnections('incomplete request')),
    refuse(socket) {
      const error = tooManyConnections('new connection');
      // no answer can be read before the handshake, which costs too much
      if (isTls) protocolErrors.drop(socket, error);
      else protocolErrors.refuse(socket, error);
    },
  });

  function refuseExpectation(request: IncomingMessage, response: ServerResponse): void {
    connections.requestBegan(response);
    const refusal = new Refusal('expectation_failed', 'The header Expect may only say 100-continue');
    protocolErrors.refuse(request.socket, { code: 'other', cause: 'Expect', refusal });
  }

  server.on('request', serve);
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (!waitsToSend(request)) {
      refuseExpectation(request, response);
      return;
    }
    continueWhenRead(request, response);
    serve(request, response);
  });
  server.on('checkExpectation', refuseExpectation);
  server.on('connect', ({ socket }: IncomingMessage) => {
    protocolErrors.refuse(socket, badRequest('CONNECT', 'This is no proxy: it does not take CONNECT'));
  });
  server.on('clientError', (error: NodeError, socket: Socket) => {
    const protocolError = toProtocolError(error);
    if (protocolError === undefined) protocolErrors.abandon(socket);
    else if (canAnswer(error, socket)) protocolErrors.refuse(socket, protocolError);
    else protocolErrors.drop(socket, protocolError);
  });
}

/** Without TLS, there is an answer to http on the port of https, too. */
function canAnswer({ code }: NodeError, socket: Socket): boolean {
  if (code === 'ERR_SSL_HTTP_REQUEST') return true;
  return socket.writable && !/^ERR_(SSL|TLS)_/.test(code ?? '');
}
