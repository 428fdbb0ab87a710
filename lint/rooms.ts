/** A rule for oxlint: which room of `src/` may import which. The arrows run down only; see docs/architecture.md. */
import { isBuiltin } from 'node:module';
import { basename, dirname, extname, join, relative, sep } from 'node:path';

type Room = {
  /** The rooms that it may import, besides itself. */
  readonly rooms: readonly string[];
  /** The packages and builtins that it may import. */
  readonly allows: (name: string) => boolean;
};

/** Builtins that compute and nothing else: no disk, no network, no clock. */
const PURE = /^node:(buffer|crypto|querystring|string_decoder|url|util)$/;
const SCHEMA = /^(ajv|json-schema-to-ts)(\/|$)/;
const WEB = /^(koa|koa-[^/]+|@koa\/.+|prom-client|pino)(\/|$)/;
const DATABASE = /^(node:sqlite|pg|postgres)(\/|$)/;

/** The lowest room first. What lies in `src/` itself is the room `main`. */
const ROOMS: Readonly<Record<string, Room>> = {
  core: { rooms: [], allows: (name) => PURE.test(name) || SCHEMA.test(name) },
  access: { rooms: ['core'], allows: (name) => !WEB.test(name) && !DATABASE.test(name) },
  store: { rooms: ['core'], allows: (name) => !WEB.test(name) },
  fleet: { rooms: ['store', 'core'], allows: (name) => !WEB.test(name) && !DATABASE.test(name) },
  http: { rooms: ['fleet', 'store', 'access', 'core'], allows: (name) => !DATABASE.test(name) },
  commands: { rooms: ['main', 'http', 'fleet', 'store', 'access', 'core'], allows: () => true },
  main: { rooms: ['commands', 'http', 'fleet', 'store', 'access', 'core'], allows: () => true },
};
/** They run when they are imported. */
const PROGRAMS = new Set(['main.ts', 'early-signals.ts']);
/** Only the rooms that wire may name a driver; the others know the store by its contract. */
const WIRING = new Set(['main', 'commands', 'store']);

type Node = {
  readonly source?: Node | null;
  readonly callee?: Node;
  readonly arguments?: readonly Node[];
  readonly name?: unknown;
  readonly value?: unknown;
};
type Context = {
  readonly filename: string;
  report(this: void, problem: { readonly node: Node; readonly message: string }): void;
};

const direction = {
  create(context: Context): Record<string, (node: Node) => void> {
    const root = rootOf(context.filename);
    if (root === undefined) return {};
    const check = (node: Node, source: Node | null | undefined): void => {
      if (source === null || source === undefined) return;
      const message = problemOf(context.filename, source.value, root);
      if (message !== undefined) context.report({ node, message });
    };
    const checkSource = (node: Node): void => check(node, node.source);
    return {
      ImportDeclaration: checkSource,
      ExportNamedDeclaration: checkSource,
      ExportAllDeclaration: checkSource,
      ImportExpression: checkSource,
      TSImportType: checkSource,
      // how a thread is started
      NewExpression(node) {
        const [path] = node.arguments ?? [];
        if (node.callee?.name === 'URL' && isScript(path?.value)) check(node, path);
      },
    };
  },
};

// the form that oxlint loads
export default { meta: { name: 'rooms' }, rules: { direction } };

/** @returns the folder `src` that the file lies in, if it does */
function rootOf(file: string): string | undefined {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    if (basename(folder) === 'src') return folder;
  }
  return undefined;
}

/** @returns why the file may not import this, in a sentence; undefined if it may */
function problemOf(file: string, specifier: unknown, root: string): string | undefined {
  const from = roomOf(file, root);
  const room = ROOMS[from];
  if (room === undefined) return `src/${from} is no room: name it, and what it may import, in lint/rooms.ts.`;
  if (typeof specifier !== 'string') return 'An import must name its file, so that its direction can be checked.';
  if (!specifier.startsWith('.')) {
    const name = isBuiltin(specifier) && !specifier.startsWith('node:') ? `node:${specifier}` : specifier;
    if (room.allows(name)) return undefined;
    return `${from} must not know ${name}: use it in a room above, and pass on a value or a function.`;
  }
  const target = join(dirname(file), specifier);
  const to = roomOf(target, root);
  if (to === from && !PROGRAMS.has(relative(root, target))) return undefined;
  if (!room.rooms.includes(to) || PROGRAMS.has(relative(root, target))) return upward(from, to, room);
  if (to === 'store' && !WIRING.has(from) && dirname(relative(root, target)) !== 'store')
    return `${from} must not know a driver of the store: it has the contract in store/store.ts.`;
  return undefined;
}

function upward(from: string, to: string, { rooms }: Room): string {
  const may = rooms.length === 0 ? 'nothing outside itself' : rooms.join(', ');
  return `${from} must not import ${to}: arrows run down only, and ${from} may import ${may}. Pass it as an argument, or move the file.`;
}

function roomOf(file: string, root: string): string {
  const [first, ...rest] = relative(root, file).split(sep);
  if (first === undefined || first === '..') return 'what lies outside src';
  return rest.length === 0 ? 'main' : first;
}

function isScript(path: unknown): boolean {
  return typeof path === 'string' && ['.ts', '.js', '.mjs'].includes(extname(path));
}
