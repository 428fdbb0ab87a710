import { Ajv2020 } from 'ajv/dist/2020.js';
import { cutDiff } from './diff.ts';
import { Refusal } from './refusal.ts';
import { KEY, KEY_WITH_PASSWORD, MAX_FILES, MAX_KEY_LENGTH, type ReportBody, reportSchema } from './report-schema.ts';
import { MAX_AHEAD_MS, completeTimestamp, lacksZone, parseTimestamp } from './timestamp.ts';
import { type ValidationError, capped, describeErrors, preview } from './validation-errors.ts';

const HALF_HOUR_MS = 30 * 60_000;
const MAX_IGNORED = 100;

/** Of a source: name → value. */
export type Labels = Readonly<Record<string, string>>;

/** A valid report. */
export type Report = {
  readonly repo: string;
  readonly server: string;
  readonly syncStatus: 'SYNCED' | 'OUT_OF_SYNC' | 'UNKNOWN';
  /** Names of the files that differ, unique, in the order in which they were posted. */
  readonly files: readonly string[];
  /** How many differ, where `files` does not name all of them; else null. */
  readonly truncatedCount: number | null;
  /** Why the check could not tell; null with another status. */
  readonly message: string | null;
  /** Undefined: the labels before stay. */
  readonly labels: Labels | undefined;
  /** RFC 3339, with the zone that was posted. */
  readonly lastCheck: string;
  readonly lastCheckMs: number;
  readonly staleAfterMs: number | undefined;
  readonly commit: string | null;
  readonly pipelineUrl: string | null;
  /** Name → diff, for the files that came with one; at most 16 KiB each. Null when none did. */
  readonly diffs: Readonly<Record<string, string>> | null;
  /** Names of posted fields that are not part of the contract. */
  readonly ignored: readonly string[];
};

const ajv = new Ajv2020({ allErrors: true, verbose: true, strict: true, allowUnionTypes: true, formats: {} });
// read once, in parseReport
ajv.addFormat('date-time', true);
// for clients: no more than JavaScript counts exactly is taken
ajv.addFormat('int64', true);
ajv.addFormat(
  'uri',
  (text: string) => text === '' || (/^https?:\/\/[^\s\p{Cc}\p{Cs}]+$/iu.test(text) && URL.canParse(text)),
);
const isBody = ajv.compile<ReportBody>(reportSchema);

const KEY_PATTERN = new RegExp(KEY);
const PASSWORD = new RegExp(KEY_WITH_PASSWORD);
const BODY_FIELDS = new Set(Object.keys(reportSchema.properties));
const OPTIONAL_FIELDS = Object.keys(reportSchema.properties).filter(
  (name) => !reportSchema.required.some((required) => required === name),
);
const FILE_FIELDS = new Set(Object.keys(reportSchema.properties.files.items.properties));

/**
 * Parses the JSON value that a check posted.
 * @param now the service's clock, milliseconds
 * @throws {Refusal} `invalid`, with every broken rule
 */
export function parseReport(posted: unknown, now: number): Report {
  const value = withoutEmptyTexts(posted);
  const lastCheckMs =
    isRecord(value) && typeof value.last_check === 'string' ? parseTimestamp(value.last_check) : Number.NaN;
  const tooMany = tooManyFiles(value);
  // a list that is too long is refused for its length alone: validating its items would cost time and help nobody
  if (!isBody(tooMany ? { ...(value as object), files: [] } : value) || tooMany) {
    throw invalid([
      ...describeErrors(isBody.errors ?? []),
      ...(tooMany ? [tooMany] : []),
      ...crossRules(value, now, lastCheckMs),
    ]);
  }
  const body = value as ReportBody;
  const errors = crossRules(body, now, lastCheckMs);
  if (errors.length > 0) throw invalid(errors);
  const { stale_after_seconds: staleAfter } = body;
  return {
    repo: body.repo,
    server: body.server,
    syncStatus: body.sync_status,
    files: body.files.map((file) => file.name),
    truncatedCount: body.files_truncated === true ? body.drift_count : null,
    message: body.sync_status === 'UNKNOWN' ? presentText(body.message) : null,
    labels: body.labels === undefined || body.labels === null ? undefined : toLabels(body.labels),
    lastCheck: completeTimestamp(body.last_check),
    lastCheckMs,
    staleAfterMs: staleAfter === undefined || staleAfter === null ? undefined : staleAfter * 1000,
    commit: presentText(body.commit),
    pipelineUrl: presentText(body.pipeline_url),
    diffs: diffsOf(body),
    ignored: ignoredFields(body),
  };
}

/**
 * Finds the source that an invalid body names, so that the refusal can be shown with it. Returns only names that a source may have: they
 * go into the log, and nothing else from such a body may.
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

/** An optional field of any type counts as absent if it is an empty text: that is what scripts make of a variable that is not set. */
function withoutEmptyTexts(value: unknown): unknown {
  if (!isRecord(value)) return value;
  const empty = OPTIONAL_FIELDS.filter((name) => value[name] === '');
  return empty.length === 0 ? value : { ...value, ...Object.fromEntries(empty.map((name) => [name, null])) };
}

function invalid(errors: readonly ValidationError[]): Refusal {
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more, see errors)` : '';
  return new Refusal('invalid', `${first?.pointer || 'the body'} ${first?.detail}${more}`, { errors });
}

function tooManyFiles(value: unknown): ValidationError | undefined {
  if (!isRecord(value) || !Array.isArray(value.files) || value.files.length <= MAX_FILES) return undefined;
  return {
    pointer: '/files',
    detail: `must be ${reportSchema.properties.files.description}, but has ${value.files.length}`,
  };
}

/** Checks the rules across fields and against the clock. Each rule skips fields of the wrong type, which the schema reports. */
function crossRules(value: unknown, now: number, lastCheckMs: number): ValidationError[] {
  const errors: ValidationError[] = [];
  if (!isRecord(value)) return errors;
  const { sync_status: status, drift_count: count, files, files_truncated: isTruncated, last_check: lastCheck } = value;
  if (Array.isArray(files) && files.length <= MAX_FILES) {
    errors.push(...countRules(count, files.length, isTruncated === true));
    if ((status === 'SYNCED' || status === 'UNKNOWN') && files.length > 0) {
      errors.push({
        pointer: '/files',
        detail: `must be empty when sync_status is ${status}, but has ${files.length}`,
      });
    }
    if (status === 'OUT_OF_SYNC' && files.length === 0) {
      errors.push({ pointer: '/files', detail: 'must name at least one file when sync_status is OUT_OF_SYNC' });
    }
    if (files.length > 1) errors.push(...repeatedNames(files));
  }
  if (isTruncated === true && (status === 'SYNCED' || status === 'UNKNOWN')) {
    errors.push({ pointer: '/files_truncated', detail: `must not be true when sync_status is ${status}` });
  }
  const aheadMs = lastCheckMs - now;
  if (typeof lastCheck === 'string' && lacksZone(lastCheck)) {
    errors.push({
      pointer: '/last_check',
      detail: `must have a zone, but ${preview(lastCheck)} has none: in UTC add Z (date -u +%FT%TZ), else the offset, such as +02:00`,
    });
  } else if (typeof lastCheck === 'string' && Number.isNaN(lastCheckMs)) {
    errors.push({
      pointer: '/last_check',
      detail: `must be ${reportSchema.properties.last_check.description}, but is ${preview(lastCheck)}`,
    });
  } else if (aheadMs > MAX_AHEAD_MS) {
    errors.push({
      pointer: '/last_check',
      detail: `must be at most 5 minutes ahead of the clock here, but is ${Math.ceil(aheadMs / 1000)} seconds ahead: ${causeOf(aheadMs)}`,
    });
  }
  return errors;
}

function countRules(count: unknown, length: number, isTruncated: boolean): ValidationError[] {
  if (typeof count !== 'number' || !Number.isInteger(count) || count < 0) return [];
  if (isTruncated ? count > length : count === length) return [];
  const must = isTruncated
    ? `more than the length of files (${length}) with files_truncated`
    : `the length of files (${length})`;
  return [{ pointer: '/drift_count', detail: `must be ${must}, but is ${count}` }];
}

/** Zones differ by whole and half hours; clocks seldom do. */
function causeOf(aheadMs: number): string {
  const distance = Math.abs(aheadMs - Math.round(aheadMs / HALF_HOUR_MS) * HALF_HOUR_MS);
  return aheadMs > HALF_HOUR_MS / 2 && distance < MAX_AHEAD_MS
    ? 'this looks like local time with the zone of another place. Send UTC (date -u +%FT%TZ), or the zone that the time is in'
    : 'check the clock of the machine that ran the check';
}

/** An optional text that is null or empty counts as absent. */
function presentText(text: string | null | undefined): string | null {
  return text === undefined || text === '' ? null : text;
}

function repeatedNames(files: readonly unknown[]): ValidationError[] {
  const errors: ValidationError[] = [];
  const seen = new Map<unknown, number>();
  for (const [index, file] of files.entries()) {
    const name = isRecord(file) ? file.name : undefined;
    if (typeof name !== 'string') continue;
    const first = seen.get(name);
    if (first === undefined) seen.set(name, index);
    else errors.push({ pointer: `/files/${index}/name`, detail: `must not repeat the name of /files/${first}` });
  }
  return capped(errors, 'name repeats another');
}

function diffsOf(body: ReportBody): Record<string, string> | null {
  let diffs: Record<string, string> | null = null;
  for (const { name, diff } of body.files) {
    if (diff === undefined || diff === null || diff === '') continue;
    // without a prototype, so that a file may be called __proto__
    diffs ??= Object.create(null) as Record<string, string>;
    diffs[name] = cutDiff(diff);
  }
  return diffs;
}

/** Without a prototype, so that a label may be called __proto__. */
function toLabels(labels: Readonly<Record<string, unknown>>): Labels {
  return Object.assign(Object.create(null) as Record<string, string>, labels);
}

function ignoredFields(body: ReportBody): string[] {
  const ignored = new Set<string>();
  // they are said again in the receipt, which every client must be able to read
  for (const name in body) if (!BODY_FIELDS.has(name)) ignored.add(name.toWellFormed());
  if (body.sync_status !== 'UNKNOWN' && presentText(body.message) !== null) ignored.add('message');
  for (const file of body.files) {
    for (const name in file) if (!FILE_FIELDS.has(name)) ignored.add(`files[].${name.toWellFormed()}`);
  }
  return [...ignored].slice(0, MAX_IGNORED);
}

function isKey(value: unknown): value is string {
  return (
    typeof value === 'string' && value.length <= MAX_KEY_LENGTH && KEY_PATTERN.test(value) && !PASSWORD.test(value)
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
