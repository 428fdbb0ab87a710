/** What our POST is compared with: `node bench/baseline.ts koa|http`, listening on $PORT of the loopback interface. */
import { createServer } from 'node:http';
import { Router } from '@koa/router';
import Koa from 'koa';
import bodyParser from 'koa-bodyparser';

const port = Number(process.env.PORT);
const answer = JSON.stringify({ ok: true });

if (process.argv[2] === 'koa') {
  const app = new Koa();
  const router = new Router();
  router.post('/api/status', bodyParser({ enableTypes: ['json'] }), (ctx) => {
    ctx.body = { ok: true };
  });
  app.use(router.routes());
  app.listen(port, '127.0.0.1');
} else {
  createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      JSON.parse(Buffer.concat(chunks).toString());
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.end(answer);
    });
  }).listen(port, '127.0.0.1');
}
