import { VERDICTS } from '../core/ledger.ts';
import { REFUSAL_REASONS } from '../core/refusal.ts';
import { reportSchema } from '../core/report-schema.ts';
import { list, ref } from './openapi-answers.ts';
import { eventSchemas } from './openapi-events.ts';
import { publishedReport } from './openapi-report.ts';
import { integer, nullable, object, string, timestamp } from './openapi-types.ts';

const strings = { type: 'array', items: string };
const names = { type: 'array', items: object({ name: string }) };
const verdict = ref('Verdict');
/** Epoch milliseconds, or a number of files: more than 32 bits hold. */
const long = { type: 'integer', format: 'int64' };
const driftCount = { ...long, minimum: 0 };
/** One type with null beside it: an enum that names null becomes two in some languages. */
const orNull = (schema: object, description: string) => ({ oneOf: [schema, { type: 'null' }], description });

const sourceFields = {
  repo: string,
  server: string,
  sync_status: ref('SyncStatus'),
  drift_count: driftCount,
  last_check: { ...timestamp, description: 'As posted, completed to RFC 3339.' },
  last_check_ms: { ...long, description: 'last_check in epoch milliseconds.' },
  files_truncated: {
    type: 'boolean',
    description: 'More files differ than files names; drift_count is their true number.',
  },
  commit: nullable(string),
  pipeline_url: nullable(string),
  verdict,
  out_of_sync: { type: 'integer', minimum: 0, maximum: 1, description: '0 only when SYNCED and not stale.' },
  stale: { type: 'boolean' },
  status_since: { ...timestamp, description: 'Since when it has the status that was last told.' },
  unknown_since: { ...nullable(timestamp), description: 'Since when the check cannot tell; null while it can.' },
  message: { ...nullable(string), description: 'Why the check cannot tell.' },
  received_at: timestamp,
  stale_at: timestamp,
  last_rejected_at: {
    ...nullable(timestamp),
    description: 'When a report was last refused, from who may report for the source; null once one is accepted.',
  },
  reported_by: {
    ...nullable(string),
    description: 'The name of the token that the newest report came with.',
  },
  labels: { type: 'object', additionalProperties: string, description: 'As last posted: name and value.' },
  files_text: { type: 'string', description: 'The names, joined by ", ".' },
};

const receiptFields = {
  repo: string,
  server: string,
  result: ref('ReportResult'),
  verdict,
  previous_status: orNull(ref('SyncStatus'), 'What the report before said; null at the first one.'),
  drift_count: driftCount,
  opened: { ...strings, description: 'Files that differ since this report.' },
  closed: { ...strings, description: 'Files that no longer differ since this report.' },
  status_since: timestamp,
  stale_at: { ...timestamp, description: 'Without another report the source is STALE from then on.' },
  ignored: { ...strings, description: 'Posted fields that are not part of the contract.' },
};

const brokenRules = {
  type: 'array',
  description: 'With 422: every broken rule, with a JSON Pointer (RFC 6901) into the body.',
  items: ref('BrokenRule'),
};
const requiredProblemFields = {
  type: string,
  title: string,
  status: { type: 'integer' },
  reason: ref('RefusalReason'),
  detail: string,
  request_id: string,
};
const problemFields = {
  ...requiredProblemFields,
  stored: {
    oneOf: [{ type: 'boolean' }, { type: 'string' }],
    description: 'With 503 to a report: false, it is not stored and never will be; unknown, it may still be.',
  },
  errors: brokenRules,
};

/** `components.schemas`: the bodies of requests and answers. */
export const schemas = {
  Report: publishedReport,
  ReportList: { ...list('Report'), minItems: 1, maxItems: 1000 },
  // unions have names: Go loses the methods of those without
  ReportOrList: { oneOf: [ref('Report'), ref('ReportList')] },
  SyncStatus: { type: 'string', enum: reportSchema.properties.sync_status.enum, description: 'What a report said.' },
  Verdict: { type: 'string', enum: VERDICTS, description: 'What the service concludes now.' },
  ReportResult: {
    type: 'string',
    enum: ['created', 'changed', 'unchanged', 'superseded'],
    description: 'superseded: a report with a newer last_check is kept, and nothing was stored.',
  },
  Receipt: object(receiptFields),
  ReceiptOrResults: { oneOf: [ref('Receipt'), ref('ReportResults')] },
  ReportResults: object({ results: { type: 'array', items: ref('ReportOutcome') } }, 'The answer to an array.'),
  ReportOutcome: {
    type: 'object',
    description: 'What became of one report of an array: status beside the members of its Receipt or of its Problem.',
    required: ['status'],
    properties: { ...receiptFields, ...problemFields },
  },
  SourceRow: object({ ...sourceFields, files: { ...names, description: 'Files that differ.' } }),
  SourceDetail: object({
    ...sourceFields,
    first_seen: timestamp,
    files: {
      type: 'array',
      items: object({
        name: string,
        since: timestamp,
        times_drifted: { type: 'integer', minimum: 1, description: 'Drifts of this file so far, this one included.' },
        diff: nullable(string),
      }),
    },
    drifts: {
      type: 'array',
      description: 'Open drifts, then the newest closed ones.',
      items: object({
        name: string,
        opened_at: timestamp,
        closed_at: nullable(timestamp),
        duration_seconds: { type: 'number', minimum: 0 },
      }),
    },
  }),
  DriftedFile: object({
    repo: string,
    server: string,
    name: string,
    since: timestamp,
    last_check: timestamp,
    times_drifted: { type: 'integer', minimum: 1, description: 'Drifts of this file here so far, this one included.' },
    servers_drifted: { type: 'integer', minimum: 1, description: 'On how many servers of the repo it differs now.' },
    servers: { type: 'integer', minimum: 1, description: 'How many servers the repo has.' },
    commit: nullable(string),
    pipeline_url: nullable(string),
  }),
  Tally: object(
    { name: string, sources: integer, out_of_sync: integer, unknown: integer, stale: integer },
    'A repo or a server, and how many sources it has in all and with each of these verdicts.',
  ),
  Summary: object({
    sources: integer,
    synced: integer,
    out_of_sync: integer,
    unknown: integer,
    stale: integer,
    drift_count: driftCount,
    repos: integer,
    servers: integer,
    oldest_drift_since: nullable(timestamp),
    generated_at: timestamp,
  }),
  StateChange: object({
    time: timestamp,
    time_ms: long,
    repo: string,
    server: string,
    source: { type: 'string', description: 'repo/server' },
    verdict: orNull(verdict, 'null: the source does not exist from then on.'),
    state: {
      type: ['integer', 'null'],
      minimum: 0,
      maximum: 3,
      description: '0 SYNCED, 1 OUT_OF_SYNC, 2 STALE, 3 UNKNOWN, null: the source does not exist from then on.',
    },
    drift_count: driftCount,
  }),
  Drift: object({
    repo: string,
    server: string,
    name: string,
    opened_at: timestamp,
    closed_at: nullable(timestamp),
    duration_seconds: { type: 'number', minimum: 0, description: 'Until now while it is open.' },
    time: { ...long, description: 'opened_at in epoch milliseconds, as Grafana annotations want it.' },
    timeEnd: { ...long, description: 'closed_at in epoch milliseconds; now while it is open.' },
    text: string,
    tags: { type: 'string', description: 'repo,server' },
  }),
  DeletionResult: object({ deleted: integer }),
  Health: {
    type: 'object',
    required: ['status'],
    properties: {
      status: string,
      warnings: {
        ...strings,
        description: 'What an operator should know, such as that more is stored than fits into memory.',
      },
    },
  },
  ...eventSchemas,
  RefusalReason: {
    type: 'string',
    enum: REFUSAL_REASONS,
    description: 'For programs: title and detail may be put into other words one day.',
  },
  BrokenRule: object({ pointer: string, detail: string }),
  Problem: {
    type: 'object',
    description: 'RFC 9457.',
    required: Object.keys(requiredProblemFields),
    properties: {
      ...problemFields,
      results: {
        type: 'array',
        description: 'With an array of reports: what became of each, in order.',
        items: ref('ReportOutcome'),
      },
    },
  },
};
