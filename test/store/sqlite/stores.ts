/** Folders of a store as a killed process or a power cut leaves them, for the tests of the start. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { advance } from '../../../src/core/ledger.ts';
import { parseReport } from '../../../src/core/report.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { type Change, type Store, StoreError } from '../../../src/store/store.ts';
import { NOW, reportOf } from '../../fixtures.ts';

/** The first report of a source, with some drifts. */
export function firstReport(server: string): Change {
  const names = Array.from({ length: 20 }, (_, i) => `etc/some/folder/file-${i}`);
  const advanced = advance(null, parseReport(reportOf(names, { server }), NOW), NOW, 600_000);
  if (advanced === null) throw new Error('a first report is never superseded');
  return { kind: 'report', expected: null, advance: advanced, diffs: null };
}

/** Commits sources `s<from>` to `s<to - 1>`, one by one. */
export async function commitEach(store: Store, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i += 1) await store.commit([firstReport(`s${i}`)]);
}

/** Copies database and log while they are in use, as a kill leaves them. */
export function copyAsKilled(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of ['gitops-status.db', 'gitops-status.db-wal']) {
    if (existsSync(join(from, name))) copyFileSync(join(from, name), join(to, name));
  }
}

/** A database as a kill leaves it, with all its sources in the log. */
export async function makeKilled(path: string, sources: number): Promise<void> {
  const running = `${path}-running`;
  // with its tables in the database
  await (await openSqlite(running)).close();
  const store = await openSqlite(running);
  await commitEach(store, 0, sources);
  copyAsKilled(running, path);
  await store.close();
  rmSync(running, { recursive: true });
}

/** Each file's bytes, but those of the lock, which a refused start may write. */
export function contentOf(path: string): Record<string, string> {
  const names = readdirSync(path).filter((name) => !/^(lock\.db(-journal)?|owner\.json)$/.test(name));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(path, name)).toString('latin1')]));
}

/** The message with which a start is refused. */
export async function refusalOf(path: string): Promise<string> {
  const opened = await openSqlite(path).catch((error: unknown) => error);
  if (opened instanceof StoreError) return opened.message;
  if (opened instanceof Error) throw opened;
  await (opened as Store).close();
  throw new Error('it opened');
}

/** What SQLite itself finds, as the first that opens the database after the kill. */
export function sourcesIn(path: string): number {
  const db = new DatabaseSync(join(path, 'gitops-status.db'));
  try {
    return Number(db.prepare('SELECT count(*) AS n FROM sources').get()?.n);
  } finally {
    db.close();
  }
}
