import { Refusal } from '../core/refusal.ts';

/** A query with more is refused: the time that Koa takes for one grows with the square of their number. A list of names may be a comma list. */
const MAX_QUERY_PARAMETERS = 1000;
/** Of a path or a name that nothing is known of, so much stands in messages: it may be as long as the client likes. */
const MAX_SHOWN_CHARS = 200;

/**
 * The path and the query of a request target (RFC 9112, section 3.2). Repeated slashes in the path count as one. Nothing else is
 * resolved or decoded, neither dot segments nor upper case nor percent-encoding: what the routes see is what a proxy has compared with
 * its rules. A target with scheme and host (`GET http://host/metrics`) loses these, as it does there. Never throws, and gives
 * something that begins with a slash, whatever goes in: Koa's own way to read a target throws on some.
 */
export function normalizeTarget(target: string): string {
  const [origin = ''] = /^https?:\/\/[^/?#]*/i.exec(target) ?? [];
  const rest = target.slice(origin.length).replaceAll('#', '%23');
  const queryAt = rest.includes('?') ? rest.indexOf('?') : rest.length;
  return `/${rest.slice(0, queryAt)}`.replace(/\/{2,}/g, '/') + rest.slice(queryAt);
}

/** @throws {Refusal} `bad_request` or `bad_query` for a target that cannot be read in one way only, or takes too long to read */
export function checkTarget(target: string): void {
  if (target.includes('#')) throw new Refusal('bad_request', 'A request has no fragment: write # as %23');
  if (target.split('&').length > MAX_QUERY_PARAMETERS) {
    throw new Refusal('bad_query', `A query has at most ${MAX_QUERY_PARAMETERS} parameters: send lists as a,b,c`);
  }
}

/** For messages: a text of the client's, or the beginning of one that is too long. */
export function shorten(text: string, maxChars = MAX_SHOWN_CHARS): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars)}…`;
}
