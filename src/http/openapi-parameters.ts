import { ref } from './openapi-answers.ts';

const string = { type: 'string' };

/** A list of names. Clients send it with commas; the service takes more forms. */
function filter(name: string, what: string, items: object) {
  return {
    name,
    in: 'query',
    description: `${what}. A comma list; also a repeated key, {a,b} or (a|b). Empty, * and \${…} mean all.`,
    style: 'form',
    explode: false,
    schema: { type: 'array', items },
  };
}

const filters = [
  filter('repo', 'Repos', string),
  filter('server', 'Servers', string),
  filter('verdict', 'Verdicts, in any case', ref('Verdict')),
  {
    // a name for programs: each member of the object is a parameter of its own
    name: 'labels',
    in: 'query',
    description: 'Members are named label.NAME, such as label.team: a list of values, as above. All must match.',
    style: 'form',
    explode: true,
    schema: { type: 'object', additionalProperties: string },
    example: { 'label.team': 'web,ops' },
  },
];

function time(name: string, fallback: string) {
  return {
    name,
    in: 'query',
    description: `Epoch milliseconds or ISO 8601 with a zone; ${fallback} unless given.`,
    schema: string,
  };
}

/** Of lists of what is now. */
export const filterParameters = filters;

/** Of lists of what was. */
export const rangeParameters = [
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

export const deletionParameters = [
  ...filters,
  { name: 'dry_run', in: 'query', description: 'true: only count.', schema: { type: 'boolean' } },
];

/** One source, by its path. Generators of Go use the word `server` themselves. */
export const pathParameters = [
  ['repo_name', 'acme/web'],
  ['server_name', 'web-1'],
].map(([name, example]) => ({
  name,
  in: 'path',
  required: true,
  description: 'Percent-encoded: acme%2Fweb.',
  schema: string,
  example,
}));

/** One source, by the query. */
export const nameParameters = [
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

export const ifMatchParameter = {
  name: 'If-Match',
  in: 'header',
  description: 'The ETag of the source as it was read: forgets it only while that is the same.',
  schema: string,
};

export const lastEventIdParameter = {
  name: 'Last-Event-ID',
  in: 'header',
  description: 'The id of the last event seen.',
  schema: string,
};
