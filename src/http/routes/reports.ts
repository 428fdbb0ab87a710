import type { IncomingMessage } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Context, Middleware, Next } from 'koa';
import type { Logger } from 'pino';
import { AccessRefusal, type SourceName, authorizeSource } from '../../access/authorize.ts';
import type { Token } from '../../access/tokens.ts';
import { Refusal } from '../../core/refusal.ts';
import { type Report, parseReport, sourceOf } from '../../core/report.ts';
import { toIso } from '../../core/timestamp.ts';
import type { Accepted } from '../../fleet/batch.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import { createBodyAccount } from '../body-account.ts';
import { LIST_FACTOR, createBodyMiddleware } from '../body.ts';
import { tokenOf } from '../authorization.ts';
import type { EventStream } from '../event-stream.ts';
import { statusOf } from '../problem.ts';
import type { Metrics } from '../metrics.ts';
import { type ListOutcome, answerList } from '../report-list.ts';
import { toRefusal } from '../request.ts';
import { type Receipt, toReceipt } from '../source-json.ts';

/** Events a second that tell of refusals, over all sources: more would drive out of memory what has changed. */
const MAX_REFUSED_EVENTS = 100;
/** In one array. */
const MAX_REPORTS = 1000;
/** Of an array that is refused as a whole, so many sources are noted. */
const MAX_NOTED = 10_000;
/** Parsed in one go. */
const REPORTS_AT_ONCE = 20;

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
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly maxBodyBytes: number;
  readonly isBroken: (request: IncomingMessage) => boolean;
};

export function createReportRoutes(options: ReportRoutesOptions): ReportRoutes {
  const { fleet, metrics, events, log, now, maxBodyBytes, isBroken } = options;
  const hasRoomForRefusal = createPerSecond(MAX_REFUSED_EVENTS);
  return {
    async attributeRefusal(ctx: Context, next: Next) {
      try {
        await next();
      } catch (error) {
        const named =
          (ctx.state.source as SourceName | undefined) ??
          sourceOf(ctx.request.body ?? (error as { body?: unknown }).body) ??
          tokenOf(ctx)?.onlySource;
        if (!isBroken(ctx.req)) noteRefusal(ctx, named, error);
        ctx.state.source ??= named;
        throw notStored(error);
      }
    },

    requireJson,
    readBody: createBodyMiddleware(createBodyAccount(LIST_FACTOR * maxBodyBytes), maxBodyBytes),

    async postReport(ctx) {
      const { body } = ctx.request;
      const bytes = ctx.state.bodyBytes as number;
      // whatever is made of it has all of it that counts
      ctx.request.body = undefined;
      if (Array.isArray(body)) await postList(ctx, body, bytes);
      else await postOne(ctx, body, bytes);
    },
  };

  async function postOne(ctx: Context, body: unknown, bytes: number): Promise<void> {
    // if it is refused, what it says of its source is looked at
    ctx.request.body = body;
    const report = parseReport(body, now());
    ctx.request.body = undefined;
    ctx.state.source = report;
    const { result, receipt } = await accept(ctx, report, bytes);
    ctx.state.result = result;
    ctx.status = statusOfResult(result);
    ctx.type = 'json';
    ctx.body = `${JSON.stringify(receipt)}\n`;
  }

  async function accept(
    ctx: Context,
    report: Report,
    bytes: number,
  ): Promise<Pick<Accepted, 'result'> & { receipt: Receipt }> {
    authorizeSource(tokenOf(ctx), 'report', report);
    const accepted = await fleet.submit(report, bytes, tokenOf(ctx));
    const { result } = accepted;
    metrics.reportAccepted(result);
    const receipt = toReceipt(accepted, report.ignored, now());
    return { result, receipt };
  }

  /** Judges each on its own, in order; those that are accepted share commits. */
  async function postList(ctx: Context, items: readonly unknown[], bytes: number): Promise<void> {
    if (items.length === 0 || items.length > MAX_REPORTS) {
      const refusal = wrongLength(items.length);
      for (const item of items.slice(0, MAX_NOTED)) noteRefusal(ctx, sourceOf(item), refusal);
      throw refusal;
    }
    // only in a large list one of them can be too large
    const mayBeTooLarge = bytes > maxBodyBytes;
    const outcomes: Promise<ListOutcome>[] = [];
    for (const [index, item] of items.entries()) {
      if (index % REPORTS_AT_ONCE === REPORTS_AT_ONCE - 1) await nextTurn();
      outcomes.push(judge(ctx, item, mayBeTooLarge, bytes / items.length));
    }
    answerList(ctx, await Promise.all(outcomes), log);
  }

  async function judge(ctx: Context, item: unknown, mayBeTooLarge: boolean, bytes: number): Promise<ListOutcome> {
    let source: SourceName | undefined;
    try {
      if (mayBeTooLarge && Buffer.byteLength(JSON.stringify(item)) > maxBodyBytes) {
        source = sourceOf(item);
        throw new Refusal('too_large', `This report is larger than MAX_BODY_BYTES allows: ${maxBodyBytes} bytes`);
      }
      source = sourceOf(item);
      const report = parseReport(item, now());
      const { result, receipt } = await accept(ctx, report, bytes);
      return { status: statusOfResult(result), result, receipt };
    } catch (error) {
      const refusal = notStored(toRefusal(error));
      noteRefusal(ctx, source, refusal);
      metrics.reportRejected(refusal.reason);
      return { status: statusOf(refusal), source, refusal };
    }
  }

  /** Notes a refusal with its source, if that is known, and whoever was refused may report for it. */
  function noteRefusal(ctx: Context, named: SourceName | undefined, error: unknown): void {
    const source = named && fleet.find(named.repo, named.server);
    if (source === undefined || !mayReport(tokenOf(ctx), source.snapshot, error)) return;
    // not more often than it is noted: a flood of nonsense must not drive out what has changed
    if (!fleet.noteRejection(source) || !hasRoomForRefusal()) return;
    const { repo, server } = source.snapshot;
    const refusal = toRefusal(error);
    const told = { repo, server, time: toIso(now()), status: statusOf(refusal), reason: refusal.reason };
    events.publish('refused', JSON.stringify(told));
  }
}

/** @returns whether this is still one of the first `max` calls within a second */
function createPerSecond(max: number): () => boolean {
  let startedAt = Number.NEGATIVE_INFINITY;
  let count = 0;
  return () => {
    if (performance.now() - startedAt >= 1000) {
      startedAt = performance.now();
      count = 0;
    }
    count += 1;
    return count <= max;
  };
}

function statusOfResult(result: Accepted['result']): number {
  return result === 'created' ? 201 : 200;
}

function wrongLength(length: number): Refusal {
  const detail = `must have 1 to ${MAX_REPORTS} reports, but has ${length}`;
  return new Refusal('invalid', `the array ${detail}`, { errors: [{ pointer: '', detail }] });
}

/** Every 503 to a report says whether it is stored. */
function notStored<T>(error: T): T | Refusal {
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
