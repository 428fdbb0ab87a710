import type { FromSchema } from 'json-schema-to-ts';

/** The most files that one report may name. */
export const MAX_FILES = 10_000;

export const MAX_KEY_LENGTH = 200;
/** The names that a repo and a server may have. They are safe in labels, URLs, comma lists and badges. */
export const KEY = '^[A-Za-z0-9][A-Za-z0-9._:/@-]*$';
/**
 * `user:secret@`, as in a URL. Such a name is refused: everybody who reads would see the password. No part of it can match in two ways:
 * patterns are tried on texts of any length, and the time must not grow with the square of that.
 */
export const KEY_WITH_PASSWORD = '(?:^|[/@])[^/@:]*:[^/@]*@';
/** As clients read URLs: the host may stand behind any number of slashes, in either direction. */
const URL_WITH_PASSWORD = String.raw`^[A-Za-z][A-Za-z0-9+.-]*:[/\\]*(?:[^/\\?#:][^/?#:]*)?:[^/?#]*@`;
/** The most labels that one source may have. */
const MAX_LABELS = 16;
const MAX_MESSAGE_LENGTH = 2000;
/** What JavaScript counts exactly, and so do all who read the answers. */
const MAX_DRIFT_COUNT = Number.MAX_SAFE_INTEGER;
/** The names that a label may have: those of Prometheus. */
export const LABEL_NAME = '^[a-zA-Z_][a-zA-Z0-9_]{0,62}$';
/** Half a character has no UTF-8, and would come back as another one. */
export const WELL_FORMED = String.raw`^\P{Cs}*$`;
const key = {
  type: 'string',
  minLength: 1,
  maxLength: MAX_KEY_LENGTH,
  pattern: KEY,
  not: { type: 'string', pattern: KEY_WITH_PASSWORD },
  description: '1 to 200 characters of A-Z a-z 0-9 . _ : / @ - that begin with a letter or digit, without a password',
} as const;

/**
 * The body of `POST /api/status`. This schema validates the body and defines {@link ReportBody}; `http/openapi-report.ts` publishes it.
 * Each description completes the sentence "must be …", which a 422 shows. Rules across fields are in `report.ts`.
 * An optional field counts as absent if it is null or an empty text.
 */
export const reportSchema = {
  type: 'object',
  description: 'a JSON object: what one check of one server against one repo found',
  required: ['repo', 'server', 'sync_status', 'drift_count', 'files', 'last_check'],
  properties: {
    repo: key,
    server: key,
    sync_status: {
      type: 'string',
      enum: ['SYNCED', 'OUT_OF_SYNC', 'UNKNOWN'],
      description: 'SYNCED, OUT_OF_SYNC, or UNKNOWN (the check ran and could not tell)',
    },
    drift_count: {
      type: 'integer',
      format: 'int64',
      minimum: 0,
      maximum: MAX_DRIFT_COUNT,
      description: 'a whole number, the length of files; more with files_truncated',
    },
    files: {
      type: 'array',
      maxItems: MAX_FILES,
      description:
        'a list of at most 10,000 objects, one for each file that differs; empty exactly when SYNCED or UNKNOWN',
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
            type: ['string', 'null'],
            pattern: WELL_FORMED,
            description:
              'text without half characters (lone surrogates); beyond 16 KiB it is cut at a line and marked as cut',
          },
        },
      },
    },
    files_truncated: {
      type: ['boolean', 'null'],
      description: 'true where more files differ than files names, with OUT_OF_SYNC only; else false',
    },
    last_check: {
      type: 'string',
      format: 'date-time',
      maxLength: 64,
      description:
        'an ISO 8601 / RFC 3339 time with a zone, such as 2026-04-21T10:32:15Z, at most 5 minutes ahead of the clock here',
    },
    message: {
      type: ['string', 'null'],
      maxLength: MAX_MESSAGE_LENGTH,
      pattern: String.raw`^(?:[^\p{Cc}\p{Cs}]|[\t\r\n])*$`,
      description:
        'why the check could not tell: 1 to 2,000 characters without control characters but line breaks and tabs',
    },
    labels: {
      type: ['object', 'null'],
      maxProperties: MAX_LABELS,
      propertyNames: { type: 'string', pattern: LABEL_NAME },
      additionalProperties: {
        type: 'string',
        minLength: 1,
        maxLength: 200,
        pattern: String.raw`^[^\p{Cc}\p{Cs},]*$`,
        description: '1 to 200 characters without commas and control characters',
      },
      description:
        'an object of at most 16 labels of the source, such as {"team": "web"}; names are of A-Z a-z 0-9 _, at most 63, and begin with no digit',
    },
    stale_after_seconds: {
      type: ['integer', 'null'],
      minimum: 1,
      maximum: 31_536_000,
      description: 'a whole number from 1 to 31,536,000: the source is STALE so long after last_check',
    },
    commit: {
      type: ['string', 'null'],
      pattern: '^[0-9A-Za-z._/-]{0,64}$',
      description: 'a Git revision: 1 to 64 characters of 0-9 A-Z a-z . _ / -',
    },
    pipeline_url: {
      type: ['string', 'null'],
      format: 'uri',
      maxLength: 2048,
      not: { type: 'string', pattern: URL_WITH_PASSWORD },
      description: 'an http or https URL of at most 2,048 characters, without a password',
    },
  },
} as const;

/** A body that matches the schema. The rules across fields are still to be checked. */
export type ReportBody = FromSchema<typeof reportSchema>;
