import type { Context } from 'koa';
import { Refusal } from '../../core/refusal.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import { overfullWarning } from '../../fleet/usage.ts';
import { beginRead } from '../response.ts';

/** `GET /healthz` and `GET /readyz`, for the probes of an orchestrator. */
export type HealthRoutes = {
  getHealth(ctx: Context): void;
  getReadiness(ctx: Context): Promise<void>;
};

/** @param isStopping true from the signal to stop on: the service is then not ready */
export function createHealthRoutes(fleet: Fleet, isStopping: () => boolean): HealthRoutes {
  return {
    getHealth(ctx) {
      beginRead(ctx, 'json');
      ctx.body = { status: 'ok' };
    },

    async getReadiness(ctx) {
      if (isStopping()) throw new Refusal('stopping', 'The service is stopping');
      await fleet.probe();
      beginRead(ctx, 'json');
      const warning = overfullWarning(fleet);
      ctx.body = { status: 'ready', ...(warning === undefined ? {} : { warnings: [warning] }) };
    },
  };
}
