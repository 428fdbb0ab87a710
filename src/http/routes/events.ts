import type { Context } from 'koa';
import { Refusal } from '../../core/refusal.ts';
import { tokenOf } from '../authorization.ts';
import { clientOf } from '../client.ts';
import type { EventStream } from '../event-stream.ts';
import { beginRead } from '../response.ts';

/**
 * `GET /api/events`: the response stays open and belongs to the event stream from then on.
 * @param isStopping true from the signal to stop on: nobody may begin to listen then
 */
export function createEventsRoute(events: EventStream, isStopping: () => boolean): (ctx: Context) => void {
  return (ctx) => {
    if (isStopping()) throw new Refusal('stopping', 'The service is stopping');
    if (ctx.method === 'HEAD') {
      beginRead(ctx, 'text/event-stream');
      return;
    }
    const lastEventId = ctx.get('Last-Event-ID');
    events.subscribe(ctx.res, { client: clientOf(ctx), lastEventId, until: tokenOf(ctx)?.expiresAt });
    // from here on the response is not Koa's
    ctx.respond = false;
  };
}
