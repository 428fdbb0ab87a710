import type { ValidationError } from './validation-errors.ts';

/**
 * The one list of reasons for which the service refuses something. A reason says what is wrong and nothing about HTTP: `http/problem.ts`
 * maps it to a status, a title and headers. Metrics use these words in the label `reason`.
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
  'precondition_failed',
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

export type Stored = false | 'unknown';

type RefusalExtra = {
  readonly errors?: readonly ValidationError[] | undefined;
  readonly stored?: Stored | undefined;
  readonly cause?: unknown;
};

/**
 * The service refuses a request on purpose. Clients see the message: one or two sentences, never an internal error. An internal error
 * goes into `cause`, which only the log shows.
 */
export class Refusal extends Error {
  readonly reason: RefusalReason;
  /** For `invalid`: every broken rule. */
  readonly errors: readonly ValidationError[] | undefined;
  /** Of what was to be stored: false if it is not and never will be, `unknown` if it may still be. */
  readonly stored: Stored | undefined;

  constructor(reason: RefusalReason, detail: string, extra: RefusalExtra = {}) {
    super(detail.toWellFormed(), { cause: extra.cause });
    this.reason = reason;
    this.errors = extra.errors?.map(wellFormed);
    this.stored = extra.stored;
  }
}

/** What a client sent, or what was cut from it, may have half a character in it: some clients could not read the answer. */
function wellFormed({ pointer, detail }: ValidationError): ValidationError {
  return { pointer: pointer.toWellFormed(), detail: detail.toWellFormed() };
}
