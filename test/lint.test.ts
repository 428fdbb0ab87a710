import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { makeFolder } from './fixtures.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OXLINT = join(dirname(createRequire(import.meta.url).resolve('oxlint/package.json')), 'bin/oxlint');

/** Each breaks the order of the rooms in another way; the words must be in what the linter says. */
const BROKEN: readonly (readonly [what: string, file: string, text: string, says: string])[] = [
  ['core → store', 'src/core/a.ts', "import { a } from '../store/store.ts';", 'core must not import store'],
  ['core → access', 'src/core/b.ts', "import { a } from '../access/tokens.ts';", 'core must not import access'],
  ['access → store', 'src/access/a.ts', "import { a } from '../store/store.ts';", 'access must not import store'],
  [
    'store → fleet',
    'src/store/sqlite/a.ts',
    "import { a } from '../../fleet/fleet.ts';",
    'store must not import fleet',
  ],
  ['fleet → http', 'src/fleet/a.ts', "import { a } from '../http/app.ts';", 'fleet must not import http'],
  ['fleet → access', 'src/fleet/b.ts', "import { a } from '../access/tokens.ts';", 'fleet must not import access'],
  ['http → config', 'src/http/a.ts', "import { a } from '../config.ts';", 'http must not import main'],
  ['http → commands', 'src/http/b.ts', "import { a } from '../commands/b.ts';", 'http must not import commands'],
  ['anything → main.ts', 'src/shutdown.ts', "import { a } from './main.ts';", 'main must not import main'],
  ['anything → test', 'src/http/c.ts', "import { a } from '../../test/a.ts';", 'import what lies outside src'],
  ['a route → a driver', 'src/http/routes/a.ts', "import { a } from '../../store/sqlite/a.ts';", 'driver of the store'],
  ['a type upward', 'src/core/c.ts', "import type { A } from '../store/store.ts';", 'core must not import store'],
  ['an inline type upward', 'src/core/d.ts', "let a: import('../store/store.ts').A;", 'core must not import store'],
  ['import() upward', 'src/core/e.ts', "void import('../store/store.ts');", 'core must not import store'],
  ['import() of a variable', 'src/core/f.ts', 'void import(process.title);', 'must name its file'],
  ['an export from above', 'src/core/g.ts', "export { a } from '../store/store.ts';", 'core must not import store'],
  ['a star from above', 'src/core/h.ts', "export * from '../store/store.ts';", 'core must not import store'],
  ['a thread above', 'src/core/i.ts', "new URL('../store/a.ts', import.meta.url);", 'core must not import store'],
  ['a way around', 'src/core/j.ts', "import { a } from './../core/../store/store.ts';", 'core must not import store'],
  ['core → the disk', 'src/core/k.ts', "import fs from 'fs';", 'core must not know node:fs'],
  ['core → pino', 'src/core/l.ts', "import type { Logger } from 'pino';", 'core must not know pino'],
  ['access → koa', 'src/access/b.ts', "import type { Context } from 'koa';", 'access must not know koa'],
  [
    'fleet → prom-client',
    'src/fleet/c.ts',
    "import { Counter } from 'prom-client';",
    'fleet must not know prom-client',
  ],
  ['http → SQL', 'src/http/d.ts', "import { DatabaseSync } from 'node:sqlite';", 'http must not know node:sqlite'],
  ['a room that nobody named', 'src/misc/a.ts', "import { a } from './b.ts';", 'src/misc is no room'],
  ['a cycle', 'src/http/e.ts', "import { f } from './f.ts';\nexport const e = f;", 'cycle'],
  ['a cycle of types', 'src/http/f.ts', "import type { e } from './e.ts';\nexport type F = typeof e;", 'cycle'],
];
const SOUND: readonly (readonly [file: string, text: string])[] = [
  ['src/core/m.ts', "import { a } from './n.ts';\nimport { Ajv } from 'ajv';\nimport { hash } from 'node:crypto';"],
  ['src/store/sqlite/b.ts', "import { a } from '../../core/n.ts';\nnew URL('./c.ts', import.meta.url);"],
  ['src/http/routes/b.ts', "import type { A } from '../../store/store.ts';\nimport Koa from 'koa';"],
  ['src/commands/c.ts', "import { a } from '../config.ts';\nimport { b } from '../store/sqlite/b.ts';"],
  ['src/main.ts', "import { a } from './config.ts';\nimport { b } from './http/app.ts';"],
];

describe('the linter and the rooms', () => {
  const folder = makeFolder();
  let found: ReadonlyMap<string, string>;

  before(() => {
    cpSync(join(ROOT, '.oxlintrc.json'), join(folder.path, '.oxlintrc.json'));
    cpSync(join(ROOT, 'lint'), join(folder.path, 'lint'), { recursive: true });
    for (const [file, text] of [...BROKEN.map(([, ...rest]) => rest), ...SOUND]) {
      mkdirSync(dirname(join(folder.path, file)), { recursive: true });
      writeFileSync(join(folder.path, file), `${text}\n`);
    }
    found = lint(folder.path);
  });
  after(() => folder.remove());

  for (const [what, file, , says] of BROKEN) {
    it(`refuses ${what}`, () => {
      expect(found.get(file)).to.contain(says);
    });
  }

  it('lets arrows run down', () => {
    for (const [file] of SOUND) expect(found.get(file), file).to.equal(undefined);
  });
});

/** @returns by file, what the rules about imports say of it */
function lint(cwd: string): ReadonlyMap<string, string> {
  const { stdout } = spawnSync(process.execPath, [OXLINT, '--format', 'json'], { cwd, encoding: 'utf8' });
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { code: string; filename: string; message: string }[] };
  const ours = diagnostics.filter(({ code }) => code === 'rooms(direction)' || code === 'import(no-cycle)');
  return new Map(ours.map(({ filename, message }) => [filename, message]));
}
