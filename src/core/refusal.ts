import type { ValidationError } from './validation-errors.ts';

/**
 * Every reason for which the service refuses something: the one list. A reason says what is wrong, never how HTTP tells it:
 * `http/problem.ts` has the status, title and headers of each. The words are also the label `reason` of the metrics.
 */
export const REFUSAL_REASONS = [
  'malformed',
  'invalid',
  'too_large',
  'unsupported_media_type',
  'unauthorized',
  'forbidden',
  'too_many_sources',
  'too_many_drifts',
  'too_much_text',
  'too_many_listeners',
  'bad_query',
  'unknown_source',
  'not_found',
  'method_not_allowed',
  'store_unavailable',
  'overloaded',
  'query_timeout',
  'stopping',
  'internal',
  'bad_request',
  'headers_too_large',
  'request_timeout',
  'expectation_failed',
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

/**
 * What the service does not do, on purpose. The message is shown to the client: one or two sentences, never an internal error.
 * What went wrong inside goes into `cause`, which only the log shows.
 */
export class Refusal extends Error {
  readonly reason: RefusalReason;
  /** For `invalid`: every broken rule. */
  readonly errors: readonly ValidationError[] | undefined;

  constructor(
    reason: RefusalReason,
    detail: string,
    extra: { readonly errors?: readonly ValidationError[]; readonly cause?: unknown } = {},
  ) {
    super(detail, { cause: extra.cause });
    this.reason = reason;
    this.errors = extra.errors;
  }
}
