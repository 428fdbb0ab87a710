import type { IncomingMessage } from 'node:http';
import type { Context, Middleware, Next } from 'koa';
import { AccessRefusal, type SourceName, authorizeSource } from '../../access/authorize.ts';
import type { Token } from '../../access/tokens.ts';
import { Refusal } from '../../core/refusal.ts';
import { parseReport, sourceOf } from '../../core/report.ts';
import { toIso } from '../../core/timestamp.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Source } from '../../fleet/source-index.ts';
import { createBodyAccount } from '../body-account.ts';
import { createBodyMiddleware } from '../body.ts';
import { tokenOf } from '../authorization.ts';
import type { EventStream } from '../event-stream.ts';
import { statusOf } from '../problem.ts';
import type { Metrics } from '../metrics.ts';
import { toRefusal } from '../request.ts';
import { toReceipt } from '../source-json.ts';

/** `POST /api/status`: the handler, and what stands before it, in this order. */
export type ReportRoutes = {
  /** Notes a refusal with its source, where the body or the token tells which one. */
  readonly attributeRefusal: Middleware;
  readonly requireJson: Middleware;
  readonly readBody: Middleware;
  postReport(ctx: Context): Promise<void>;
};

export type ReportRoutesOptions = {
  readonly fleet: Fleet;
  readonly metrics: Metrics;
  readonly events: EventStream;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly maxBodyBytes: number;
  readonly isBroken: (request: IncomingMessage) => boolean;
};

export function createReportRoutes(options: ReportRoutesOptions): ReportRoutes {
  const { fleet, metrics, events, now, maxBodyBytes, isBroken } = options;

  function noteRejection(source: Source, refusal: Refusal): void {
    // not more often than it is noted: a flood of nonsense must not drive out what has changed
    if (!fleet.noteRejection(source)) return;
    const { repo, server } = source.snapshot;
    const told = { repo, server, time: toIso(now()), status: statusOf(refusal), reason: refusal.reason };
    events.publish('refused', JSON.stringify(told));
  }

  return {
    async attributeRefusal(ctx: Context, next: Next) {
      try {
        await next();
      } catch (error) {
        const named =
          (ctx.state.source as SourceName | undefined) ??
          sourceOf(ctx.request.body ?? (error as { body?: unknown }).body) ??
          tokenOf(ctx)?.onlySource;
        const source = named && fleet.find(named.repo, named.server);
        if (source !== undefined && !isBroken(ctx.req) && mayReport(tokenOf(ctx), source.snapshot, error)) {
          noteRejection(source, toRefusal(error));
        }
        ctx.state.source ??= named;
        throw notStored(error);
      }
    },

    requireJson,
    readBody: createBodyMiddleware(createBodyAccount(maxBodyBytes), maxBodyBytes),

    async postReport(ctx) {
      const report = parseReport(ctx.request.body, now());
      ctx.state.source = report;
      // the report has all of it that counts
      ctx.request.body = undefined;
      authorizeSource(tokenOf(ctx), 'report', report);
      const accepted = await fleet.submit(report, ctx.state.bodyBytes as number, tokenOf(ctx));
      metrics.reportAccepted(accepted.result);
      ctx.state.result = accepted.result;
      ctx.status = accepted.result === 'created' ? 201 : 200;
      ctx.type = 'json';
      const receipt = JSON.stringify(toReceipt(accepted, report.ignored, now()));
      if (accepted.result === 'created' || accepted.result === 'changed') events.publish('change', receipt);
      ctx.body = `${receipt}\n`;
    },
  };
}

/** Every 503 to a report says whether it is stored. */
function notStored(error: unknown): unknown {
  if (!(error instanceof Refusal) || statusOf(error) !== 503 || error.stored !== undefined) return error;
  return new Refusal(error.reason, error.message, { stored: false, cause: error.cause });
}

/** Whether who was refused may report for the source at all: nobody else has a say in how it stands. */
function mayReport(token: Token | undefined, source: SourceName, error: unknown): boolean {
  if (token !== undefined && token.scopes.has('report')) return token.isFor(source.repo, source.server);
  return !(error instanceof AccessRefusal);
}

/** `application/json`, whose encoding is UTF-8 by definition. */
function requireJson(ctx: Context, next: Next): Promise<void> {
  const header = ctx.get('Content-Type');
  if (header === 'application/json') return next();
  const [type = '', ...parameters] = header.toLowerCase().split(';');
  const charset = parameters.map((text) => text.trim()).find((text) => text.startsWith('charset='));
  const isUtf8 = charset === undefined || /^charset="?(utf-8|utf8|us-ascii)"?$/.test(charset);
  if (type.trim() === 'application/json' && isUtf8) return next();
  const found = header === '' ? 'there is none' : `it is ${header}`;
  throw new Refusal('unsupported_media_type', `Content-Type must be application/json in UTF-8, but ${found}`);
}
