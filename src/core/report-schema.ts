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
const key = {
  type: 'string',
  minLength: 1,
  maxLength: MAX_KEY_LENGTH,
  pattern: KEY,
  not: { type: 'string', pattern: KEY_WITH_PASSWORD },
  description: '1 to 200 characters of A-Z a-z 0-9 . _ : / @ - that begin with a letter or digit, without a password',
} as const;

/**
 * The body of `POST /api/status`. This schema validates the body, defines {@link ReportBody} and is part of `/openapi.json`.
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
            type: ['string', 'null'],
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
