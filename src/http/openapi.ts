import { schemas, string } from './openapi-schemas.ts';
import type { Scope } from '../access/tokens.ts';

const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
});
const json = (description: string, schema: object, example?: unknown) => ({
  description,
  content: { 'application/json': { schema, ...(example === undefined ? {} : { example }) } },
});
const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const list = (name: string) => ({ type: 'array', items: ref(name) });
const filter = (name: string, what: string) => ({
  name,
  in: 'query',
  description: `${what}: a comma list, a repeated key, {a,b} or (a|b); empty, * and \${…} mean all.`,
  schema: string,
});
const filters = [filter('repo', 'Repos'), filter('server', 'Servers'), filter('verdict', 'Verdicts')];
const badFilter = problem('A name that is not known here, or a verdict that is none: the detail names what there is.');
const time = (name: string, fallback: string) => ({
  name,
  in: 'query',
  description: `Epoch milliseconds or ISO 8601 with a zone; ${fallback} unless given.`,
  schema: string,
});
const rangeParameters = [
  ...filters,
  time('from', '24 hours before `to`'),
  time('to', 'now'),
  {
    name: 'limit',
    in: 'query',
    description: 'At most so many rows, the newest.',
    schema: { type: 'integer', minimum: 1, maximum: 100_000, default: 10_000 },
  },
];
const cutHeader = {
  'X-Truncated': {
    description:
      'true where rows were left out: older ones, whole sources (history), or those of sources that are not whole in memory.',
    schema: { type: 'string', enum: ['true'] },
  },
};
const pathParameters = ['repo', 'server'].map((name) => ({
  name,
  in: 'path',
  required: true,
  description: 'Percent-encoded: acme%2Fweb.',
  schema: string,
}));
const queryParameters = [
  ['repo', 'acme/web'],
  ['server', 'web-1'],
].map(([name, example]) => ({
  name,
  in: 'query',
  required: true,
  description: 'A name, no filter: once, and without lists or *.',
  schema: string,
  example,
}));

const exampleReport = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  sync_status: 'OUT_OF_SYNC',
  drift_count: 2,
  files: [{ name: 'rsyslog.conf' }, { name: 'rsyslog.d/30-lab.conf' }],
  last_check: '2026-04-21T10:32:15Z',
};
const exampleReceipt = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  result: 'created',
  verdict: 'OUT_OF_SYNC',
  previous_status: null,
  drift_count: 2,
  opened: ['rsyslog.conf', 'rsyslog.d/30-lab.conf'],
  closed: [],
  status_since: '2026-04-21T10:32:16.204Z',
  stale_at: '2026-04-21T10:42:15.000Z',
  ignored: [],
};
const exampleSource = {
  ...exampleReport,
  files_truncated: false,
  commit: null,
  pipeline_url: null,
  verdict: 'OUT_OF_SYNC',
  out_of_sync: 1,
  stale: false,
  last_check_ms: 1_776_767_535_000,
  status_since: '2026-04-21T10:32:16.204Z',
  unknown_since: null,
  message: null,
  received_at: '2026-04-21T10:32:16.204Z',
  stale_at: '2026-04-21T10:42:15.000Z',
  last_rejected_at: null,
  reported_by: 'woodpecker',
  labels: { team: 'web' },
  files_text: 'rsyslog.conf, rsyslog.d/30-lab.conf',
};

/** An operation that needs a token with `scope` when access control is on. */
function guarded<T extends { readonly responses: object }>(scope: Scope, operation: T) {
  const responses = {
    ...operation.responses,
    401: problem('No token, one that is not known, or one that has expired. Only when access control is on.'),
    403: problem('The token is for other things. Only when access control is on.'),
  };
  return { ...operation, security: [{ bearer: [scope] }, {}], responses };
}

const notModified = { description: 'As the If-None-Match says.' };
const ifMatch = {
  name: 'If-Match',
  in: 'header',
  description: 'The ETag of the source as it was read: forgets it only while that is the same.',
  schema: { type: 'string' },
};
const unavailable = problem('Not stored: the store cannot write now. See Retry-After.');

const exampleFile = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  name: 'rsyslog.conf',
  since: '2026-04-21T10:32:16.204Z',
  last_check: '2026-04-21T10:32:15Z',
  times_drifted: 1,
  servers_drifted: 1,
  servers: 3,
  commit: null,
  pipeline_url: null,
};
const exampleSummary = {
  sources: 3,
  synced: 1,
  out_of_sync: 1,
  unknown: 0,
  stale: 1,
  drift_count: 2,
  repos: 1,
  servers: 3,
  oldest_drift_since: '2026-04-21T10:32:16.204Z',
  generated_at: '2026-04-21T10:34:00.000Z',
};
const exampleChange = {
  time: '2026-04-21T10:32:16.204Z',
  time_ms: 1_776_767_536_204,
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  source: 'rsyslog/rsyslog-lab',
  verdict: 'OUT_OF_SYNC',
  state: 1,
  drift_count: 2,
};
const exampleDrift = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  name: 'rsyslog.conf',
  opened_at: '2026-04-21T10:32:16.204Z',
  closed_at: '2026-04-21T10:42:16.204Z',
  duration_seconds: 600,
  time: 1_776_767_536_204,
  timeEnd: 1_776_768_136_204,
  text: 'rsyslog.conf differs on rsyslog-lab (rsyslog)',
  tags: 'rsyslog,rsyslog-lab',
};
const { files: exampleFiles, ...exampleFields } = exampleSource;
const exampleDetail = {
  ...exampleFields,
  first_seen: '2026-04-21T10:32:16.204Z',
  files: exampleFiles.map(({ name }) => ({ name, since: '2026-04-21T10:32:16.204Z', times_drifted: 1, diff: null })),
  drifts: [{ name: 'rsyslog.conf', opened_at: '2026-04-21T10:32:16.204Z', closed_at: null, duration_seconds: 104 }],
};

const paths = {
  '/api/status': {
    post: guarded('report', {
      summary: 'Report what a check found',
      description: 'Any 2xx means: it is on disk, and the next read shows it.',
      requestBody: {
        required: true,
        content: { 'application/json': { schema: ref('Report'), example: exampleReport } },
      },
      responses: {
        200: json('The source was known.', ref('Receipt'), { ...exampleReceipt, result: 'unchanged', opened: [] }),
        201: json('First report of the source.', ref('Receipt'), exampleReceipt),
        400: problem('Not JSON.'),
        413: problem('Larger than MAX_BODY_BYTES.'),
        415: problem('Not application/json.'),
        422: problem('JSON, but rules are broken: each is in errors.'),
        429: problem('It would add something beyond a limit, of the service or of its token; everything else goes on.'),
        503: unavailable,
      },
    }),
    get: guarded('read', {
      summary: 'One source in full, named by the query',
      description: 'As /api/status/{repo}/{server}, for clients behind a proxy that decodes %2F in paths.',
      parameters: queryParameters,
      responses: {
        200: json('The source.', ref('SourceDetail'), exampleDetail),
        304: { description: 'As the If-None-Match says: the same but for durations of open drifts.' },
        400: problem('Not one repo and one server: missing, repeated, a list or a pattern.'),
        404: problem('Unknown source.'),
      },
    }),
    delete: guarded('delete', {
      summary: 'Forget all sources that match',
      description: 'With a token that is limited to repos or servers: all of those that match.',
      parameters: [
        ...filters,
        {
          name: 'dry_run',
          in: 'query',
          description: 'true: only count.',
          schema: { type: 'string', enum: ['true', 'false'] },
        },
      ],
      responses: {
        200: json('How many.', ref('Deleted'), { deleted: 3 }),
        400: problem(
          'No filter, one that is empty or holds `${`, a name that is not known here, a verdict that is none, or an If-Match.',
        ),
        503: unavailable,
      },
    }),
  },
  '/api/status/{repo}/{server}': {
    parameters: pathParameters,
    get: guarded('read', {
      summary: 'One source in full, with diffs and its last drifts',
      responses: {
        200: json('The source.', ref('SourceDetail'), exampleDetail),
        304: { description: 'As the If-None-Match says: the same but for durations of open drifts.' },
        404: problem('Unknown source.'),
      },
    }),
    delete: guarded('delete', {
      summary: 'Forget a source; its history stays until HISTORY_RETENTION',
      parameters: [ifMatch],
      responses: {
        204: { description: 'Forgotten.' },
        404: problem('Unknown source.'),
        412: problem('The If-Match does not hold: the source has changed since it was read.'),
        503: unavailable,
      },
    }),
  },
  '/status.json': {
    get: guarded('read', {
      summary: 'All sources, one flat object each',
      parameters: filters,
      responses: {
        200: json('Sorted by repo, then server.', list('Source'), [exampleSource]),
        304: notModified,
        400: badFilter,
      },
    }),
  },
  '/files.json': {
    get: guarded('read', {
      summary: 'All files that differ now, one flat object each',
      parameters: filters,
      responses: {
        200: { ...json('Sorted by repo, server, name.', list('File'), [exampleFile]), headers: cutHeader },
        304: { description: 'As the If-None-Match says.' },
        400: badFilter,
      },
    }),
  },
  '/summary.json': {
    get: guarded('read', {
      summary: 'Numbers for headlines',
      parameters: filters,
      responses: {
        200: json('Never null, never empty.', ref('Summary'), exampleSummary),
        304: { description: 'As the If-None-Match says: the same but for generated_at.' },
        400: badFilter,
      },
    }),
  },
  '/history.json': {
    get: guarded('read', {
      summary: 'What the sources were, as changes of state',
      description:
        'Per source a row at `from` with what it was then, one per change, and one at the end (`to` or now, whichever comes first). At its removal a row with `state` and `verdict` null and drift_count 0: it does not exist from then on, until a row says that it is back. Where it is back in the same millisecond there is no such row. `limit` counts rows and cuts by whole sources: those that changed last stay. If one source alone has more, its newest rows stay. Nothing is shown of what lies further back than HISTORY_RETENTION. verdict selects sources by what they are now.',
      parameters: rangeParameters,
      responses: {
        200: { ...json('Ascending in time.', list('Change'), [exampleChange]), headers: cutHeader },
        304: { description: 'As the If-None-Match says.' },
        400: problem('A range or limit that makes no sense, a name that is not known here, or a verdict that is none.'),
      },
    }),
  },
  '/drifts.json': {
    get: guarded('read', {
      summary: 'Drifts that overlap a range of time',
      parameters: rangeParameters,
      responses: {
        200: { ...json('Sorted by repo, server, name, beginning.', list('Drift'), [exampleDrift]), headers: cutHeader },
        304: { description: 'As the If-None-Match says.' },
        400: problem('A range or limit that makes no sense, a name that is not known here, or a verdict that is none.'),
      },
    }),
  },
  '/api/events': {
    get: guarded('read', {
      summary: 'Changes as they happen',
      description:
        'Server-sent events: `change` per report that created or changed a source, with its receipt. After a break, Last-Event-ID resumes among the last 1,000 (fewer where they are long); where that does not reach, an event `reset` says to read everything anew.',
      parameters: [
        { name: 'Last-Event-ID', in: 'header', description: 'The id of the last event seen.', schema: string },
      ],
      responses: {
        200: { description: 'A stream that stays open.', content: { 'text/event-stream': { schema: string } } },
        503: problem('Too many listeners, or the service is stopping.'),
      },
    }),
  },
  '/metrics': {
    get: guarded('read', {
      summary: 'Metrics for Prometheus',
      description: 'With a filter only the series of the sources and repos that match, without those of the process.',
      parameters: filters,
      responses: {
        200: { description: 'Text format 0.0.4.', content: { 'text/plain': { schema: string } } },
        400: badFilter,
      },
    }),
  },
  '/healthz': {
    get: {
      summary: 'Whether the process serves',
      responses: { 200: json('It does.', ref('Health'), { status: 'ok' }) },
    },
  },
  '/readyz': {
    get: {
      summary: 'Whether a report would be stored now',
      responses: {
        200: json('It would.', ref('Health'), { status: 'ready' }),
        503: problem('It would not; detail says why.'),
      },
    },
  },
  '/openapi.json': {
    get: { summary: 'This document', responses: { 200: json('OpenAPI 3.1.', { type: 'object' }), 304: notModified } },
  },
};

/** The OpenAPI 3.1 document as JSON text. */
export function renderOpenApi(version: string, publicUrl: string | undefined): string {
  return JSON.stringify({
    openapi: '3.1.0',
    info: {
      title: 'gitops-status-server',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description:
        'Whether what CI configured on servers still equals Git. Beside the answers that are named, any request may be refused because of its form (400, 404, 405, 408, 431) or because the service has too much to do (503 with Retry-After, reason `overloaded`); a query of the past that takes too long is 503 `query_timeout`.',
    },
    servers: [{ url: publicUrl ?? '/' }],
    paths,
    components: {
      schemas,
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'Where the service has a TOKENS_FILE: a token with the scope that the operation names.',
        },
      },
    },
  });
}
