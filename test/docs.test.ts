/** What the documentation says is compared with what there is. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { HELP } from '../src/config.ts';
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
    const [table = ''] = /^\| variable .*?\n\n/ms.exec(read('docs/configuration.md')) ?? [];
    const inDocs = [...table.matchAll(/^\|([^|]+)\|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`([A-Z][A-Z_]+)`/g)].map(([, name]) => name),
    );
    const inHelp = [...HELP.matchAll(/^ {2}([A-Z][A-Z_]+)/gm)].map(([, name]) => name);
    expect([...inDocs, 'DATABASE_URL']).to.have.members(inHelp);
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
      const documented = read('docs/metrics.md')
        .split('\n')
        .filter((line) => line.startsWith('| `'))
        .flatMap((line) => {
          const [, names = '', type = ''] = line.split('|');
          return [...names.matchAll(/`(\w+)`/g)].map(([, name]) => `${name} ${type.trim()}`);
        });
      expect(documented).to.have.members(families);
    });
  });
});
