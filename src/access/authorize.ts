import { Refusal } from '../core/refusal.ts';
import { toIso } from '../core/timestamp.ts';
import type { Scope, Token, Tokens } from './tokens.ts';

/** The attributes of a challenge (RFC 6750, section 3) beside the realm. Undefined `error`: no token was sent. */
export type Challenge = {
  readonly error?: 'invalid_token' | 'insufficient_scope';
  /** The scope that the token lacks. */
  readonly scope?: Scope;
};

/** Refused for lack of a right. The challenge tells the client which credentials it needs. */
export class AccessRefusal extends Refusal {
  readonly challenge: Challenge;

  constructor(reason: 'unauthorized' | 'forbidden', detail: string, challenge: Challenge = {}) {
    super(reason, detail);
    this.challenge = challenge;
  }
}

/** A repo and a server. The source need not exist. */
export type SourceName = { readonly repo: string; readonly server: string };

/**
 * Finds the token that a request was sent with. A wrong token is refused even where none is needed: whoever sends one expects it to work.
 * @param header `Authorization` as it was sent, empty if it was not
 * @returns undefined when no token was sent
 * @throws {AccessRefusal} `unauthorized` when the token is not known
 */
export function authenticate(header: string, { find }: Tokens): Token | undefined {
  if (header === '') return undefined;
  const [, sent] = /^Bearer +([!-~]+) *$/i.exec(header) ?? [];
  if (sent === undefined) throw new AccessRefusal('unauthorized', describeHeader(header));
  const token = find(sent);
  if (token === undefined) throw invalidToken('The token is not known here');
  return token;
}

function describeHeader(header: string): string {
  const form = 'The header Authorization must be: Bearer TOKEN';
  if (!/^Bearer +[^ ]/i.test(header)) return form;
  const stray = 'a blank, a byte order mark, or a line break, as in a file with Windows line ends (CR LF)';
  return `${form}. This token has a character that no token has: perhaps ${stray}`;
}

/**
 * @param token undefined: none was sent
 * @param now milliseconds since the epoch
 * @throws {AccessRefusal} `unauthorized` without a token that is valid now, `forbidden` when it is for other things
 */
export function authorize(token: Token | undefined, scope: Scope, { anonymous }: Tokens, now: number): void {
  if (token === undefined) {
    if (anonymous.has(scope)) return;
    throw new AccessRefusal('unauthorized', 'A token is needed: send the header Authorization: Bearer TOKEN');
  }
  if (token.expiresAt <= now) throw invalidToken(`The token ${token.name} expired at ${toIso(token.expiresAt)}`);
  if (token.scopes.has(scope) || anonymous.has(scope)) return;
  throw new AccessRefusal(
    'forbidden',
    `The token ${token.name} may ${[...token.scopes].join(' and ')}, but not ${scope}`,
    { error: 'insufficient_scope', scope },
  );
}

/** Whether the token's repos and servers include the source. They limit only scopes that the token has; without a token there are no limits. */
export function isForSource(token: Token | undefined, scope: Scope, { repo, server }: SourceName): boolean {
  return token === undefined || !token.scopes.has(scope) || token.isFor(repo, server);
}

/** @throws {AccessRefusal} `forbidden` unless {@link isForSource} */
export function authorizeSource(token: Token | undefined, scope: Scope, source: SourceName): void {
  if (isForSource(token, scope, source)) return;
  throw new AccessRefusal(
    'forbidden',
    `The token ${token?.name} may not ${scope} server ${source.server} of repo ${source.repo}`,
    { error: 'insufficient_scope' },
  );
}

function invalidToken(detail: string): AccessRefusal {
  return new AccessRefusal('unauthorized', detail, { error: 'invalid_token' });
}
