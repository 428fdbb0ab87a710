import {
  badFilter,
  cutHeader,
  guarded,
  json,
  list,
  notModified,
  open,
  problem,
  ref,
  unavailable,
} from './openapi-answers.ts';
import * as examples from './openapi-examples.ts';
import { historyPaths } from './openapi-history.ts';
import {
  deletionParameters,
  filterParameters,
  ifMatchParameter,
  nameParameters,
  pathParameters,
} from './openapi-parameters.ts';

const SAME_DETAIL = { description: 'As the If-None-Match says: the same but for durations of open drifts.' };

const reports = {
  post: guarded('report', {
    operationId: 'postReport',
    tags: ['reports'],
    summary: 'Report what a check found, or what many found',
    description:
      'Any 2xx means: it is on disk, and the next read shows it. Each report of an array is judged on its own, in order. Where one is refused, the answer is a problem with the highest status among them; results has what became of each.',
    requestBody: {
      required: true,
      content: {
        'application/json': {
          schema: ref('ReportOrList'),
          example: examples.report,
        },
      },
    },
    responses: {
      200: json(
        'The source was known; or an array, and all of it was accepted.',
        ref('ReceiptOrResults'),
        examples.laterReceipt,
      ),
      201: json('First report of the source.', ref('Receipt'), examples.receipt),
      400: problem('Not JSON.'),
      413: problem('Larger than MAX_BODY_BYTES; an array: than eight times that.'),
      415: problem('Not application/json.'),
      422: problem('JSON, but rules are broken: each is in errors.'),
      429: problem('It would add something beyond a limit, of the service or of its token; everything else goes on.'),
      503: unavailable,
    },
  }),
};

const removals = {
  delete: guarded('delete', {
    operationId: 'deleteSources',
    tags: ['sources'],
    summary: 'Forget all sources that match',
    description: 'With a token that is limited to repos or servers: all of those that match.',
    parameters: deletionParameters,
    responses: {
      200: json('How many.', ref('DeletionResult'), { deleted: 3 }),
      400: problem(
        'No filter, one that is empty or holds `${`, a name that is not known here, a verdict that is none, or an If-Match.',
      ),
      503: unavailable,
    },
  }),
};

const oneSource = {
  parameters: pathParameters,
  get: guarded('read', {
    operationId: 'getSource',
    tags: ['sources'],
    summary: 'One source in full, with diffs and its last drifts',
    responses: {
      200: json('The source.', ref('SourceDetail'), examples.sourceDetail),
      304: SAME_DETAIL,
      404: problem('Unknown source.'),
    },
  }),
  delete: guarded('delete', {
    operationId: 'deleteSource',
    tags: ['sources'],
    summary: 'Forget a source; its history stays until HISTORY_RETENTION',
    parameters: [ifMatchParameter],
    responses: {
      204: { description: 'Forgotten.' },
      404: problem('Unknown source.'),
      412: problem('The If-Match does not hold: the source has changed since it was read.'),
      503: unavailable,
    },
  }),
};

const oneSourceByQuery = {
  get: guarded('read', {
    operationId: 'getSourceByQuery',
    tags: ['sources'],
    summary: 'One source in full, named by the query',
    description: 'As /api/status/{repo_name}/{server_name}, for clients behind a proxy that decodes %2F in paths.',
    parameters: nameParameters,
    responses: {
      200: json('The source.', ref('SourceDetail'), examples.sourceDetail),
      304: SAME_DETAIL,
      400: problem('Not one repo and one server: missing, repeated, a list or a pattern.'),
      404: problem('Unknown source.'),
    },
  }),
};

const lists = {
  '/status.json': {
    get: guarded('read', {
      operationId: 'listSources',
      tags: ['sources'],
      summary: 'All sources, one flat object each',
      parameters: filterParameters,
      responses: {
        200: json('Sorted by repo, then server.', list('SourceRow'), [examples.source]),
        304: notModified,
        400: badFilter,
      },
    }),
  },
  '/files.json': {
    get: guarded('read', {
      operationId: 'listDriftedFiles',
      tags: ['sources'],
      summary: 'All files that differ now, one flat object each',
      parameters: filterParameters,
      responses: {
        200: {
          ...json('Sorted by repo, server, name.', list('DriftedFile'), [examples.driftedFile]),
          headers: cutHeader,
        },
        304: notModified,
        400: badFilter,
      },
    }),
  },
  '/repos.json': tallies('listRepos', 'repos'),
  '/servers.json': tallies('listServers', 'servers'),
  '/summary.json': {
    get: guarded('read', {
      operationId: 'getSummary',
      tags: ['sources'],
      summary: 'Numbers for headlines',
      parameters: filterParameters,
      responses: {
        200: json('Never null, never empty.', ref('Summary'), examples.summary),
        304: { description: 'As the If-None-Match says: the same but for generated_at.' },
        400: badFilter,
      },
    }),
  },
};

const operations = {
  '/metrics': {
    get: guarded('read', {
      operationId: 'getMetrics',
      tags: ['operations'],
      summary: 'Metrics for Prometheus',
      description: 'With a filter only the series of the sources and repos that match, without those of the process.',
      parameters: filterParameters,
      responses: {
        200: { description: 'Text format 0.0.4.', content: { 'text/plain': { schema: { type: 'string' } } } },
        400: badFilter,
      },
    }),
  },
  '/healthz': {
    get: open({
      operationId: 'getHealth',
      tags: ['operations'],
      summary: 'Whether the process serves',
      responses: { 200: json('It does.', ref('Health'), { status: 'ok' }) },
    }),
  },
  '/readyz': {
    get: open({
      operationId: 'getReadiness',
      tags: ['operations'],
      summary: 'Whether a report would be stored now',
      responses: {
        200: json('It would.', ref('Health'), { status: 'ready' }),
        503: problem('It would not; detail says why.'),
      },
    }),
  },
  '/openapi.json': {
    get: open({
      operationId: 'getOpenApi',
      tags: ['operations'],
      summary: 'This document',
      responses: { 200: json('OpenAPI 3.1.', { type: 'object' }), 304: notModified },
    }),
  },
};

/** Every route that programs use. */
export const paths = {
  '/api/status': { ...reports, ...oneSourceByQuery, ...removals },
  '/api/status/{repo_name}/{server_name}': oneSource,
  ...lists,
  ...historyPaths,
  ...operations,
};

function tallies(operationId: string, what: string) {
  return {
    get: guarded('read', {
      operationId,
      tags: ['sources'],
      summary: `All ${what}, with how many of their sources are not in sync`,
      parameters: filterParameters,
      responses: {
        200: json('Sorted by name.', list('Tally'), [examples.tally]),
        304: notModified,
        400: badFilter,
      },
    }),
  };
}
