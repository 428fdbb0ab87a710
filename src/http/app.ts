import { type IncomingMessage, METHODS } from 'node:http';
import { Router } from '@koa/router';
import Koa, { type Context } from 'koa';
import type { Logger } from 'pino';
import type { Fleet } from '../fleet/fleet.ts';
import type { Store } from '../store/store.ts';
import type { RequireScope } from './authorization.ts';
import { clientSignal } from './client-signal.ts';
import { cleanAddress } from './client-address.ts';
import { createDelivery } from './delivery.ts';
import { createFleetEtag } from './etag.ts';
import type { EventStream } from './event-stream.ts';
import type { Metrics } from './metrics.ts';
import { type Places, type PlacesOptions, createPlaces, inPlace } from './places.ts';
import { createQueryGate } from './query-gate.ts';
import { answerFailure, createRequestMiddleware } from './request.ts';
import { createEventsRoute } from './routes/events.ts';
import { createHealthRoutes } from './routes/health.ts';
import { createHistoryRoutes } from './routes/history.ts';
import { createMetricsRoute } from './routes/metrics.ts';
import { createOpenApiRoute } from './routes/openapi.ts';
import { createRemovalRoutes } from './routes/removals.ts';
import { createReportRoutes } from './routes/reports.ts';
import { createSourceDetailRoute } from './routes/source-detail.ts';
import { createSourceRoutes } from './routes/sources.ts';
import { createUnroutedMiddleware } from './unrouted.ts';
import { type Unread, createUnread } from './unread.ts';

export type AppOptions = {
  readonly fleet: Fleet;
  readonly store: Store;
  readonly metrics: Metrics;
  readonly events: EventStream;
  readonly requireScope: RequireScope;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly newRequestId: () => string;
  /** Different at each start: what ETags of this process begin with. */
  readonly bootId: string;
  readonly version: string;
  readonly publicUrl: string | undefined;
  readonly maxBodyBytes: number;
  readonly historyRetentionMs: number;
  /** True from the signal to stop on: connections are then not kept. */
  readonly isStopping: () => boolean;
  readonly readerLimits?: ReaderLimits;
  readonly isBroken: (request: IncomingMessage) => boolean;
  /** How many proxies stand before the service: so many addresses from the right of X-Forwarded-For are theirs. */
  readonly trustedProxies: number;
};

/** How much patience there is with readers, milliseconds. */
export type ReaderLimits = PlacesOptions & {
  /** Whoever takes nothing of an answer for so long is cut off. */
  readonly stallMs: number;
};

const READER_LIMITS: ReaderLimits = { stallMs: 30_000, maxWaitMs: 10_000, maxHoldMs: 30_000 };
/** Of bodies in memory that readers have not taken yet. At the bound those are cut off who have taken nothing for the longest time. */
const MAX_UNREAD_BYTES = 67_108_864;

/** Each is soon served: whoever asks for all sources one by one, many at a time, may do so. */
const MAX_WAITING_DETAILS = 1000;

/** Of all that match: each may be of all sources there are, and holds a promise for each of them. */
const DELETIONS = { maxRunning: 1, maxWaiting: 10, maxBusyMs: Number.POSITIVE_INFINITY, what: 'deletions' };

const READER_LEFT = new Set<string | undefined>(['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'EPIPE']);

/** The service over HTTP. */
export function createApp(options: AppOptions): Koa {
  const { trustedProxies } = options;
  const app = new Koa({ proxy: trustedProxies > 0, maxIpsCount: trustedProxies });
  const limits = options.readerLimits ?? READER_LIMITS;
  const unread = createUnread(MAX_UNREAD_BYTES);
  const router = createRoutes(options, createPlaces(limits), unread);
  Object.assign(app.context, {
    onerror(this: Context, error?: Error | null) {
      answerFailure(this, error);
    },
  });
  app.use(createDelivery({ unread, stallMs: limits.stallMs }));
  if (trustedProxies > 0) app.use(cleanAddress);
  app.use(createRequestMiddleware(options));
  app.use(createUnroutedMiddleware(router.stack));
  app.use(router.routes());
  app.use(router.allowedMethods());
  // what goes wrong outside of the middleware, such as in a body; a reader that leaves early is no error
  app.on('error', (error: NodeJS.ErrnoException, ctx: Context) => {
    const requestId = ctx.response.get('X-Request-Id');
    if (!READER_LEFT.has(error.code)) options.log.error({ err: error, request_id: requestId }, 'response failed');
  });
  return app;
}

/** Every route, on one screen. The handlers are in `routes/`, by the names of their URLs. */
function createRoutes(options: AppOptions, places: Places, unread: Unread): Router {
  const { fleet, metrics, events, now, bootId, isStopping } = options;
  const may = options.requireScope;
  const etagAt = createFleetEtag(fleet, bootId);
  const { attributeRefusal, requireJson, readBody, postReport } = createReportRoutes(options);
  const sources = createSourceRoutes({ fleet, etagAt, now, places, unread });
  const history = createHistoryRoutes(options, etagAt);
  const removals = createRemovalRoutes(options);
  const deletions = createQueryGate(DELETIONS);
  const health = createHealthRoutes(fleet, isStopping);
  // not among the lists: a detail is short work, and none waits for a list
  const detailPlaces = createPlaces({ ...(options.readerLimits ?? READER_LIMITS), maxWaiting: MAX_WAITING_DETAILS });
  const getSource = inPlace(detailPlaces, createSourceDetailRoute(options));
  // all methods, so that one that nobody has here is a 405, or a 404 where there is no route
  // exact paths, so that a proxy's rule for one of them cannot be walked around
  const router = new Router({ methods: [...METHODS], sensitive: true, strict: true });

  router.post('/api/status', attributeRefusal, may('report'), requireJson, readBody, postReport);
  router.get('/api/status', may('read'), getSource);
  router.delete('/api/status', may('delete'), (ctx) =>
    deletions.run(clientSignal(ctx), () => removals.deleteMatching(ctx)),
  );
  router.get('/api/status/:repo/:server', may('read'), getSource);
  router.delete('/api/status/:repo/:server', may('delete'), removals.deleteOne);
  router.get('/status.json', may('read'), sources.getSources);
  router.get('/files.json', may('read'), sources.getFiles);
  router.get('/repos.json', may('read'), sources.getRepos);
  router.get('/servers.json', may('read'), sources.getServers);
  router.get('/summary.json', may('read'), sources.getSummary);
  router.get('/history.json', may('read'), history.getHistory);
  router.get('/drifts.json', may('read'), history.getDrifts);
  router.get('/api/events', may('read'), createEventsRoute(events, isStopping));
  router.get('/metrics', may('read'), createMetricsRoute(metrics, fleet, places, now));
  router.get('/openapi.json', createOpenApiRoute(options));
  router.get('/healthz', health.getHealth);
  router.get('/readyz', health.getReadiness);
  return router;
}
