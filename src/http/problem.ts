/** One broken rule: where in the body (RFC 6901 JSON Pointer, "" is the whole) and what is wrong, for a person. */
export type ValidationError = { readonly pointer: string; readonly detail: string };

/** Why a report was refused, as `gitops_reports_rejected_total{reason}` counts it. */
export type RejectReason =
  | 'malformed'
  | 'invalid'
  | 'too_large'
  | 'unsupported_media_type'
  | 'unauthorized'
  | 'forbidden'
  | 'too_many_sources'
  | 'store_unavailable'
  | 'internal';

/**
 * An answer that is an error on purpose; the boundary in `app.ts` sends it as RFC 9457 `application/problem+json`.
 * `detail` is shown to the client: never put an internal message into it.
 */
export class Problem extends Error {
  readonly status: number;
  readonly title: string;
  readonly reason: RejectReason | undefined;
  readonly errors: readonly ValidationError[] | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    title: string,
    detail: string,
    extra: {
      reason?: RejectReason;
      errors?: readonly ValidationError[];
      headers?: Readonly<Record<string, string>>;
      cause?: unknown;
    } = {},
  ) {
    super(detail, { cause: extra.cause });
    this.status = status;
    this.title = title;
    this.reason = extra.reason;
    this.errors = extra.errors;
    this.headers = extra.headers ?? {};
  }
}

/** The RFC 9457 body. Its type is always `about:blank`: status and title say which kind it is. */
export function renderProblem(problem: Problem, requestId: string): string {
  const body = JSON.stringify({
    type: 'about:blank',
    title: problem.title,
    status: problem.status,
    detail: problem.message,
    request_id: requestId,
    errors: problem.errors,
  });
  return `${body}\n`;
}
