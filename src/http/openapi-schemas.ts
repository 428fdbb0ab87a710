import { REFUSAL_REASONS } from '../core/refusal.ts';
import { reportSchema } from '../core/report-schema.ts';

export const string = { type: 'string' };
const integer = { type: 'integer', minimum: 0 };
const timestamp = { type: 'string', format: 'date-time' };
const nullable = (schema: { type: string }) => ({ ...schema, type: [schema.type, 'null'] });
const strings = { type: 'array', items: string };
const names = { type: 'array', items: object({ name: string }) };
const verdict = { type: 'string', enum: ['SYNCED', 'OUT_OF_SYNC', 'UNKNOWN', 'STALE'] };
const syncStatus = { type: 'string', enum: ['SYNCED', 'OUT_OF_SYNC', 'UNKNOWN'] };

/** All properties are required and no others are allowed: the service sends exactly these. */
function object(properties: Record<string, object>, description?: string) {
  return {
    type: 'object',
    ...(description === undefined ? {} : { description }),
    required: Object.keys(properties),
    properties,
    additionalProperties: false,
  };
}

const sourceFields = {
  repo: string,
  server: string,
  sync_status: syncStatus,
  drift_count: integer,
  last_check: { ...timestamp, description: 'As posted, completed to RFC 3339.' },
  last_check_ms: { type: 'integer', format: 'int64', description: 'last_check in epoch milliseconds.' },
  files_truncated: {
    type: 'boolean',
    description: 'More files differ than files names; drift_count is their true number.',
  },
  commit: nullable(string),
  pipeline_url: nullable(string),
  verdict,
  out_of_sync: { type: 'integer', enum: [0, 1], description: '0 only when SYNCED and not stale.' },
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

/** `components.schemas`: the bodies of requests and answers. */
export const schemas = {
  Report: reportSchema,
  Receipt: object({
    repo: string,
    server: string,
    result: {
      type: 'string',
      enum: ['created', 'changed', 'unchanged', 'superseded'],
      description: 'superseded: a report with a newer last_check is kept, and nothing was stored.',
    },
    verdict,
    previous_status: { type: ['string', 'null'], enum: ['SYNCED', 'OUT_OF_SYNC', 'UNKNOWN', null] },
    drift_count: integer,
    opened: { ...strings, description: 'Files that differ since this report.' },
    closed: { ...strings, description: 'Files that no longer differ since this report.' },
    status_since: timestamp,
    stale_at: { ...timestamp, description: 'Without another report the source is STALE from then on.' },
    ignored: { ...strings, description: 'Posted fields that are not part of the contract.' },
  }),
  Source: object({ ...sourceFields, files: { ...names, description: 'Files that differ.' } }),
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
  File: object({
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
  Summary: object({
    sources: integer,
    synced: integer,
    out_of_sync: integer,
    unknown: integer,
    stale: integer,
    drift_count: integer,
    repos: integer,
    servers: integer,
    oldest_drift_since: nullable(timestamp),
    generated_at: timestamp,
  }),
  Change: object({
    time: timestamp,
    time_ms: integer,
    repo: string,
    server: string,
    source: { type: 'string', description: 'repo/server' },
    verdict: {
      type: ['string', 'null'],
      enum: [...verdict.enum, null],
      description: 'null: the source does not exist from then on.',
    },
    state: {
      type: ['integer', 'null'],
      enum: [0, 1, 2, 3, null],
      description: '0 SYNCED, 1 OUT_OF_SYNC, 2 STALE, 3 UNKNOWN, null: the source does not exist from then on.',
    },
    drift_count: integer,
  }),
  Drift: object({
    repo: string,
    server: string,
    name: string,
    opened_at: timestamp,
    closed_at: nullable(timestamp),
    duration_seconds: { type: 'number', minimum: 0, description: 'Until now while it is open.' },
    time: { ...integer, description: 'opened_at in epoch milliseconds, as Grafana annotations want it.' },
    timeEnd: { ...integer, description: 'closed_at in epoch milliseconds; now while it is open.' },
    text: string,
    tags: { type: 'string', description: 'repo,server' },
  }),
  Deleted: object({ deleted: integer }),
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
    additionalProperties: false,
  },
  Problem: {
    type: 'object',
    description: 'RFC 9457.',
    required: ['type', 'title', 'status', 'reason', 'detail', 'request_id'],
    properties: {
      type: string,
      title: string,
      status: { type: 'integer' },
      reason: {
        type: 'string',
        enum: REFUSAL_REASONS,
        description: 'For programs: title and detail may be put into other words one day.',
      },
      detail: string,
      request_id: string,
      stored: {
        enum: [false, 'unknown'],
        description: 'With 503 to a report: false, it is not stored and never will be; unknown, it may still be.',
      },
      errors: {
        type: 'array',
        description: 'With 422: every broken rule, with a JSON Pointer (RFC 6901) into the body.',
        items: object({ pointer: string, detail: string }),
      },
    },
  },
};
