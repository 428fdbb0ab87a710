import type { Context } from 'koa';
import { Refusal } from '../core/refusal.ts';

/** Is aborted when the client leaves before it has its answer, so that nothing goes on for nobody. */
export function clientSignal(ctx: Context): AbortSignal {
  const controller = new AbortController();
  ctx.res.once('close', () => {
    if (!ctx.res.writableEnded) controller.abort(new Refusal('bad_request', 'The client left before it was answered'));
  });
  return controller.signal;
}
