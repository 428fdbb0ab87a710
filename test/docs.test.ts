/** What the documentation links to and names exists. Its tables: docs-tables.test.ts. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { codesOf, read, rowsOf } from './markdown.ts';

const DECISIONS = readdirSync('docs/decisions').map((name) => `docs/decisions/${name}`);
const PAGES = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
  ...DECISIONS,
  ...['k8s', 'grafana', 'reporter'].map((folder) => `${folder}/README.md`),
];

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

  it('names only scripts of npm that there are', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: object };
    const named = PAGES.flatMap((page) => [...read(page).matchAll(/npm run ([a-z][\w:-]*)/g)].map(([, name]) => name));
    expect(named).to.include('test:unit');
    expect(scripts).to.include.all.keys(named);
  });

  it('docs/architecture.md names every room, and every file that is in none', () => {
    const inDocs = rowsOf('docs/architecture.md', 'room').flatMap(([names]) => codesOf(names));
    const inSrc = readdirSync('src', { withFileTypes: true });
    expect(inDocs).to.have.members(inSrc.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name)));
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
});
