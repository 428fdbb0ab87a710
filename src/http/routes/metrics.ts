import type { Context } from 'koa';
import type { Fleet } from '../../fleet/fleet.ts';
import { clientOf } from '../client.ts';
import type { Metrics } from '../metrics.ts';
import type { Places } from '../places.ts';
import { beginRead, sendPortions } from '../response.ts';
import { renderFleetMetrics } from '../fleet-metrics.ts';

/**
 * `GET /metrics`: what this process counts, then what the fleet knows.
 * @param now milliseconds since the epoch
 */
export function createMetricsRoute(
  metrics: Metrics,
  fleet: Fleet,
  places: Places,
  now: () => number,
): (ctx: Context) => Promise<void> {
  return async (ctx) => {
    await places.take(clientOf(ctx), ctx.res);
    beginRead(ctx, metrics.contentType);
    sendPortions(ctx, renderAll(metrics, fleet, now()));
  };
}

async function* renderAll(metrics: Metrics, fleet: Fleet, now: number): AsyncGenerator<string> {
  yield await metrics.render();
  yield* renderFleetMetrics(fleet, now);
}
