/** What broke clients that were generated from the document, in one language or another, and must not come back. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import * as fc from 'fast-check';
import { reportSchema } from '../../src/core/report-schema.ts';
import { renderOpenApi } from '../../src/http/openapi.ts';
import { reportOf } from '../fixtures.ts';

type Node = Readonly<Record<string, unknown>>;
type Parameter = { readonly name: string; readonly in: string; readonly schema: Node } & Node;
type Operation = { readonly parameters?: readonly Parameter[] };
type Document = {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation & readonly Parameter[]>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Node>> };
};

const document = JSON.parse(renderOpenApi('1.2.3', undefined)) as Document;
/** Each schema of the document, with the name of the property that it describes. */
const schemas = [...schemasIn(document, '')];

/** Go's generator has `server`; the others are arguments or types of one language or another. */
const WORDS_OF_GENERATORS = ['server', 'client', 'body', 'context', 'ctx', 'request', 'response', 'params', 'type'];
const TYPES_OF_LANGUAGES = [
  ...['Any', 'Array', 'Change', 'Client', 'Date', 'DateTime', 'Error', 'Event', 'Exception', 'File', 'Function'],
  ...['List', 'Map', 'Object', 'Option', 'Optional', 'Request', 'Response', 'Result', 'Server', 'Set', 'Source'],
  ...['String', 'Type'],
];

describe('openapi for other languages', () => {
  it('has patterns that Python, Go and Rust read as JavaScript does', () => {
    const patterns = schemas.flatMap(([, { pattern }]) => (typeof pattern === 'string' ? [pattern] : []));
    expect(patterns).not.to.be.empty;
    for (const pattern of patterns) {
      // classes that mean other characters elsewhere, look-around, references, code points
      expect(pattern).not.to.match(/\\[pPdDwWsSbBuk1-9]|\(\?[^:]/);
      expect(() => new RegExp(pattern)).not.to.throw();
      expect(() => new RegExp(pattern, 'u')).not.to.throw();
    }
  });

  it('has patterns that take and refuse what the service does, of whole characters', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
    const isPublished = ajv.compile(document.components.schemas.Report as Node);
    const isTaken = ajv.compile(reportSchema);
    const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 5 });
    const control = fc.integer({ min: 0, max: 0x9f }).map((code) => String.fromCharCode(code));
    const any = fc.oneof(text, control, fc.constantFrom('\n', '\t', ',', 'é', '💥', '\u2028'));
    fc.assert(
      fc.property(any, any, any, any, (name, diff, message, label) => {
        const report = { ...reportOf([]), files: [{ name, diff }], message, labels: { team: label } };
        expect(isPublished(report)).to.equal(isTaken(report));
        expect(pathsOf(isPublished.errors)).to.deep.equal(pathsOf(isTaken.errors));
      }),
      { numRuns: 500 },
    );
  });

  it('says of numbers that are too large for 32 bits that they have 64', () => {
    const large = schemas.filter(
      ([name, { type }]) => /(_ms|^time|^timeEnd|^drift_count)$/.test(name) && isInteger(type),
    );
    expect(large.map(([name]) => name)).to.include.members(['time', 'timeEnd', 'time_ms', 'last_check_ms']);
    for (const [name, { format }] of large) expect(format, name).to.equal('int64');
    for (const [name, { maximum, format, type }] of schemas) {
      if (isInteger(type) && Number(maximum) > 2 ** 31 - 1) expect(format, name).to.equal('int64');
    }
  });

  it('lists only texts, and null nowhere: it would be a type of its own', () => {
    const lists = schemas.filter(([, schema]) => schema.enum !== undefined);
    expect(lists).not.to.be.empty;
    for (const [name, { enum: values, type }] of lists) {
      expect(type, name).to.equal('string');
      for (const value of values as unknown[]) expect(value, name).to.be.a('string');
    }
  });

  it('has open objects, so that clients of today read the fields of tomorrow', () => {
    for (const [name, schema] of schemas) {
      expect(schema.additionalProperties, name).not.to.equal(false);
      expect(schema.unevaluatedProperties, name).not.to.equal(false);
    }
  });

  it('names no parameter of a path as a generator names its own', () => {
    const names = Object.keys(document.paths).flatMap((path) =>
      [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
    );
    expect(names).to.include('server_name');
    for (const name of names) expect(WORDS_OF_GENERATORS).not.to.include(name);
  });

  it('names no schema as a language names a type, and none as a part of another', () => {
    for (const name of Object.keys(document.components.schemas)) {
      expect(name).to.match(/^[A-Z][A-Za-z]+$/);
      expect(TYPES_OF_LANGUAGES).not.to.include(name);
      // these are what generators make of an operation
      expect(name).not.to.match(/(Params|Response|Request|RequestBody)$/);
    }
  });

  it('has the verdicts to filter by as a list', () => {
    const lists = Object.values(document.paths).flatMap((item) =>
      Object.values(item).flatMap(({ parameters = [] }) => parameters.filter(({ name }) => name === 'verdict')),
    );
    expect(lists.length).to.be.above(5);
    for (const list of lists) {
      expect(list).to.include({ in: 'query', style: 'form', explode: false });
      expect(list.schema).to.deep.equal({ type: 'array', items: { $ref: '#/components/schemas/Verdict' } });
    }
  });

  it('describes each event as an object, with its data', () => {
    const { StreamEvent = {}, ...others } = document.components.schemas;
    const { mapping } = StreamEvent.discriminator as { mapping: Readonly<Record<string, string>> };
    expect(Object.keys(mapping)).to.have.members(['change', 'stale', 'removed', 'refused', 'ping', 'reset']);
    for (const [event, ref] of Object.entries(mapping)) {
      const { properties } = others[ref.split('/').at(-1) as string] as { properties: Readonly<Record<string, Node>> };
      expect(properties.event, event).to.deep.equal({ type: 'string', enum: [event] });
      expect(properties.data, event).to.be.an('object');
    }
  });
});

function* schemasIn(value: unknown, name: string): Generator<readonly [name: string, schema: Node]> {
  if (typeof value !== 'object' || value === null) return;
  yield [name, value as Node];
  for (const [key, part] of Object.entries(value)) {
    if (key !== 'example') yield* schemasIn(part, key);
  }
}

function isInteger(type: unknown): boolean {
  return [type].flat().includes('integer');
}

function pathsOf(errors: readonly { instancePath: string; keyword: string }[] | null | undefined): string[] {
  return (errors ?? []).map(({ instancePath, keyword }) => `${instancePath} ${keyword}`);
}
