import { type Stats, lstatSync, mkdirSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { StoreError } from '../store.ts';
import { lockFolder } from './lock.ts';
import { headOf, sizeOf } from './start-check.ts';

/** The name of the database in DATA_DIR. */
export const DATABASE = 'gitops-status.db';
/** What every SQLite database begins with. */
const SQLITE_MAGIC = 'SQLite format 3\0';
/** Of a folder that is not only ours: what a start looks into. */
const MAX_FILES_LOOKED_AT = 1000;
/** More do not make the warning clearer. */
const MAX_NAMES = 5;

/**
 * Makes the folder if need be and locks it, see {@link lockFolder}.
 * @returns gives it free again
 * @throws {StoreError} saying why it cannot be used
 */
export function takeFolder(dataDir: string): () => void {
  try {
    makeFolder(resolve(dataDir));
    return lockFolder(dataDir);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw new StoreError(`DATA_DIR ${dataDir} cannot be written (${(error as Error).message}). ${remedyOf(error)}`, {
      cause: error,
    });
  }
}

/**
 * With no database of ours the service starts empty. Says so where another one lies there: it may be a backup that was put back under its own
 * name.
 */
export function warnOfOtherDatabases(dataDir: string, warn: (message: string) => void): void {
  if (sizeOf(join(dataDir, DATABASE)) > 0) return;
  const names = readdirSync(dataDir, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'lock.db')
    .slice(0, MAX_FILES_LOOKED_AT)
    .map(({ name }) => name)
    .filter((name) => isDatabase(join(dataDir, name)));
  if (names.length === 0) return;
  const named = names.slice(0, MAX_NAMES).join(', ') + (names.length > MAX_NAMES ? ', …' : '');
  warn(
    `starting empty: ${dataDir} has no ${DATABASE}, but holds other databases (${named}). ` +
      `If one of them is a backup to go on from, stop the service and run: npm run restore -- ${join(dataDir, names[0] as string)}`,
  );
}

/** Folder by folder. Node's own recursion never ends where a folder is there and nothing can be made in it, as below /proc. */
function makeFolder(path: string): void {
  const found = lookUp(path);
  if (found?.isSymbolicLink() === true && statSync(path, { throwIfNoEntry: false }) === undefined) {
    throw new Error(`${path} is a symbolic link to ${readlinkSync(path)}, which is not there`);
  }
  if (found !== undefined) {
    if (!statSync(path).isDirectory()) throw new Error(`${path} is not a folder`);
    return;
  }
  const parent = dirname(path);
  if (parent !== path) makeFolder(parent);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // another process may have been faster
    if ((error as { code?: string }).code !== 'EEXIST') throw error;
  }
}

/** What has this name; undefined also where a folder above it is none. */
function lookUp(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function remedyOf(error: unknown): string {
  switch ((error as { code?: string }).code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return 'Make room on the disk.';
    case 'EROFS':
      return 'Mount it so that it may be written to, or name another folder.';
    case 'EISDIR':
      return 'Move away what has the name of a file of the service.';
    default:
      return `Make it a folder that this user (uid ${process.getuid?.() ?? 'unknown'}) may write to, with all that is in it.`;
  }
}

function isDatabase(path: string): boolean {
  try {
    return headOf(path, SQLITE_MAGIC.length).toString('latin1') === SQLITE_MAGIC;
  } catch {
    // one that may not be read may be anything
    return false;
  }
}
