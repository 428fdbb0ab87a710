import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { FromSchema } from 'json-schema-to-ts';
import { ConfigError } from '../core/config-error.ts';
import { matchesGlob } from './glob.ts';
import { parseTimestamp } from '../core/timestamp.ts';

import { type ValidationError, describeErrors } from '../core/validation-errors.ts';

/** The rights that a token can give: to post reports, to read, to delete sources. */
const SCOPES = ['report', 'read', 'delete'] as const;
export type Scope = (typeof SCOPES)[number];

/** A client, as the tokens file describes it. */
export type Token = {
  /** Identifies the token in logs and answers; not a secret. */
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Milliseconds; infinite when it does not expire. */
  readonly expiresAt: number;
  /** Whether the token may report or delete this source, if it has the scope. */
  isFor(repo: string, server: string): boolean;
  /** Limits on the sources whose latest report was sent with this token, and on their open drifts in total; undefined: no limit. */
  readonly maxSources: number | undefined;
  readonly maxOpenDrifts: number | undefined;
  /** The only source that the token is for; undefined if there can be several. */
  readonly onlySource: { readonly repo: string; readonly server: string } | undefined;
};

/** The content of a tokens file. */
export type Tokens = {
  readonly size: number;
  /** The scopes that need no token. */
  readonly anonymous: ReadonlySet<Scope>;
  /** @param token as it was sent, not its hash */
  find(token: string): Token | undefined;
};

export type TokensFile = {
  current(): Tokens;
  /**
   * Watches the file and reads it again when it changes. If the new content is invalid, the tokens stay as they were.
   * @param onChange is called at each change with the new tokens, or with the error
   */
  watch(onChange: (changed: Tokens | ConfigError) => void, everyMs?: number): { stop(): void };
};

const scopes = {
  type: 'array',
  description: 'a list of one or more of report, read and delete',
  items: { type: 'string', enum: SCOPES, description: 'report, read or delete' },
} as const;
const globs = {
  type: 'array',
  minItems: 1,
  description: 'a list of names, in which * stands for any characters',
  items: {
    type: 'string',
    maxLength: 200,
    pattern: '^[A-Za-z0-9*][A-Za-z0-9._:/@*-]*$',
    description:
      'a name of at most 200 characters of A-Z a-z 0-9 . _ : / @ -, in which * stands for any characters, that begins with a letter, a digit or *',
  },
} as const;

const share = {
  type: 'integer',
  minimum: 1,
  description: 'a whole number from 1: how many the sources that it reported last may come to',
} as const;

/** Each description completes the sentence "must be …". Unknown keys are refused: a misspelt limit would be no limit. */
const schema = {
  type: 'object',
  description: 'a JSON object such as {"tokens": []}',
  additionalProperties: false,
  required: ['tokens'],
  properties: {
    anonymous: scopes,
    tokens: {
      type: 'array',
      minItems: 1,
      description: 'a list of at least one token',
      items: {
        type: 'object',
        description: 'an object with name, sha256 and scopes',
        additionalProperties: false,
        required: ['name', 'sha256', 'scopes'],
        properties: {
          name: {
            type: 'string',
            pattern: String.raw`^[\w.:/@-]{1,100}$`,
            description: '1 to 100 characters of A-Z a-z 0-9 . _ : / @ -, and no name twice',
          },
          sha256: {
            type: 'string',
            pattern: '^[0-9a-f]{64}$',
            description: 'the SHA-256 of the token, 64 characters of 0-9 a-f, and none twice',
          },
          scopes: { ...scopes, minItems: 1 },
          repos: globs,
          servers: globs,
          max_sources: share,
          max_open_drifts: share,
          expires_at: {
            type: 'string',
            format: 'date-time',
            description: 'an ISO 8601 / RFC 3339 time with a zone, such as 2027-01-31T00:00:00Z',
          },
        },
      },
    },
  },
} as const;

type Content = FromSchema<typeof schema>;
type Entry = Content['tokens'][number];

const ajv = new Ajv2020({ allErrors: true, verbose: true, strict: true });
ajv.addFormat('date-time', (text: string) => !Number.isNaN(parseTimestamp(text)));
const isContent = ajv.compile<Content>(schema);

const LOOK_EVERY_MS = 5000;

/** @throws {ConfigError} when the file cannot be used */
export function openTokens(file: string): TokensFile {
  let seen = readNow(file);
  let tokens = parseTokens(seen);

  /** Undefined: the file has not changed. */
  async function look(): Promise<Tokens | ConfigError | undefined> {
    const found = await readFile(file, 'utf8').catch(unreadable);
    const text = found instanceof ConfigError ? found.message : found;
    if (text === seen) return undefined;
    seen = text;
    if (found instanceof ConfigError) return found;
    try {
      tokens = parseTokens(found);
      return tokens;
    } catch (error) {
      return error as ConfigError;
    }
  }

  return {
    current: () => tokens,
    watch(onChange, everyMs = LOOK_EVERY_MS) {
      let isLooking = false;
      // not fs.watch: Kubernetes swaps the folder that a mounted Secret is in
      const timer = setInterval(async () => {
        if (isLooking) return;
        isLooking = true;
        const changed = await look();
        isLooking = false;
        if (changed !== undefined) onChange(changed);
      }, everyMs);
      return { stop: () => clearInterval(timer) };
    },
  };
}

function readNow(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw unreadable(error as Error);
  }
}

function unreadable({ message }: Error): ConfigError {
  return unusable([`cannot be read: ${message}`]);
}

/**
 * Parses what a tokens file contains.
 * @throws {ConfigError} naming every broken rule but no value: somebody may have written a token where its hash belongs
 */
export function parseTokens(text: string): Tokens {
  const content = parseJson(text);
  if (!isContent(content))
    throw unusable(describeErrors(isContent.errors ?? [], { hidesValues: true }).map(toSentence));
  const errors = crossRules(content.tokens);
  if (errors.length > 0) throw unusable(errors.map(toSentence));
  const bySha256 = new Map(content.tokens.map((entry) => [entry.sha256, toToken(entry)]));
  return {
    size: bySha256.size,
    anonymous: new Set(content.anonymous),
    find: (token) => bySha256.get(hash('sha256', token)),
  };
}

function parseJson(text: string): unknown {
  // UTF-16 that is read as UTF-8 contains NUL characters
  if (text.includes('\0')) throw unusable(['is not text in UTF-8']);
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    // V8 quotes the text in its message: that part is cut off, as it may hold a token
    throw unusable([`is not JSON: ${(error as Error).message.replace(/, (\.\.\.)?".*/s, '')}`]);
  }
}

function crossRules(entries: readonly Entry[]): ValidationError[] {
  const errors: ValidationError[] = [];
  const names = new Set<string>();
  const hashes = new Set<string>();
  for (const [index, { name, sha256, scopes: allowed, repos, servers }] of entries.entries()) {
    const pointer = `/tokens/${index}`;
    if (names.has(name)) {
      errors.push({ pointer: `${pointer}/name`, detail: 'must not repeat the name of another token' });
    }
    if (hashes.has(sha256)) {
      errors.push({ pointer: `${pointer}/sha256`, detail: 'must not repeat that of another token' });
    }
    names.add(name);
    hashes.add(sha256);
    if (allowed.includes('read') && (repos !== undefined || servers !== undefined)) {
      errors.push({
        pointer: `${pointer}/scopes`,
        detail: 'must not have read beside repos or servers, which limit report and delete only: read in another token',
      });
    }
  }
  return errors;
}

function toToken(entry: Entry): Token {
  const { name, scopes: allowed, repos, servers, expires_at: expiresAt } = entry;
  const [repo, server] = [soleName(repos), soleName(servers)];
  return {
    name,
    scopes: new Set(allowed),
    expiresAt: expiresAt === undefined ? Number.POSITIVE_INFINITY : parseTimestamp(expiresAt),
    maxSources: entry.max_sources,
    maxOpenDrifts: entry.max_open_drifts,
    isFor: (of, on) => matchesAny(repos, of) && matchesAny(servers, on),
    onlySource: repo !== undefined && server !== undefined ? { repo, server } : undefined,
  };
}

/** Without globs, every name matches. */
function matchesAny(wanted: readonly string[] | undefined, name: string): boolean {
  return wanted === undefined || wanted.some((glob) => matchesGlob(glob, name));
}

function soleName(wanted: readonly string[] | undefined): string | undefined {
  return wanted?.length === 1 && !wanted[0]?.includes('*') ? wanted[0] : undefined;
}

function toSentence({ pointer, detail }: ValidationError): string {
  return `${pointer || 'the file'} ${detail}`;
}

function unusable(sentences: readonly string[]): ConfigError {
  return new ConfigError(sentences.map((sentence) => `TOKENS_FILE: ${sentence}`));
}
