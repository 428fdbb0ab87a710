import type { Scope } from '../access/tokens.ts';

/** Parts of operations: what is answered, to whom. */

type Answers = Readonly<Record<string, object>>;
type Operation = { readonly operationId: string; readonly tags: readonly string[]; readonly responses: Answers };

const PROBLEM = { 'application/problem+json': { schema: ref('Problem') } };

export function ref(name: string) {
  return { $ref: `#/components/schemas/${name}` };
}

export function list(name: string) {
  return { type: 'array', items: ref(name) };
}

export function json(description: string, schema: object, example?: unknown) {
  return {
    description,
    content: { 'application/json': { schema, ...(example === undefined ? {} : { example }) } },
  };
}

export function problem(description: string) {
  return { description, content: PROBLEM };
}

/** An operation that needs a token with `scope` when access control is on. */
export function guarded<T extends Operation>(scope: Scope, operation: T) {
  return toOperation(operation, [{ bearer: [scope] }, {}], {
    401: problem('No token, one that is not known, or one that has expired. Only when access control is on.'),
    403: problem('The token is for other things. Only when access control is on.'),
  });
}

/** An operation for everybody, with access control, too. */
export function open<T extends Operation>(operation: T) {
  return toOperation(operation, []);
}

function toOperation<T extends Operation>(operation: T, security: readonly object[], refusals: Answers = {}) {
  const responses = {
    ...operation.responses,
    ...refusals,
    default: problem('Any other refusal, of what every request may be refused for: see the description of the whole.'),
  };
  return { ...operation, security, responses };
}

export const notModified = { description: 'As the If-None-Match says.' };
export const unavailable = problem('Not stored: the store cannot write now. See Retry-After.');
export const badFilter = problem(
  'A name that is not known here, or a verdict that is none: the detail names what there is.',
);
export const badRange = problem(
  'A range or limit that makes no sense, a name that is not known here, or a verdict that is none.',
);
export const cutHeader = {
  'X-Truncated': {
    description:
      'true where rows were left out: older ones, whole sources (history), or those of sources that are not whole in memory.',
    schema: { type: 'string', enum: ['true'] },
  },
};
