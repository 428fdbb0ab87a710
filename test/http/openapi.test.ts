import { once } from 'node:events';
import { type IncomingMessage, get } from 'node:http';
import { text } from 'node:stream/consumers';
import type { AnySchema } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import { REFUSAL_REASONS } from '../../src/core/refusal.ts';
import { parseTimestamp } from '../../src/core/timestamp.ts';
import { renderOpenApi } from '../../src/http/openapi.ts';
import { parseReport } from '../../src/core/report.ts';
import { reportSchema } from '../../src/core/report-schema.ts';
import { parseTokens } from '../../src/access/tokens.ts';
import {
  type Disk,
  NOW,
  type Service,
  createDisk,
  reportBody,
  reportOf,
  sha256,
  startService,
  tokensText,
} from '../fixtures.ts';

type Media = { readonly schema: AnySchema; readonly example?: unknown };
type Answer = { readonly description?: string; readonly content?: Record<string, Media> };
type Parameter = {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema: AnySchema;
  readonly example?: unknown;
};
type Operation = {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Record<string, Media> };
  readonly responses: Record<string, Answer>;
  readonly security?: readonly { readonly bearer?: readonly [scope: string] }[];
};
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'] as const;
type PathItem = { readonly parameters?: readonly Parameter[] } & Readonly<
  Partial<Record<(typeof METHODS)[number], Operation>>
>;
type Document = {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string };
  readonly servers: readonly { readonly url: string }[];
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, PathItem>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, AnySchema>>;
    readonly securitySchemes: Readonly<Record<string, unknown>>;
  };
};

const document = JSON.parse(renderOpenApi('1.2.3', undefined)) as Document;
const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  METHODS.flatMap((method) => {
    const operation = item[method];
    return operation === undefined ? [] : [{ name: `${method.toUpperCase()} ${path}`, path, item, operation }];
  }),
);

const ajv = new Ajv2020({ allErrors: true, strict: false });
ajv.addFormat('date-time', (value: string) => !Number.isNaN(parseTimestamp(value)));
ajv.addFormat('uri', (value: string) => URL.canParse(value));
ajv.addFormat('int64', { type: 'number', validate: Number.isSafeInteger });
ajv.addSchema(document, 'openapi.json');
// clients take more than the document names; what the service sends is all in there
ajv.addSchema(closed(document) as Document, 'closed.json');

describe('openapi', () => {
  describe('the document', () => {
    it('is OpenAPI 3.1 of this version of the service', () => {
      expect(document.openapi).to.match(/^3\.1\.\d+$/);
      expect(document.info).to.include({ title: 'gitops-status-server', version: '1.2.3' });
      expect(document).to.have.all.keys('openapi', 'info', 'servers', 'tags', 'paths', 'components');
    });

    it('names where users reach the service', () => {
      const { servers } = JSON.parse(renderOpenApi('1', 'https://status.example.org')) as Document;
      expect(servers).to.deep.equal([{ url: 'https://status.example.org' }]);
      expect(document.servers).to.deep.equal([{ url: '/' }]);
    });

    it('has only operations under its paths', () => {
      for (const [path, item] of Object.entries(document.paths)) {
        expect(path).to.match(/^\//);
        for (const key of Object.keys(item)) expect([...METHODS, 'parameters']).to.include(key);
      }
    });

    it('has a summary and at least one described answer for each operation', () => {
      for (const { name, operation } of operations) {
        expect(operation.summary, name).to.be.a('string').and.not.equal('');
        expect(Object.keys(operation.responses), name).not.to.be.empty;
        for (const [status, answer] of Object.entries(operation.responses)) {
          expect(status, name).to.match(/^([1-5]\d\d|default)$/);
          expect(answer.description, `${name} ${status}`).to.be.a('string').and.not.equal('');
        }
      }
    });

    it('names each operation once, and sorts it under a tag that is described', () => {
      const ids = operations.map(({ operation }) => operation.operationId);
      expect(new Set(ids).size).to.equal(operations.length);
      for (const id of ids) expect(id).to.match(/^[a-z][A-Za-z]+$/);
      const used = operations.flatMap(({ operation }) => operation.tags);
      expect(document.tags.map(({ name }) => name)).to.have.members([...new Set(used)]);
      for (const { name, operation } of operations) expect(operation.tags, name).to.have.length(1);
    });

    it('declares every part of a path, and each of its parameters once', () => {
      for (const { name, path, item, operation } of operations) {
        const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])];
        const inPath = parameters.filter((parameter) => parameter.in === 'path');
        expect(
          inPath.map((parameter) => parameter.name),
          name,
        ).to.have.members([...path.matchAll(/\{(\w+)\}/g)].map(([, part]) => part));
        for (const parameter of inPath) expect(parameter.required).to.equal(true);
        const keys = parameters.map((parameter) => `${parameter.in} ${parameter.name}`);
        expect(new Set(keys).size, name).to.equal(keys.length);
      }
    });

    it('has schemas that are JSON Schema 2020-12', () => {
      for (const [name, schema] of Object.entries(document.components.schemas)) {
        expect(ajv.validateSchema(schema), `${name}: ${ajv.errorsText()}`).to.equal(true);
      }
    });

    it('refers only to what is there', () => {
      const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref as string);
      expect(refs).not.to.be.empty;
      for (const ref of new Set(refs)) expect(() => ajv.compile({ $ref: `openapi.json${ref}` }), ref).not.to.throw();
    });

    it('has examples that keep to their schemas', () => {
      let examples = 0;
      for (const { name, item, operation } of operations) {
        const contents = [
          operation.requestBody?.content,
          ...Object.values(operation.responses).map(({ content }) => content),
        ];
        for (const media of contents.flatMap((content) => Object.values(content ?? {}))) {
          if (media.example === undefined) continue;
          examples += 1;
          expectValid(media.schema, media.example, name);
        }
        for (const { schema, example } of [...(operation.parameters ?? []), ...(item.parameters ?? [])]) {
          if (example !== undefined) expectValid(schema, example, name);
        }
      }
      expect(examples).to.be.above(4);
    });

    it('names the scope of a token that each operation needs, if it is not for everybody', () => {
      expect(document.components.securitySchemes.bearer).to.include({ type: 'http', scheme: 'bearer' });
      const needed = operations.map(({ name, operation }) => [name, scopeOf(operation)]);
      for (const [name, scope] of needed) {
        const isOpen = /(healthz|readyz|openapi.json)$/.test(name as string);
        const byMethod = { GET: 'read', POST: 'report', DELETE: 'delete' }[(name as string).split(' ')[0] as string];
        expect(scope, name).to.equal(isOpen ? undefined : byMethod);
      }
    });

    it('says of each operation who may call it, also of those for everybody', () => {
      for (const { name, operation } of operations) {
        const scope = scopeOf(operation);
        expect(operation.security, name).to.deep.equal(scope === undefined ? [] : [{ bearer: [scope] }, {}]);
      }
    });

    it('has a Problem for each refusal, those that every request may meet among them', () => {
      for (const { name, operation } of operations) {
        expect(Object.keys(operation.responses), name).to.include('default');
        for (const [status, { content }] of Object.entries(operation.responses)) {
          if (status !== 'default' && Number(status) < 400) continue;
          expect(content, `${name} ${status}`).to.deep.equal({
            'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
          });
        }
      }
    });

    it('names the reasons of problems, the ones that metrics count', () => {
      const { Problem, RefusalReason } = document.components.schemas as Record<string, Record<string, unknown>>;
      expect(Problem?.required).to.include('reason');
      expect(RefusalReason?.enum).to.have.members([...REFUSAL_REASONS]);
    });

    it('shows the schema that validates, but for its patterns, and an example that it takes', () => {
      const withoutPatterns = (schema: unknown): unknown =>
        JSON.parse(JSON.stringify(schema, (key, value: unknown) => (key === 'pattern' ? undefined : value)));
      expect(withoutPatterns(document.components.schemas.Report)).to.deep.equal(withoutPatterns(reportSchema));
      const example = document.paths['/api/status']?.post?.requestBody?.content['application/json']?.example;
      expect(parseReport(example, NOW)).to.include({ repo: 'rsyslog', syncStatus: 'OUT_OF_SYNC' });
    });
  });

  describe('every answer of the service is as the document says:', () => {
    let service: Service;
    let disk: Disk;
    let isOpen = true;
    const tokens = ['report', 'read', 'delete'].map((scope) => ({
      name: scope,
      sha256: sha256(scope),
      scopes: [scope],
    }));
    const forAll = parseTokens(tokensText(tokens, ['report', 'read', 'delete']));
    const forTokens = parseTokens(tokensText(tokens));
    const seen = new Set<string>();

    before(async () => {
      service = await startService({
        maxSources: 4,
        maxBodyBytes: 4096,
        tokens: () => (isOpen ? forAll : forTokens),
        wrapStore(store) {
          disk = createDisk(store);
          return disk.store;
        },
      });
    });
    after(() => service.stop());
    afterEach(() => {
      disk.heal();
      service.setStopping(false);
      isOpen = true;
    });

    const files = [{ name: 'a', diff: '-1\n+2\n' }, { name: 'constructor' }];
    const full = reportBody({ files, commit: 'a1b2', pipeline_url: 'https://ci/7', extra: true });
    const unknown = reportOf([], {
      server: 's3',
      sync_status: 'UNKNOWN',
      message: 'no route to host',
      labels: { team: 'web' },
      last_check: '2026-04-21T10:32:16Z',
    });
    const json = { 'Content-Type': 'application/json' };
    const post =
      (body: unknown, headers: Record<string, string> = json) =>
      (): Promise<Response> =>
        service.request('/api/status', {
          method: 'POST',
          headers,
          body: typeof body === 'string' ? body : JSON.stringify(body),
        });
    const send = (method: string, path: string) => (): Promise<Response> => service.request(path, { method });
    // not with fetch, which asks for a fresh answer as soon as it is given an If-None-Match
    const again = (path: string) => async (): Promise<Response> => {
      const first = await service.request(path);
      await first.arrayBuffer();
      const headers = { 'If-None-Match': first.headers.get('ETag') ?? '' };
      const [message] = (await once(get(`${service.url}${path}`, { headers }), 'response')) as [IncomingMessage];
      const body = await text(message);
      const kept = { 'X-Content-Type-Options': String(message.headers['x-content-type-options']) };
      return new Response(body === '' ? null : body, { status: message.statusCode ?? 0, headers: kept });
    };
    // a stream that does not end: until it has told of what `act` does
    const events = (name: string, act: () => Promise<Response>) => async (): Promise<Response> => {
      const stop = new AbortController();
      const headers = { 'Last-Event-ID': 'of another start' };
      const response = await service.request('/api/events', { signal: stop.signal, headers });
      await act();
      let sent = '';
      for await (const chunk of response.body as ReadableStream<Uint8Array>) {
        sent += Buffer.from(chunk).toString();
        if (new RegExp(`^event: ${name}\n.*\n\n`, 'm').test(sent)) break;
      }
      stop.abort();
      return new Response(sent, response);
    };
    const broken = (request: () => Promise<Response>) => (): Promise<Response> => {
      disk.fail('disk full');
      return request();
    };

    const beats = async (): Promise<Response> => {
      for (let second = 0; second < 15; second += 1) await service.pulse.beat();
      return new Response();
    };
    const becomesStale = async (): Promise<Response> => {
      service.clock.advance(600_000);
      await service.pulse.beat();
      return new Response();
    };
    const afterRemoval = async (): Promise<Response> => {
      service.clock.advance(1000);
      await service.request('/api/status/rsyslog/rsyslog-lab', { method: 'DELETE' });
      const response = await service.request('/history.json');
      expect(await response.clone().text()).to.include('"state":null');
      return response;
    };

    const DETAIL = '/api/status/{repo_name}/{server_name}';
    const BY_QUERY = '/api/status?repo=rsyslog&server=rsyslog-lab';
    type Row = readonly [status: number, operation: string, what: string, request: () => Promise<Response>];
    /** In this order: what a row leaves behind is there for the next. */
    const rows: readonly Row[] = [
      [200, 'GET /status.json', 'without any source', send('GET', '/status.json')],
      [201, 'POST /api/status', 'a first report', post(full)],
      [200, 'POST /api/status', 'the same again', post(full)],
      [200, 'POST /api/status', 'other files', post(reportOf(['b', 'constructor']))],
      [200, 'POST /api/status', 'an old report', post(reportOf([], { last_check: '2020-01-01T00:00:00Z' }))],
      [
        201,
        'POST /api/status',
        'a report that is stale already',
        post(reportOf([], { server: 's2', last_check: '2020-01-01T00:00:00Z' })),
      ],
      [201, 'POST /api/status', 'a third source', post(reportOf([], { server: 's3' }))],
      [200, 'POST /api/status', 'several, with a first one', post([reportOf([], { server: 's5' })])],
      [429, 'POST /api/status', 'a source too many', post(reportOf([], { server: 's4' }))],
      [200, 'POST /api/status', 'several reports', post([full, reportOf(['b'])])],
      [422, 'POST /api/status', 'several, one of them refused', post([full, { ...full, commit: 7 }])],
      [200, 'POST /api/status', 'a check that could not tell', post(unknown)],
      [400, 'POST /api/status', 'no JSON', post('{"repo":')],
      [400, 'POST /api/status', 'nothing', post('')],
      [413, 'POST /api/status', 'a body that is too large', post('x'.repeat(5000))],
      [415, 'POST /api/status', 'a form', post('a=b', { 'Content-Type': 'application/x-www-form-urlencoded' })],
      [422, 'POST /api/status', 'a report that breaks rules', post(reportBody({ repo: '', commit: 7 }))],
      [422, 'POST /api/status', 'JSON that is no object', post('[1]')],
      [503, 'POST /api/status', 'a disk that is full', broken(post(reportOf(['c'])))],
      [200, 'GET /status.json', 'with sources of every verdict', send('GET', '/status.json')],
      [200, 'GET /status.json', 'filtered', send('GET', '/status.json?verdict=STALE,UNKNOWN&label.team=web')],
      [304, 'GET /status.json', 'unchanged', again('/status.json')],
      [200, `GET ${DETAIL}`, 'with open and closed drifts', send('GET', '/api/status/rsyslog/rsyslog-lab')],
      [200, `GET ${DETAIL}`, 'in sync', send('GET', '/api/status/rsyslog/s3')],
      [304, `GET ${DETAIL}`, 'unchanged', again('/api/status/rsyslog/rsyslog-lab')],
      [404, `GET ${DETAIL}`, 'unknown', send('GET', '/api/status/rsyslog/none')],
      [200, 'GET /api/status', 'a known one', send('GET', BY_QUERY)],
      [304, 'GET /api/status', 'unchanged', again(BY_QUERY)],
      [400, 'GET /api/status', 'no server', send('GET', '/api/status?repo=rsyslog')],
      [404, 'GET /api/status', 'unknown', send('GET', '/api/status?repo=rsyslog&server=none')],
      [200, 'GET /files.json', 'with files', send('GET', '/files.json')],
      [304, 'GET /files.json', 'unchanged', again('/files.json')],
      ...['/repos.json', '/servers.json'].flatMap((path): Row[] => [
        [200, `GET ${path}`, 'with sources', send('GET', path)],
        [304, `GET ${path}`, 'unchanged', again(path)],
        [400, `GET ${path}`, 'a filter that is none', send('GET', `${path}?status=OUT_OF_SYNC`)],
      ]),
      [200, 'GET /summary.json', 'with sources', send('GET', '/summary.json')],
      [200, 'GET /summary.json', 'of nothing', send('GET', '/summary.json?repo=none')],
      [304, 'GET /summary.json', 'unchanged', again('/summary.json')],
      [200, 'GET /history.json', 'with changes', send('GET', `/history.json?to=${NOW + 1}`)],
      [200, 'GET /history.json', 'cut', send('GET', `/history.json?to=${NOW + 1}&limit=1`)],
      [304, 'GET /history.json', 'unchanged', again('/history.json')],
      [400, 'GET /status.json', 'a filter that is none', send('GET', '/status.json?status=OUT_OF_SYNC')],
      [400, 'GET /files.json', 'a filter that is none', send('GET', '/files.json?status=OUT_OF_SYNC')],
      [400, 'GET /summary.json', 'a filter that is none', send('GET', '/summary.json?status=OUT_OF_SYNC')],
      [400, 'GET /metrics', 'a filter that is none', send('GET', '/metrics?status=OUT_OF_SYNC')],
      [400, 'GET /history.json', 'a range without sense', send('GET', '/history.json?from=2&to=1')],
      [200, 'GET /drifts.json', 'open and closed', send('GET', `/drifts.json?from=${NOW - 1}&to=${NOW + 1}`)],
      [304, 'GET /drifts.json', 'unchanged', again('/drifts.json')],
      [400, 'GET /drifts.json', 'a limit without sense', send('GET', '/drifts.json?limit=0')],
      [200, 'GET /api/events', 'a change', events('change', post(reportOf(['d'])))],
      [200, 'GET /api/events', 'a refusal', events('refused', post(reportOf(['d'], { commit: 7 })))],
      [200, 'GET /api/events', 'a removal', events('removed', send('DELETE', '/api/status/rsyslog/s5'))],
      [200, 'GET /api/events', 'a source that is stale', events('stale', becomesStale)],
      [200, 'GET /api/events', 'a ping', events('ping', beats)],
      [
        503,
        'GET /api/events',
        'a service that stops',
        () => {
          service.setStopping(true);
          return service.request('/api/events');
        },
      ],
      [200, 'DELETE /api/status', 'a dry run', send('DELETE', '/api/status?repo=rsyslog&dry_run=true')],
      [400, 'DELETE /api/status', 'without filter', send('DELETE', '/api/status')],
      [503, 'DELETE /api/status', 'a disk that is full', broken(send('DELETE', '/api/status?server=s2'))],
      [200, 'DELETE /api/status', 'one that matches', send('DELETE', '/api/status?server=s2')],
      [503, `DELETE ${DETAIL}`, 'a disk that is full', broken(send('DELETE', '/api/status/rsyslog/s3'))],
      [
        412,
        `DELETE ${DETAIL}`,
        'one that is not as it was read',
        () => service.request('/api/status/rsyslog/s3', { method: 'DELETE', headers: { 'If-Match': '"other"' } }),
      ],
      [204, `DELETE ${DETAIL}`, 'a known one', send('DELETE', '/api/status/rsyslog/s3')],
      [404, `DELETE ${DETAIL}`, 'an unknown one', send('DELETE', '/api/status/rsyslog/s3')],
      [200, 'GET /history.json', 'with sources that do not exist any more', afterRemoval],
      [200, 'GET /metrics', 'a scrape', send('GET', '/metrics')],
      [200, 'GET /healthz', 'alive', send('GET', '/healthz')],
      [
        431,
        'GET /healthz',
        'a head that is too large',
        () => service.request('/healthz', { headers: { a: 'x'.repeat(70_000) } }),
      ],
      [200, 'GET /readyz', 'ready', send('GET', '/readyz')],
      [
        503,
        'GET /readyz',
        'a service that stops',
        () => {
          service.setStopping(true);
          return service.request('/readyz');
        },
      ],
      [200, 'GET /openapi.json', 'the document', send('GET', '/openapi.json')],
      [304, 'GET /openapi.json', 'unchanged', again('/openapi.json')],
    ];
    const refused = operations.flatMap(({ name, operation }): Row[] => {
      const scope = scopeOf(operation);
      if (scope === undefined) return [];
      const [method = '', path = ''] = name.replace('{repo_name}/{server_name}', 'rsyslog/rsyslog-lab').split(' ');
      const as = (token: string) => (): Promise<Response> => {
        isOpen = false;
        return service.request(path, { method, headers: { Authorization: `Bearer ${token}` } });
      };
      return [
        [401, name, 'an unknown token', as('unknown')],
        [403, name, 'a token for other things', as(scope === 'read' ? 'report' : 'read')],
      ];
    });
    for (const [status, name, what, request] of [...rows, ...refused]) {
      it(`${name}, ${what}: ${status}`, async () => {
        const response = await request();
        const sent = await response.text();
        expect(response.status, sent).to.equal(status);
        expect(response.headers.get('X-Content-Type-Options')).to.equal('nosniff');
        const responses = operations.find((operation) => operation.name === name)?.operation.responses;
        const described = responses?.[status] ?? responses?.default;
        expect(described, 'is not in the document').not.to.equal(undefined);
        seen.add(`${name} ${responses?.[status] === undefined ? 'default' : status}`);
        const [type = ''] = (response.headers.get('Content-Type') ?? '').split(';');
        const types = Object.keys(described?.content ?? {});
        if (types.length === 0) {
          expect(sent).to.equal('');
          return;
        }
        expect(types).to.deep.equal([type]);
        const bodies =
          type === 'text/event-stream' ? eventsIn(sent) : [type.endsWith('json') ? JSON.parse(sent) : sent];
        expect(bodies).not.to.be.empty;
        for (const body of bodies) expectValid(described?.content?.[type]?.schema ?? false, body, sent, 'closed.json');
      });
    }

    it('and each that the document names was seen here', () => {
      const named = operations.flatMap(({ name, operation }) =>
        Object.keys(operation.responses)
          .filter((status) => status !== 'default')
          .map((status) => `${name} ${status}`),
      );
      expect([...seen]).to.have.members([...named, 'GET /healthz default']);
    });
  });
});

/** The document, with objects that have no more members than it names. */
function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed);
  if (typeof value !== 'object' || value === null) return value;
  const copy = Object.fromEntries(Object.entries(value).map(([key, part]) => [key, closed(part)]));
  return copy.type === 'object' && copy.properties !== undefined ? { ...copy, additionalProperties: false } : copy;
}

/** The events of a stream, as the document describes them. */
function eventsIn(stream: string): object[] {
  return stream
    .split('\n\n')
    .map((block) => Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s, 2))))
    .filter(({ event }) => event !== undefined)
    .map((event) => Object.assign(event, { data: JSON.parse(event.data) as unknown }));
}

function scopeOf({ security }: Operation): string | undefined {
  return security?.[0]?.bearer?.[0];
}

/** @param schema a part of the document: what it refers to is in there */
function expectValid(schema: AnySchema, value: unknown, what: string, of = 'openapi.json'): void {
  const resolved = JSON.stringify(schema).replaceAll('"$ref":"#', `"$ref":"${of}#`);
  const isValid = ajv.validate(JSON.parse(resolved) as AnySchema, value);
  expect(isValid, `${what}: ${ajv.errorsText()}`).to.equal(true);
}
