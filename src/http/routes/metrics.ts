import type { Context } from 'koa';
import type { Fleet } from '../../fleet/fleet.ts';
import { clientOf } from '../client.ts';
import type { Metrics } from '../metrics.ts';
import type { Places } from '../places.ts';
import { beginRead, sendPortions } from '../response.ts';
import { isFiltering, parseFilter, selectSources } from '../filter.ts';
import { renderFleetMetrics, renderSourceMetrics } from '../fleet-metrics.ts';

/**
 * `GET /metrics`: what this process counts, then what the fleet knows. With a filter only what is known of the sources that match.
 * @param now milliseconds since the epoch
 */
export function createMetricsRoute(
  metrics: Metrics,
  fleet: Fleet,
  places: Places,
  now: () => number,
): (ctx: Context) => Promise<void> {
  return async (ctx) => {
    const filter = parseFilter(ctx.query);
    await places.take(clientOf(ctx), ctx.res);
    beginRead(ctx, metrics.contentType);
    const at = now();
    const portions = isFiltering(filter)
      ? renderSourceMetrics(fleet, selectSources(fleet, filter, at), at)
      : renderAll(metrics, fleet, at);
    sendPortions(ctx, portions);
  };
}

async function* renderAll(metrics: Metrics, fleet: Fleet, now: number): AsyncGenerator<string> {
  yield await metrics.render();
  yield* renderFleetMetrics(fleet, now);
}
