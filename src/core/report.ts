import { Ajv2020 } from 'ajv/dist/2020.js';
import type { FromSchema } from 'json-schema-to-ts';
import { cutDiff } from './diff.ts';
import { parseTimestamp } from './timestamp.ts';
import { Problem, type ValidationError } from '../http/problem.ts';
import { capped, explain, preview } from './validation-errors.ts';

const MAX_FILES = 10_000;
const MAX_AHEAD_MS = 5 * 60_000;
const MAX_IGNORED = 100;

const MAX_KEY_LENGTH = 200;
const KEY = '^[A-Za-z0-9][A-Za-z0-9._:/@-]*$';
const KEY_DESCRIPTION = '1 to 200 characters of A-Z a-z 0-9 . _ : / @ - that begin with a letter or digit';

/**
 * The body of `POST /api/status`: this one schema validates, gives {@link Body} and stands in `/openapi.json`.
 * Each description completes the sentence "must be …", which is what a 422 says. Rules across fields are in {@link crossRules}.
 */
export const reportSchema = {
  type: 'object',
  description: 'a JSON object: what one check of one server against one repo found',
  required: ['repo', 'server', 'sync_status', 'drift_count', 'files', 'last_check'],
  properties: {
    repo: { type: 'string', minLength: 1, maxLength: MAX_KEY_LENGTH, pattern: KEY, description: KEY_DESCRIPTION },
    server: { type: 'string', minLength: 1, maxLength: MAX_KEY_LENGTH, pattern: KEY, description: KEY_DESCRIPTION },
    sync_status: { type: 'string', enum: ['SYNCED', 'OUT_OF_SYNC'], description: 'SYNCED or OUT_OF_SYNC' },
    drift_count: { type: 'integer', minimum: 0, description: 'a whole number, the length of files' },
    files: {
      type: 'array',
      maxItems: MAX_FILES,
      description: 'a list of at most 10,000 objects, one for each file that differs; empty exactly when SYNCED',
      items: {
        type: 'object',
        description: 'an object such as {"name": "etc/motd"}',
        required: ['name'],
        properties: {
          name: {
            type: 'string',
            minLength: 1,
            maxLength: 1024,
            pattern: String.raw`^[^\p{Cc}\p{Cs}]*$`,
            description: '1 to 1,024 characters without control characters, and no name twice',
          },
          diff: {
            type: 'string',
            description: 'text; beyond 16 KiB it is cut at a line and marked as cut',
          },
        },
      },
    },
    last_check: {
      type: 'string',
      format: 'date-time',
      maxLength: 64,
      description:
        'an ISO 8601 / RFC 3339 time with a zone, such as 2026-04-21T10:32:15Z, at most 5 minutes ahead of the clock here',
    },
    stale_after_seconds: {
      type: 'integer',
      minimum: 1,
      maximum: 31_536_000,
      description: 'a whole number from 1 to 31,536,000: the source is STALE so long after last_check',
    },
    commit: {
      type: 'string',
      pattern: '^[0-9A-Za-z._/-]{1,64}$',
      description: 'a Git revision: 1 to 64 characters of 0-9 A-Z a-z . _ / -',
    },
    pipeline_url: {
      type: 'string',
      format: 'uri',
      maxLength: 2048,
      description: 'an http or https URL of at most 2,048 characters',
    },
  },
} as const;

type Body = FromSchema<typeof reportSchema>;

/** A report that keeps every rule. */
export type Report = {
  readonly repo: string;
  readonly server: string;
  readonly syncStatus: 'SYNCED' | 'OUT_OF_SYNC';
  /** Names of the files that differ, unique, in the order in which they were posted. */
  readonly files: readonly string[];
  /** As posted. */
  readonly lastCheck: string;
  readonly lastCheckMs: number;
  readonly staleAfterMs: number | undefined;
  readonly commit: string | null;
  readonly pipelineUrl: string | null;
  /** Name → diff, for the files that came with one; at most 16 KiB each. Null when none did. */
  readonly diffs: Readonly<Record<string, string>> | null;
  /** Posted fields that the contract does not know. */
  readonly ignored: readonly string[];
};

const ajv = new Ajv2020({ allErrors: true, verbose: true, strict: true, formats: {} });
// read once, in parseReport
ajv.addFormat('date-time', true);
ajv.addFormat('uri', (text: string) => /^https?:\/\/[^\s\p{Cc}]+$/iu.test(text) && URL.canParse(text));
const isBody = ajv.compile<Body>(reportSchema);

const BODY_FIELDS = new Set(Object.keys(reportSchema.properties));
const FILE_FIELDS = new Set(Object.keys(reportSchema.properties.files.items.properties));

/**
 * Parses the JSON value that a check posted.
 * @param now the service's clock, milliseconds
 * @throws {Problem} 422 with every broken rule
 */
export function parseReport(value: unknown, now: number): Report {
  const lastCheckMs =
    isRecord(value) && typeof value.last_check === 'string' ? parseTimestamp(value.last_check) : Number.NaN;
  const tooMany = tooManyFiles(value);
  // a list that is too long is refused for its length alone: looking into it would cost more than it tells
  if (!isBody(tooMany ? { ...(value as object), files: [] } : value) || tooMany) {
    throw invalid([
      ...explain(isBody.errors ?? []),
      ...(tooMany ? [tooMany] : []),
      ...crossRules(value, now, lastCheckMs),
    ]);
  }
  const body = value as Body;
  const violations = crossRules(body, now, lastCheckMs);
  if (violations.length > 0) throw invalid(violations);
  const { stale_after_seconds: staleAfter } = body;
  return {
    repo: body.repo,
    server: body.server,
    syncStatus: body.sync_status,
    files: body.files.map((file) => file.name),
    lastCheck: body.last_check,
    lastCheckMs,
    staleAfterMs: staleAfter === undefined ? undefined : staleAfter * 1000,
    commit: body.commit ?? null,
    pipelineUrl: body.pipeline_url ?? null,
    diffs: diffsOf(body),
    ignored: ignoredFields(body),
  };
}

/**
 * The source that an unusable body speaks of, as far as it can be read: a refusal is then shown with its source. Only names that a
 * source may have: they go into the log, anything else stays out of it.
 */
export function sourceOf(body: unknown): { repo: string; server: string } | undefined {
  let repo: unknown;
  let server: unknown;
  if (typeof body === 'string') {
    repo = /"repo"\s*:\s*"([^"\\]{1,200})"/.exec(body)?.[1];
    server = /"server"\s*:\s*"([^"\\]{1,200})"/.exec(body)?.[1];
  } else if (isRecord(body)) {
    ({ repo, server } = body);
  }
  return isKey(repo) && isKey(server) ? { repo, server } : undefined;
}

function invalid(violations: readonly ValidationError[]): Problem {
  const [first] = violations;
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more, see errors)` : '';
  return new Problem(422, 'Invalid report', `${first?.pointer || 'the body'} ${first?.detail}${more}`, {
    reason: 'invalid',
    errors: violations,
  });
}

function tooManyFiles(value: unknown): ValidationError | undefined {
  if (!isRecord(value) || !Array.isArray(value.files) || value.files.length <= MAX_FILES) return undefined;
  return {
    pointer: '/files',
    detail: `must be ${reportSchema.properties.files.description}, but has ${value.files.length}`,
  };
}

/** The rules that tie fields to each other and to the clock. Each looks only at fields that are of the right type. */
function crossRules(value: unknown, now: number, lastCheckMs: number): ValidationError[] {
  const violations: ValidationError[] = [];
  if (!isRecord(value)) return violations;
  const { sync_status: status, drift_count: count, files, last_check: lastCheck } = value;
  if (Array.isArray(files) && files.length <= MAX_FILES) {
    if (typeof count === 'number' && Number.isInteger(count) && count >= 0 && count !== files.length) {
      violations.push({
        pointer: '/drift_count',
        detail: `must be the length of files (${files.length}), but is ${count}`,
      });
    }
    if (status === 'SYNCED' && files.length > 0) {
      violations.push({
        pointer: '/files',
        detail: `must be empty when sync_status is SYNCED, but has ${files.length}`,
      });
    }
    if (status === 'OUT_OF_SYNC' && files.length === 0) {
      violations.push({ pointer: '/files', detail: 'must name at least one file when sync_status is OUT_OF_SYNC' });
    }
    if (files.length > 1) violations.push(...repeatedNames(files));
  }
  const aheadMs = lastCheckMs - now;
  if (typeof lastCheck === 'string' && Number.isNaN(lastCheckMs)) {
    violations.push({
      pointer: '/last_check',
      detail: `must be ${reportSchema.properties.last_check.description}, but is ${preview(lastCheck)}`,
    });
  } else if (aheadMs > MAX_AHEAD_MS) {
    violations.push({
      pointer: '/last_check',
      detail: `must be at most 5 minutes ahead of the clock here, but is ${Math.ceil(aheadMs / 1000)} seconds ahead: check the clock of the machine that ran the check`,
    });
  }
  return violations;
}

function repeatedNames(files: readonly unknown[]): ValidationError[] {
  const violations: ValidationError[] = [];
  const seen = new Map<unknown, number>();
  for (const [index, file] of files.entries()) {
    const name = isRecord(file) ? file.name : undefined;
    if (typeof name !== 'string') continue;
    const first = seen.get(name);
    if (first === undefined) seen.set(name, index);
    else violations.push({ pointer: `/files/${index}/name`, detail: `must not repeat the name of /files/${first}` });
  }
  return capped(violations, 'name repeats another');
}

function diffsOf(body: Body): Record<string, string> | null {
  let diffs: Record<string, string> | null = null;
  for (const { name, diff } of body.files) {
    if (diff === undefined) continue;
    // without a prototype, so that a file may be called __proto__
    diffs ??= Object.create(null) as Record<string, string>;
    diffs[name] = cutDiff(diff);
  }
  return diffs;
}

function ignoredFields(body: Body): string[] {
  const ignored = new Set<string>();
  for (const name in body) if (!BODY_FIELDS.has(name)) ignored.add(name);
  for (const file of body.files) {
    for (const name in file) if (!FILE_FIELDS.has(name)) ignored.add(`files[].${name}`);
  }
  return [...ignored].slice(0, MAX_IGNORED);
}

function isKey(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_KEY_LENGTH && new RegExp(KEY).test(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
