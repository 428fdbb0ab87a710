import { Refusal } from '../core/refusal.ts';

/** The label `code` of `http_protocol_errors_total`. */
export const PROTOCOL_ERROR_CODES = ['bad_request', 'headers_too_large', 'timeout', 'tls', 'other'] as const;

/** Why something was refused before it was a request. Nothing in it comes from the client: it may stand in the log. */
export type ProtocolError = {
  readonly code: (typeof PROTOCOL_ERROR_CODES)[number];
  /** Node's own name for it. */
  readonly cause: string;
  readonly refusal: Refusal;
};

/** Node's errors: the parser's have a reason of a few fixed words, and the bytes that were being parsed. */
export type NodeError = Error & {
  readonly code?: string;
  readonly reason?: string;
  readonly bytesParsed?: number;
  readonly rawPacket?: Buffer;
};

const LINE_BREAK =
  'a line break, such as the one at the end of a token that was read from a file with Windows line ends (CR LF)';
/** The first byte of a TLS handshake. */
const TLS_HANDSHAKE = 0x16;

/** What has become of a connection, as Node tells it; undefined: the client has left, and nobody did anything wrong. */
export function toProtocolError(error: NodeError): ProtocolError | undefined {
  const cause = error.code ?? error.name;
  if (/^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTCONN|ERR_STREAM)/.test(cause)) return undefined;
  if (cause === 'ERR_HTTP_REQUEST_TIMEOUT') return { code: 'timeout', cause, refusal: timeout('The request') };
  if (cause === 'ERR_TLS_HANDSHAKE_TIMEOUT') return { code: 'timeout', cause, refusal: timeout('The TLS handshake') };
  if (cause === 'HPE_HEADER_OVERFLOW') return { code: 'headers_too_large', cause, refusal: headersTooLarge() };
  if (cause.startsWith('HPE_')) return badRequest(cause, describeParseError(error));
  if (/^(ERR_SSL_|ERR_TLS_|EPROTO)/.test(cause)) {
    const detail = 'This port speaks https: begin the URL with https://';
    return { code: 'tls', cause, refusal: new Refusal('bad_request', detail) };
  }
  return { code: 'other', cause, refusal: new Refusal('bad_request', 'The connection failed') };
}

/** What Node's parser lets pass, or leaves to a listener. */
export function badRequest(cause: string, detail: string): ProtocolError {
  return { code: 'bad_request', cause, refusal: new Refusal('bad_request', detail) };
}

/** What only a connection less would make possible. */
export function tooManyConnections(cause: string): ProtocolError {
  const detail = 'There are as many connections as MAX_CONNECTIONS allows, and all of them are in use';
  return { code: 'other', cause, refusal: new Refusal('overloaded', detail) };
}

function timeout(what: string): Refusal {
  return new Refusal('request_timeout', `${what} did not arrive in time`);
}

function headersTooLarge(): Refusal {
  return new Refusal('headers_too_large', 'The request line and the headers are larger than 64 KiB together');
}

function describeParseError({ code, reason, bytesParsed, rawPacket }: NodeError): string {
  if (/^HPE_(CR|LF)_EXPECTED$/.test(code ?? '') && reason?.includes('header value') === true) {
    return `A header value has a line break in it: perhaps ${LINE_BREAK}`;
  }
  if (code === 'HPE_INVALID_HEADER_TOKEN') {
    return `A header is not valid (${reason}): it has a character that may not stand there, perhaps ${LINE_BREAK}`;
  }
  if (code === 'HPE_INVALID_METHOD' && bytesParsed === 0 && rawPacket?.[0] === TLS_HANDSHAKE) {
    return 'This port speaks http, and the client speaks TLS: begin the URL with http://';
  }
  if (code === 'HPE_PAUSED_H2_UPGRADE') return 'This service speaks HTTP/1.1, and the client speaks HTTP/2';
  if (code === 'HPE_INVALID_EOF_STATE') return 'The client has ended the connection in the middle of a request';
  return `This is not valid HTTP: ${reason ?? code}`;
}
