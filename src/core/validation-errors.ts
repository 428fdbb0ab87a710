import type { ErrorObject } from 'ajv';
import { misspellingOf } from './misspelling.ts';

/** One broken rule. `pointer` says where: a JSON Pointer (RFC 6901), "" for the whole value. `detail` tells a person what is wrong. */
export type ValidationError = { readonly pointer: string; readonly detail: string };

/** Where one rule is broken in many places, so many are listed and the rest counted: a bad body must not make a huge answer. */
const MAX_PLACES_PER_RULE = 100;
/** Of a value that is quoted back. */
const MAX_PREVIEW_CHARS = 80;
const MAX_PREVIEW_DEPTH = 3;

/**
 * ajv's errors in sentences, made from the descriptions in the schema: each completes "must be …".
 * @param options `hidesValues`: the sentences say what must be, not what is
 */
export function describeErrors(errors: readonly ErrorObject[], { hidesValues = false } = {}): ValidationError[] {
  const byRule = new Map<string, ValidationError[]>();
  const secret = new Set(errors.filter(({ keyword }) => keyword === 'not').map(({ instancePath }) => instancePath));
  for (const error of errors) {
    // where there is a password no other sentence may quote it; what is inside of `not` is no error of its own
    if (secret.has(error.instancePath) && error.keyword !== 'not') continue;
    const rule = byRule.get(error.schemaPath) ?? [];
    byRule.set(error.schemaPath, rule);
    // the error of the keyword around it names the property
    if (error.propertyName !== undefined) continue;
    // past the limit only the number counts
    rule.push(rule.length < MAX_PLACES_PER_RULE ? toValidationError(error, hidesValues) : { pointer: '', detail: '' });
  }
  return [...byRule.values()].flatMap((rule) => capped(rule, 'the same rule is broken'));
}

function toValidationError(error: ErrorObject, hidesValues: boolean): ValidationError {
  const { keyword, instancePath, params, parentSchema, data } = error;
  if (keyword === 'required') {
    const guess = hidesValues ? '' : guessFor(error);
    return { pointer: `${instancePath}/${params.missingProperty}`, detail: `is required${guess}` };
  }
  if (keyword === 'additionalProperties') {
    const name = String(params.additionalProperty);
    // where values are hidden, a key may be one that went astray
    if (hidesValues && !/^[a-z_]{1,20}$/i.test(name))
      return { pointer: instancePath, detail: 'has a key that is not known here' };
    return { pointer: `${instancePath}/${name}`, detail: 'is not known here' };
  }
  if (keyword === 'propertyNames') {
    return {
      pointer: instancePath,
      detail: `must be ${parentSchema?.description}, but has ${preview(params.propertyName)}`,
    };
  }
  if (keyword === 'not')
    return { pointer: instancePath, detail: 'must not contain a password, as in user:secret@host' };
  if (hidesValues) return { pointer: instancePath, detail: `must be ${parentSchema?.description}` };
  let found: string;
  if (keyword === 'type') found = `is ${typeName(data)}`;
  else if (keyword === 'minLength' || keyword === 'maxLength') found = `has ${[...(data as string)].length} characters`;
  else found = `is ${preview(data)}`;
  return { pointer: instancePath, detail: `must be ${parentSchema?.description}, but ${found}` };
}

/** The unknown field that may be the missing one. */
function guessFor({ instancePath, params, parentSchema, data }: ErrorObject): string {
  const missing = String(params.missingProperty);
  const known = new Set(Object.keys((parentSchema?.properties ?? {}) as object));
  const field = misspellingOf(missing, data as object, known);
  if (field === undefined) return '';
  const pointer = `${instancePath}/${field.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  return ` (unknown field ${pointer}: ${missing}?)`;
}

/** So many and a line that counts the others. */
export function capped(errors: ValidationError[], what: string): ValidationError[] {
  const more = errors.length - MAX_PLACES_PER_RULE;
  if (more <= 0) return errors;
  // all of them are in one list
  const [, list] = errors[0]?.pointer.split('/') ?? [];
  return [...errors.slice(0, MAX_PLACES_PER_RULE), { pointer: `/${list}`, detail: `${what} in ${more} more places` }];
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'number') return `the number ${value}`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** A value as JSON, shortened, without passwords. Of what is nested deeply only that it is: a recursion as deep as the value would end in an error. */
export function preview(value: unknown): string {
  const text = toText(value, MAX_PREVIEW_DEPTH);
  return text.length > MAX_PREVIEW_CHARS ? `${text.slice(0, MAX_PREVIEW_CHARS)}…` : text;
}

/** JSON of at least the first {@link MAX_PREVIEW_CHARS} characters. */
function toText(value: unknown, depth: number): string {
  if (typeof value === 'string')
    return mayHoldPassword(value) ? '"…"' : JSON.stringify(value.slice(0, MAX_PREVIEW_CHARS + 1));
  if (typeof value !== 'object' || value === null) return String(value);
  if (depth === 0) return Array.isArray(value) ? '[…]' : '{…}';
  if (Array.isArray(value)) return `[${join(value.values(), (item) => toText(item, depth - 1))}]`;
  const entries = Object.entries(value).values();
  return `{${join(entries, ([key, item]) => `${toText(key, 0)}:${toText(item, depth - 1)}`)}}`;
}

/** As in `user:secret@host`, wherever that may stand. */
export function mayHoldPassword(text: string): boolean {
  const colon = text.indexOf(':');
  return colon !== -1 && text.lastIndexOf('@') > colon;
}

function join<T>(items: Iterable<T>, show: (item: T) => string): string {
  let text = '';
  for (const item of items) {
    if (text.length > MAX_PREVIEW_CHARS) break;
    text += (text === '' ? '' : ',') + show(item);
  }
  return text;
}
