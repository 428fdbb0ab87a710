/** What the documentation says is compared with what there is. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { HELP } from '../src/config.ts';
import { REFUSAL_REASONS } from '../src/core/refusal.ts';
import { reportSchema } from '../src/core/report-schema.ts';
import { renderOpenApi } from '../src/http/openapi.ts';
import { PROBLEMS } from '../src/http/problem.ts';
import { type Service, reportBody, startService } from './fixtures.ts';

const DECISIONS = readdirSync('docs/decisions').map((name) => `docs/decisions/${name}`);
const PAGES = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
  ...DECISIONS,
  ...['k8s', 'grafana', 'reporter'].map((folder) => `${folder}/README.md`),
];

function read(path: string): string {
  return readFileSync(path, 'utf8');
}

/** As GitHub makes the anchor of a heading. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** The cells of each row of the table whose first heading is `heading`. */
function rowsOf(path: string, heading: string): string[][] {
  const [, table = ''] = new RegExp(`^\\| ${heading} \\|.*\\n\\|[-|]+\\n((?:\\|.*\\n)+)`, 'm').exec(read(path)) ?? [];
  expect(table, `the table of ${heading} in ${path}`).to.not.equal('');
  const rows = table.trimEnd().split('\n');
  return rows.map((row) => row.split(/(?<!\\)\|/).slice(1, -1)).map((cells) => cells.map((cell) => cell.trim()));
}

/** What stands between backticks. */
function codesOf(cell = ''): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
}

describe('the documentation', () => {
  const limits: readonly (readonly [path: string, lines: number])[] = [
    ['README.md', 200],
    ['docs/architecture.md', 150],
    ...DECISIONS.map((path) => [path, 40] as const),
  ];
  for (const [path, lines] of limits) {
    it(`${path} has at most ${lines} lines`, () => {
      expect(read(path).trimEnd().split('\n').length).to.be.at.most(lines);
    });
  }

  for (const page of PAGES) {
    it(`${page} leads only to files and headings that exist`, () => {
      const links = [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)];
      for (const [, path = '', anchor] of links) {
        const target = path === '' ? page : join(dirname(page), path);
        expect(existsSync(target), `${path} in ${page}`).to.equal(true);
        if (anchor !== undefined) expect(anchorsOf(read(target)), `#${anchor} in ${page}`).to.include(anchor);
      }
    });
  }

  it('docs/decisions are all named in docs/architecture.md', () => {
    for (const path of DECISIONS) expect(read('docs/architecture.md')).to.include(path.replace('docs/', ''));
  });

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
    const schemas: readonly (readonly [prefix: string, properties: object, required: readonly string[]])[] = [
      ['', reportSchema.properties, reportSchema.required],
      ['files[].', file.properties, file.required],
    ];
    const inSchema = schemas.flatMap(([prefix, properties, required]) =>
      Object.keys(properties).map((name) => `${prefix}${name} ${required.includes(name) ? 'yes' : 'no'}`),
    );
    const inDocs = rowsOf('docs/reports.md', 'field').flatMap(([names, required]) =>
      codesOf(names).map((name) => `${name} ${required}`),
    );
    expect(inDocs).to.have.members(inSchema);
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
        .map((method) => `${method.toUpperCase()} ${path}`),
    );
    const inDocs = rowsOf('docs/reading.md', 'route').flatMap(([routes]) => codesOf(routes));
    expect(read('docs/reports.md')).to.include('`POST /api/status`');
    expect(['POST /api/status', ...inDocs.map((route) => route.replace(/\?.*/, ''))]).to.have.members(served);
  });

  it('names only scripts of npm that there are', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: object };
    const named = PAGES.flatMap((page) => [...read(page).matchAll(/npm run ([a-z][\w:-]*)/g)].map(([, name]) => name));
    expect(named).to.include('test:unit');
    expect(scripts).to.include.all.keys(named);
  });

  it('docs/architecture.md names functions and files that exist', () => {
    const names = [
      ...read('docs/architecture.md').matchAll(/`((?:core|access|store|fleet|http|test|reporter)\/[\w./-]+)`/g),
    ];
    expect(names).to.not.be.empty;
    for (const [, name = ''] of names) {
      const path = existsSync(name) ? name : join('src', name);
      expect(existsSync(path), name).to.equal(true);
    }
    const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const code = sources.map((name) => read(join('src', name))).join('\n');
    for (const [, name = ''] of read('docs/architecture.md').matchAll(/`([a-z]+[A-Z]\w+)(?:\([^)]*\))?`/g)) {
      expect(code, name).to.match(new RegExp(`\\b${name}\\b`));
    }
  });

  describe('docs/metrics.md', () => {
    let service: Service;
    before(async () => {
      service = await startService();
    });
    after(() => service.stop());

    it('names the metrics that there are, with their types', async () => {
      await service.post(reportBody());
      const text = await (await service.request('/metrics')).text();
      const families = [...text.matchAll(/^# TYPE ((?:gitops|http)_\S+) (\w+)$/gm)].map(
        ([, name, type]) => `${name} ${type}`,
      );
      const documented = rowsOf('docs/metrics.md', 'name').flatMap(([names, type]) =>
        codesOf(names).map((name) => `${name} ${type}`),
      );
      expect(documented).to.have.members(families);
    });
  });
});
