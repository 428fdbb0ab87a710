/**
 * Servers to compare the service with: `node bench/baseline.ts koa|http|net|bytes`, on $PORT of the loopback interface.
 *
 * koa    the same Koa, router and body parser with an empty handler
 * http   node:http that parses the same JSON
 * net    a socket that answers whatever arrives: shows that the load generator is not the limit
 * bytes  node:http that sends the file $BODY with the headers $HEADERS (a JSON object)
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createNetServer } from 'node:net';
import { Router } from '@koa/router';
import Koa from 'koa';
import bodyParser from 'koa-bodyparser';

const answer = JSON.stringify({ ok: true });
const contestants: Record<string, () => { listen(port: number, host: string): unknown }> = { koa, http, net, bytes };

const contestant = contestants[process.argv[2] ?? ''];
if (contestant === undefined) throw new Error(`give one of ${Object.keys(contestants).join(', ')}`);
contestant().listen(Number(process.env.PORT), '127.0.0.1');

function koa() {
  const app = new Koa();
  const router = new Router();
  router.get('/', (ctx) => {
    ctx.body = answer;
  });
  router.post('/api/status', bodyParser({ enableTypes: ['json'] }), (ctx) => {
    ctx.body = { ok: true };
  });
  app.use(router.routes());
  return app;
}

function http() {
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(answer) };
  return createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      JSON.parse(Buffer.concat(chunks).toString() || 'null');
      response.writeHead(200, headers);
      response.end(answer);
    });
  });
}

function net() {
  const response = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${answer.length}\r\n\r\n${answer}`);
  // a request of the load generator is one write, and arrives as one
  return createNetServer((socket) => {
    socket.setNoDelay(true);
    socket.on('data', () => socket.write(response));
    socket.on('error', () => socket.destroy());
  });
}

function bytes() {
  const body = readFileSync(process.env.BODY ?? '');
  const headers = JSON.parse(process.env.HEADERS ?? '{}') as Record<string, string>;
  return createServer((_request, response) => {
    response.writeHead(200, { ...headers, 'Content-Length': body.length });
    response.end(body);
  });
}
