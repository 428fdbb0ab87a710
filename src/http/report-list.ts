import type { Context } from 'koa';
import type { Logger } from 'pino';
import type { SourceName } from '../access/authorize.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Accepted } from '../fleet/batch.ts';
import { tokenOf } from './authorization.ts';
import { headersOf, problemOf } from './problem.ts';
import { pointersOf } from './request-log.ts';
import type { Receipt } from './source-json.ts';

/** What became of one report of a list. */
export type ListOutcome =
  | { readonly status: number; readonly result: Accepted['result']; readonly receipt: Receipt }
  | { readonly status: number; readonly source: SourceName | undefined; readonly refusal: Refusal };

/**
 * Answers a list of reports: 200 where all were accepted, else the highest status among them, as a problem. Either has `results`, in order: the
 * status of each beside the members of its receipt or its problem.
 */
export function answerList(ctx: Context, outcomes: readonly ListOutcome[], log: Logger): void {
  const requestId = ctx.response.get('X-Request-Id');
  const results = outcomes.map((outcome) =>
    'refusal' in outcome ? problemOf(outcome.refusal, requestId) : { status: outcome.status, ...outcome.receipt },
  );
  const worst = worstOf(outcomes);
  ctx.state.isListAnswered = true;
  ctx.status = worst?.status ?? 200;
  ctx.type = worst === undefined ? 'json' : 'application/problem+json';
  if (worst !== undefined) ctx.set(headersOf(worst.refusal));
  const answer = worst === undefined ? { results } : { ...summaryOf(worst.refusal, outcomes, requestId), results };
  ctx.body = `${JSON.stringify(answer)}\n`;
  logList(log, ctx, outcomes, requestId);
}

type Refused = Extract<ListOutcome, { refusal: Refusal }>;

function worstOf(outcomes: readonly ListOutcome[]): Refused | undefined {
  let worst: Refused | undefined;
  for (const outcome of outcomes) {
    if ('refusal' in outcome && outcome.status > (worst?.status ?? 0)) worst = outcome;
  }
  return worst;
}

/** As the problem of one that fared worst, but its detail tells of all. */
function summaryOf(refusal: Refusal, outcomes: readonly ListOutcome[], requestId: string) {
  const { type, title, status, reason, request_id } = problemOf(refusal, requestId);
  const refused = outcomes.filter((outcome) => 'refusal' in outcome).length;
  const detail = `${refused} of ${outcomes.length} reports were refused: results has what became of each`;
  return { type, title, status, reason, detail, request_id };
}

/** One line for the list, and one for each report of it that was refused. */
function logList(log: Logger, ctx: Context, outcomes: readonly ListOutcome[], requestId: string): void {
  const about = { token: tokenOf(ctx)?.name, request_id: requestId };
  const results: Record<string, number> = {};
  for (const outcome of outcomes) {
    const result = 'refusal' in outcome ? 'rejected' : outcome.result;
    results[result] = (results[result] ?? 0) + 1;
    if (!('refusal' in outcome)) continue;
    const { status, source, refusal } = outcome;
    const line = { ...source, result, reason: refusal.reason, broken: pointersOf(refusal), status, ...about };
    if (status < 500) log.warn(line, 'report');
    else log.error({ ...line, err: refusal.cause }, 'report');
  }
  log.info({ reports: outcomes.length, results, status: ctx.status, ...about }, 'reports');
}
