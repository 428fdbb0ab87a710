import { METHODS } from 'node:http';
import { Router } from '@koa/router';
import Koa, { type Context } from 'koa';
import bodyParser from 'koa-bodyparser';
import type { Logger } from 'pino';
import { type May, isForSource, requireSource, tokenOf } from '../access/authorize.ts';
import { createBoundary } from './request.ts';
import { isFiltering, isSelected, parseFilter } from './filter.ts';
import type { EventStream } from './event-stream.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Metrics } from './metrics.ts';
import { renderOpenApi } from './openapi.ts';
import { Problem } from './problem.ts';
import { parseReport, sourceOf } from '../core/report.ts';
import { createPast } from './routes/history.ts';
import { createPresent } from './routes/sources.ts';
import { beginRead, sendPortions, sendShared, toSharedBody } from './response.ts';
import type { Source } from '../fleet/source-index.ts';
import { toDetail, toReceipt } from './source-json.ts';
import type { Store } from '../store/store.ts';

export type AppOptions = {
  readonly fleet: Fleet;
  readonly store: Store;
  readonly metrics: Metrics;
  readonly events: EventStream;
  readonly may: May;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly newRequestId: () => string;
  /** Different at each start: what validators of this process begin with. */
  readonly bootId: string;
  readonly version: string;
  readonly publicUrl: string | undefined;
  readonly maxBodyBytes: number;
  readonly historyRetentionMs: number;
  /** True from the signal to stop on: connections are then not kept. */
  readonly isStopping: () => boolean;
};

const MAX_DRIFTS_IN_DETAIL = 50;
const READER_LEFT = new Set<string | undefined>(['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'EPIPE']);

/** The service over HTTP: every route is in this function. */
export function createApp(options: AppOptions): Koa {
  const { fleet, store, metrics, events, may, now, maxBodyBytes } = options;
  const present = createPresent(fleet, options.bootId);
  const past = createPast(fleet, store, present, options.historyRetentionMs);
  const openApi = toSharedBody(renderOpenApi(options.version, options.publicUrl));
  const app = new Koa();
  // so that a method that nobody has here is a 405, or a 404 where there is no route
  const router = new Router({ methods: [...METHODS] });

  router.post(
    '/api/status',
    attributeRefusal,
    may('report'),
    requireJson,
    bodyParser(bodyOptions(maxBodyBytes)),
    postReport,
  );
  router.delete('/api/status', may('delete'), deleteMatching);
  router.get('/api/status/:repo/:server', may('read'), getDetail);
  router.delete('/api/status/:repo/:server', may('delete'), deleteOne);
  router.get('/status.json', may('read'), (ctx) => present.sendSources(ctx, parseFilter(ctx.query), now()));
  router.get('/files.json', may('read'), (ctx) => present.sendFiles(ctx, parseFilter(ctx.query), now()));
  router.get('/summary.json', may('read'), (ctx) => present.sendSummary(ctx, parseFilter(ctx.query), now()));
  router.get('/history.json', may('read'), (ctx) => past.sendHistory(ctx, parseFilter(ctx.query), now()));
  router.get('/drifts.json', may('read'), (ctx) => past.sendDrifts(ctx, parseFilter(ctx.query), now()));
  router.get('/api/events', may('read'), getEvents);
  router.get('/metrics', may('read'), getMetrics);
  router.get('/openapi.json', getOpenApi);
  router.get('/healthz', getHealth);
  router.get('/readyz', getReadiness);

  app.use(createBoundary(options));
  app.use(router.routes());
  app.use(router.allowedMethods());
  // what goes wrong after the answer has begun; a reader that leaves early is no error
  app.on('error', (error: NodeJS.ErrnoException) => {
    if (!READER_LEFT.has(error.code)) options.log.error({ err: error }, 'response failed');
  });
  return app;

  async function postReport(ctx: Context): Promise<void> {
    const text = (ctx.request.rawBody ?? '') as string;
    if (text === '') throw malformed('it is empty');
    const report = parseReport(ctx.request.body, now());
    ctx.state.report = report;
    requireSource(ctx, 'report', report);
    const accepted = await fleet.submit(report, text.length);
    metrics.reportAccepted(accepted.result);
    ctx.state.result = accepted.result;
    ctx.status = accepted.result === 'created' ? 201 : 200;
    ctx.type = 'json';
    const receipt = JSON.stringify(toReceipt(accepted, report.ignored, now()));
    if (accepted.result === 'created' || accepted.result === 'changed') events.publish(receipt);
    ctx.body = `${receipt}\n`;
  }

  /** Notes a refusal with its source, where the body or the token tells which one. */
  async function attributeRefusal(ctx: Context, next: Koa.Next): Promise<void> {
    try {
      await next();
    } catch (error) {
      const named = sourceOf(ctx.request.body ?? (error as { body?: unknown }).body) ?? tokenOf(ctx)?.onlySource;
      const source = named && fleet.find(named.repo, named.server);
      if (source !== undefined) source.lastRejectedAt = now();
      ctx.state.report ??= named;
      throw error;
    }
  }

  async function getDetail(ctx: Context): Promise<void> {
    const { repo, server } = sourceParams(ctx);
    const detail = await store.detail(repo, server, MAX_DRIFTS_IN_DETAIL);
    if (detail === null) throw unknownSource(repo, server);
    const at = now();
    // other states of the same version are those that time makes: it becomes STALE, and open drifts grow
    const { version, files, staleAt } = detail.snapshot;
    const state = files.length > 0 ? at : at >= staleAt;
    if (!beginRead(ctx, 'json', `${options.bootId}.${detail.id}.${version}.${state}`)) return;
    await sendShared(ctx, toSharedBody(`${JSON.stringify(toDetail(detail, at))}\n`));
  }

  async function deleteOne(ctx: Context): Promise<void> {
    const { repo, server } = sourceParams(ctx);
    requireSource(ctx, 'delete', { repo, server });
    const source = fleet.find(repo, server);
    if (source === undefined || (await fleet.remove([source])) === 0) throw unknownSource(repo, server);
    ctx.status = 204;
  }

  async function deleteMatching(ctx: Context): Promise<void> {
    const { dry_run: dryRun, ...selection } = ctx.query;
    const unknown = Object.keys(selection).filter((name) => !['repo', 'server', 'verdict'].includes(name));
    if (unknown.length > 0)
      throw badQuery(`${unknown.join(', ')}: not known here. Use repo, server, verdict and dry_run`);
    if (
      Object.values(selection)
        .flat()
        .some((text) => text?.includes('${'))
    ) {
      throw badQuery('A variable was not filled in ("${"), so it is not clear what to delete');
    }
    if (dryRun !== undefined && dryRun !== 'true' && dryRun !== 'false')
      throw badQuery('dry_run must be true or false');
    const filter = parseFilter(selection);
    if (!isFiltering(filter)) throw badQuery('Name what to delete: at least one of repo, server and verdict');
    const at = now();
    // sources that are not for the token are not there for it: neither their names nor their number is told
    const matching = fleet
      .list()
      .filter((source) => isSelected(filter, source, at) && isForSource(ctx, 'delete', source.snapshot));
    // whoever reports in time is not deleted for having been stale
    const stillMatches = (source: Source): boolean => isSelected(filter, source, now());
    ctx.body = { deleted: dryRun === 'true' ? matching.length : await fleet.remove(matching, stillMatches) };
  }

  function getEvents(ctx: Context): void {
    if (options.isStopping()) throw new Problem(503, 'Not ready', 'The service is stopping');
    if (ctx.method === 'HEAD') {
      beginRead(ctx, 'text/event-stream');
      return;
    }
    events.subscribe(ctx.res, ctx.get('Last-Event-ID'), tokenOf(ctx)?.expiresAt);
    // from here on the response is not Koa's
    ctx.respond = false;
  }

  function getMetrics(ctx: Context): void {
    beginRead(ctx, metrics.contentType);
    sendPortions(ctx, metrics.render(fleet, now()));
  }

  async function getOpenApi(ctx: Context): Promise<void> {
    if (beginRead(ctx, 'json', options.bootId)) await sendShared(ctx, openApi);
  }

  function getHealth(ctx: Context): void {
    beginRead(ctx, 'json');
    ctx.body = { status: 'ok' };
  }

  async function getReadiness(ctx: Context): Promise<void> {
    if (options.isStopping()) throw new Problem(503, 'Not ready', 'The service is stopping');
    await fleet.probe();
    beginRead(ctx, 'json');
    ctx.body = { status: 'ready' };
  }
}

function bodyOptions(maxBodyBytes: number): bodyParser.Options {
  return { enableTypes: ['json'], jsonLimit: `${maxBodyBytes}b`, strict: false };
}

/** `application/json`, whose encoding is UTF-8 by definition. */
function requireJson(ctx: Context, next: Koa.Next): Promise<void> {
  const header = ctx.get('Content-Type');
  if (header === 'application/json') return next();
  const [type = '', ...parameters] = header.toLowerCase().split(';');
  const charset = parameters.map((text) => text.trim()).find((text) => text.startsWith('charset='));
  const isUtf8 = charset === undefined || /^charset="?(utf-8|utf8|us-ascii)"?$/.test(charset);
  if (type.trim() === 'application/json' && isUtf8) return next();
  const found = header === '' ? 'there is none' : `it is ${header}`;
  throw new Problem(415, 'Unsupported media type', `Content-Type must be application/json in UTF-8, but ${found}`, {
    reason: 'unsupported_media_type',
  });
}

function malformed(what: string): Problem {
  return new Problem(400, 'Malformed body', `The body is not JSON: ${what}`, { reason: 'malformed' });
}

function badQuery(detail: string): Problem {
  return new Problem(400, 'Bad query', detail);
}

function unknownSource(repo: string, server: string): Problem {
  return new Problem(404, 'Unknown source', `No report of server ${server} for repo ${repo} is known`);
}

function sourceParams(ctx: Context): { repo: string; server: string } {
  const { repo = '', server = '' } = ctx.params as Record<string, string>;
  return { repo, server };
}
