import type { Context } from 'koa';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Metrics } from '../metrics.ts';
import { beginRead, sendPortions } from '../response.ts';
import { renderFleetMetrics } from '../fleet-metrics.ts';

/**
 * `GET /metrics`: what this process counts, then what the fleet knows.
 * @param now milliseconds since the epoch
 */
export function createMetricsRoute(metrics: Metrics, fleet: Fleet, now: () => number): (ctx: Context) => void {
  return (ctx) => {
    beginRead(ctx, metrics.contentType);
    sendPortions(ctx, renderAll(metrics, fleet, now()));
  };
}

async function* renderAll(metrics: Metrics, fleet: Fleet, now: number): AsyncGenerator<string> {
  yield await metrics.render();
  yield* renderFleetMetrics(fleet, now);
}
