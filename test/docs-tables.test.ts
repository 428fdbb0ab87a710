/** The tables of the documentation are compared with the code. */
import { expect } from 'chai';
import { parseTokens } from '../src/access/tokens.ts';
import { HELP } from '../src/config.ts';
import { ConfigError } from '../src/core/config-error.ts';
import { REFUSAL_REASONS } from '../src/core/refusal.ts';
import { reportSchema } from '../src/core/report-schema.ts';
import { schemas } from '../src/http/openapi-schemas.ts';
import { renderOpenApi } from '../src/http/openapi.ts';
import { PROBLEMS } from '../src/http/problem.ts';
import { type Service, reportOf, sha256, startService, tokensText } from './fixtures.ts';
import { codesOf, read, rowsOf } from './markdown.ts';

type Schema = {
  readonly type?: unknown;
  readonly enum?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly oneOf?: unknown;
  readonly $ref?: string;
};

/** The fields of an object, those of objects in lists as `list[].field`. */
function fieldsOf({ properties = {} }: Schema): string[] {
  return Object.entries(properties).flatMap(([name, { items }]) => {
    const item: Schema | undefined = items?.$ref?.endsWith('/BrokenRule') ? schemas.BrokenRule : items;
    return item?.properties === undefined ? [name] : fieldsOf(item).map((field) => `${name}[].${field}`);
  });
}

/** The samples of a family, as the values of their labels. Buckets are no labels of their own. */
function samplesOf(text: string, family: string): Record<string, string>[] {
  const lines = text.matchAll(new RegExp(`^${family}(?:_bucket|_sum|_count)?(?:\\{(.*)\\})? \\S+$`, 'gm'));
  return [...lines].map(([, labels = '']) => {
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value] as const);
    return Object.fromEntries(pairs.filter(([name]) => name !== 'le'));
  });
}

describe('the tables of the documentation', () => {
  it('docs/configuration.md and --help name the same settings', () => {
    const inDocs = rowsOf('docs/configuration.md', 'variable').flatMap(([names]) => codesOf(names));
    const inHelp = [...HELP.matchAll(/^ {2}([A-Z][A-Z_]+)/gm)].map(([, name]) => name);
    expect([...inDocs, 'DATABASE_URL']).to.have.members(inHelp);
  });

  it('docs/configuration.md and --help name the same defaults', () => {
    const inHelp = new Map([...HELP.matchAll(/^ {2}([A-Z][A-Z_]+) +(\S+)/gm)].map(([, name, value]) => [name, value]));
    for (const [names, defaults = ''] of rowsOf('docs/configuration.md', 'variable')) {
      const values = defaults.replaceAll('`', '').replace('–', '-').replace('all interfaces', 'all').split(', ');
      for (const [index, name] of codesOf(names).entries()) {
        expect(values[index] ?? values[0], name).to.equal(inHelp.get(name));
      }
    }
  });

  it('docs/reports.md names the fields that a report may have, and those that it must have', () => {
    const file = reportSchema.properties.files.items;
    const objects: readonly (readonly [prefix: string, properties: object, required: readonly string[]])[] = [
      ['', reportSchema.properties, reportSchema.required],
      ['files[].', file.properties, file.required],
    ];
    const inSchema = objects.flatMap(([prefix, properties, required]) =>
      Object.keys(properties).map((name) => `${prefix}${name} ${required.includes(name) ? 'yes' : 'no'}`),
    );
    const inDocs = rowsOf('docs/reports.md', 'field').flatMap(([names, required]) =>
      codesOf(names).map((name) => `${name} ${required}`),
    );
    expect(inDocs).to.have.members(inSchema);
  });

  it('docs/configuration.md names the keys that a token may have, and those that it must have', () => {
    const values: Readonly<Record<string, unknown>> = {
      name: 'ci',
      sha256: sha256('secret'),
      scopes: ['report'],
      repos: ['web'],
      servers: ['lab-*'],
      max_sources: 10,
      max_open_drifts: 100,
      expires_at: '2027-12-31T00:00:00Z',
    };
    const keys = rowsOf('docs/configuration.md', 'key of a token').flatMap(([names, required]) =>
      codesOf(names).map((name) => ({ name, isRequired: required === 'yes' })),
    );
    expect(keys.map(({ name }) => name)).to.have.members(Object.keys(values));
    expect(parseTokens(tokensText([values])).size).to.equal(1);
    for (const { name, isRequired } of keys) {
      const parse = () => parseTokens(tokensText([{ ...values, [name]: undefined }]));
      if (isRequired) expect(parse, name).to.throw(ConfigError);
      else expect(parse, name).to.not.throw();
    }
  });

  const answers: readonly (readonly [page: string, of: string, schema: Schema, without?: Schema])[] = [
    ['docs/reports.md', 'a receipt', schemas.Receipt],
    ['docs/reports.md', 'a problem', schemas.Problem],
    ['docs/reading.md', '`/status.json`', schemas.SourceRow],
    ['docs/reading.md', '`/api/status/{repo}/{server}`', schemas.SourceDetail, schemas.SourceRow],
    ['docs/reading.md', '`/files.json`', schemas.DriftedFile],
    ['docs/reading.md', '`/repos.json`, `/servers.json`', schemas.Tally],
    ['docs/reading.md', '`/summary.json`', schemas.Summary],
    ['docs/reading.md', '`/history.json`', schemas.StateChange],
    ['docs/reading.md', '`/drifts.json`', schemas.Drift],
  ];
  for (const [page, of, schema, without = {}] of answers) {
    it(`${page} names the fields of ${of.replaceAll('`', '')}`, () => {
      const [, cell] = rowsOf(page, 'fields of').find(([first]) => first === of) ?? [];
      const known = new Set(fieldsOf(without));
      expect(codesOf(cell)).to.have.members(fieldsOf(schema).filter((field) => !known.has(field)));
    });
  }

  it('docs/reports.md and docs/reading.md name every reason that there is, with its code', () => {
    const rows = ['docs/reports.md', 'docs/reading.md'].flatMap((page) => rowsOf(page, 'code'));
    const inDocs = new Set(rows.flatMap(([code, reasons]) => codesOf(reasons).map((reason) => `${reason} ${code}`)));
    expect([...inDocs]).to.have.members(REFUSAL_REASONS.map((reason) => `${reason} ${PROBLEMS[reason].status}`));
  });

  it('docs/reports.md names every reason to refuse a report, with its code', () => {
    const inDocs = rowsOf('docs/reports.md', 'code').flatMap(([code, reasons]) =>
      codesOf(reasons).map((reason) => `${reason} ${code}`),
    );
    const reasons = REFUSAL_REASONS.filter((reason) => PROBLEMS[reason].isForReports);
    expect(inDocs).to.have.members(reasons.map((reason) => `${reason} ${PROBLEMS[reason].status}`));
  });

  it('docs/runbook.md says what to do about every reason that GitOpsReportsRefused may name', () => {
    const inDocs = rowsOf('docs/runbook.md', 'reason').map(([reason]) => reason);
    const reasons = REFUSAL_REASONS.filter((reason) => PROBLEMS[reason].isForReports);
    expect([...inDocs, 'store_unavailable']).to.have.members(reasons);
  });

  it('docs/reading.md and docs/reports.md name the routes that there are', () => {
    const { paths } = JSON.parse(renderOpenApi('0.0.0', undefined)) as { paths: Record<string, object> };
    const served = Object.entries(paths).flatMap(([path, item]) =>
      Object.keys(item)
        .filter((method) => method !== 'parameters')
        .map((method) => `${method.toUpperCase()} ${path.replaceAll('_name}', '}')}`),
    );
    const inDocs = rowsOf('docs/reading.md', 'route').flatMap(([routes]) => codesOf(routes));
    expect(read('docs/reports.md')).to.include('`POST /api/status`');
    expect(['POST /api/status', ...inDocs.map((route) => route.replace(/\?.*/, ''))]).to.have.members(served);
  });

  describe('docs/metrics.md', () => {
    let service: Service;
    let text: string;
    const documented = rowsOf('docs/metrics.md', 'name').flatMap(([names, type = '', labels = '', meaning]) =>
      codesOf(names).map((name) => ({
        name,
        type,
        labels: labels === '–' ? [] : labels.split(', '),
        values: codesOf(meaning),
      })),
    );

    before(async () => {
      service = await startService();
      // what gives every metric a sample: a file that differs on two servers, one that is back, a refused report
      for (const server of ['lab', 'lab-2', 'lab-3'])
        await service.post(reportOf(['motd'], { server, labels: { team: 'web' } }));
      await service.post(reportOf([], { server: 'lab-3' }));
      await service.post(reportOf(['motd'], { server: 'lab', drift_count: 2 }));
      text = await (await service.request('/metrics')).text();
    });
    after(() => service.stop());

    it('names the metrics that there are, with their types', () => {
      const families = [...text.matchAll(/^# TYPE ((?:gitops|http)_\S+) (\w+)$/gm)].map(
        ([, name, type]) => `${name} ${type}`,
      );
      expect(documented.map(({ name, type }) => `${name} ${type}`)).to.have.members(families);
    });

    for (const { name, labels, values } of documented) {
      it(`names the labels of ${name}`, () => {
        const samples = samplesOf(text, name);
        expect(samples).to.not.be.empty;
        for (const sample of samples)
          expect(Object.keys(sample).map((label) => label.replace(/^label_.*/, 'label_…'))).to.have.members(labels);
        // where values are listed, they are all that there are
        const [only] = labels;
        if (only === undefined || values.length === 0) return;
        expect(values).to.have.members([...new Set(samples.map((sample) => sample[only]))]);
      });
    }
  });
});
