import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * Whether the client sends its body only when it is told to go on (RFC 9110, section 10.1.1), and expects nothing else. Node takes more for
 * that, such as `100-continue, x`. In HTTP/1.0 it means nothing.
 */
export function waitsToSend({ headers, httpVersion }: IncomingMessage): boolean {
  const { expect } = headers;
  return httpVersion === '1.1' && expect !== undefined && expect.split(',').every(isContinue);
}

/** Whether a body comes with the request, or is announced. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Tells the client to go on when somebody wants its body: where it is refused, it need not send it. */
export function continueWhenRead(request: IncomingMessage, response: ServerResponse): void {
  if (!hasBody(request)) return;
  request.on('newListener', function tell(event) {
    if (event !== 'data' && event !== 'readable') return;
    request.off('newListener', tell);
    if (!response.headersSent) response.writeContinue();
  });
}

function isContinue(expectation: string): boolean {
  return expectation.trim().toLowerCase() === '100-continue';
}
