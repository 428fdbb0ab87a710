import { AccessRefusal, type Challenge } from '../access/authorize.ts';
import { Refusal, type RefusalReason } from '../core/refusal.ts';

type Kind = {
  readonly status: number;
  readonly title: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A report can be refused for it: `gitops_reports_rejected_total` then has its series from the start. */
  readonly isForReports?: true;
};

/** What HTTP makes of each reason. */
export const PROBLEMS: Readonly<Record<RefusalReason, Kind>> = {
  malformed: { status: 400, title: 'Malformed body', isForReports: true },
  invalid: { status: 422, title: 'Invalid report', isForReports: true },
  too_large: { status: 413, title: 'Report too large', isForReports: true },
  unsupported_media_type: { status: 415, title: 'Unsupported media type', isForReports: true },
  unauthorized: { status: 401, title: 'Unauthorized', isForReports: true },
  forbidden: { status: 403, title: 'Forbidden', isForReports: true },
  too_many_sources: { status: 429, title: 'Too many sources', isForReports: true },
  too_many_drifts: { status: 429, title: 'Too many open drifts', isForReports: true },
  too_much_text: { status: 429, title: 'Too much text', isForReports: true },
  too_many_listeners: { status: 503, title: 'Too many listeners', headers: { 'Retry-After': '30' } },
  bad_query: { status: 400, title: 'Bad query' },
  unknown_source: { status: 404, title: 'Unknown source' },
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  precondition_failed: { status: 412, title: 'Precondition failed' },
  store_unavailable: {
    status: 503,
    title: 'Store unavailable',
    headers: { 'Retry-After': '5' },
    isForReports: true,
  },
  overloaded: { status: 503, title: 'Overloaded', headers: { 'Retry-After': '5' }, isForReports: true },
  query_timeout: { status: 503, title: 'Query took too long' },
  stopping: { status: 503, title: 'Not ready' },
  internal: { status: 500, title: 'Internal error', isForReports: true },
  // what the process refuses before it is a request
  bad_request: { status: 400, title: 'Bad request' },
  headers_too_large: { status: 431, title: 'Request header fields too large' },
  request_timeout: { status: 408, title: 'Request timeout' },
  expectation_failed: { status: 417, title: 'Expectation failed' },
};

/** RFC 6750, section 3. */
const REALM = 'Bearer realm="gitops-status-server"';

export function statusOf({ reason }: Refusal): number {
  return PROBLEMS[reason].status;
}

/** The headers of the answer, those of the body aside. */
export function headersOf(refusal: Refusal): Readonly<Record<string, string>> {
  if (refusal instanceof AccessRefusal) {
    return { 'WWW-Authenticate': renderChallenge(refusal.challenge, refusal.message) };
  }
  return PROBLEMS[refusal.reason].headers ?? {};
}

/** The RFC 9457 body. Its type is always `about:blank`: `reason` says which kind it is. */
export function renderProblem(refusal: Refusal, requestId: string): string {
  return `${JSON.stringify(problemOf(refusal, requestId))}\n`;
}

/** The members of a problem. */
export function problemOf(refusal: Refusal, requestId: string) {
  const { status, title } = PROBLEMS[refusal.reason];
  return {
    type: 'about:blank',
    title,
    status,
    reason: refusal.reason,
    detail: refusal.message,
    request_id: requestId,
    errors: refusal.errors,
    stored: refusal.stored,
  };
}

function renderChallenge({ error, scope }: Challenge, detail: string): string {
  if (error === undefined) return REALM;
  const description = error === 'invalid_token' ? `, error_description="${detail}"` : '';
  const needed = scope === undefined ? '' : `, scope="${scope}"`;
  return `${REALM}, error="${error}"${description}${needed}`;
}
