import {
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  statfsSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { StoreError } from '../store.ts';
import { ADVICE, openBackup } from './backup-file.ts';
import { explainFailure } from './failures.ts';
import { DATABASE, takeFolder } from './folder.ts';
import { makePrivate } from './private.ts';
import { sizeOf } from './start-check.ts';

export type Restored = {
  readonly database: string;
  readonly sources: number;
  /** Where that is now which was there before. */
  readonly kept: readonly string[];
};

/** A copy that is not whole yet. */
const UNFINISHED = `${DATABASE}.unfinished-restore`;
/** A copy that is whole and on disk under this name, with the time behind it, is to become the database. */
const DECIDED = `${DATABASE}.restore-`;
const KEPT = `${DATABASE}.before-restore-`;
/** Pages copied at a time: all. */
const ALL_PAGES = 0x7fff_ffff;

/**
 * Makes a copy of `file` the database in `dataDir`, while no service runs there. What was there is kept under another name, together with its log,
 * which would undo the restore. However it is interrupted, the next start finds the old database or the new one, each whole.
 * @throws {StoreError} when the folder is in use, or the file is no whole database of ours. Nothing is then changed.
 */
export async function restoreDatabase(dataDir: string, file: string, now: Date): Promise<Restored> {
  const database = join(dataDir, DATABASE);
  if (existsSync(file) && existsSync(database) && realpathSync(file) === realpathSync(database)) {
    throw new StoreError(`${file} is the database itself. Name a backup`);
  }
  const unlock = takeFolder(dataDir);
  try {
    finishRestore(dataDir);
    const unfinished = join(dataDir, UNFINISHED);
    const sources = await copy(file, unfinished);
    giveToOwner(dataDir, [unfinished, ...['lock.db', 'owner.json'].map((name) => join(dataDir, name))]);
    const time = now.toISOString().replaceAll(/[-:]|\.\d+/g, '');
    renameSync(unfinished, join(dataDir, DECIDED + freeName(dataDir, time)));
    return { database, sources, kept: finishRestore(dataDir) };
  } catch (error) {
    rmSync(join(dataDir, UNFINISHED), { force: true });
    throw error;
  } finally {
    unlock();
  }
}

/**
 * Ends a restore that was interrupted: one that was decided is done, what is left of another is deleted. The caller has the folder's lock.
 * @returns under which names the files are kept that were there before
 * @throws {StoreError} when a file cannot be renamed or deleted
 */
export function finishRestore(dataDir: string): string[] {
  try {
    return finish(dataDir);
  } catch (error) {
    throw new StoreError(
      `DATA_DIR ${dataDir} cannot be read, or a restore in it that was interrupted cannot be finished (${(error as Error).message}). Nothing is lost. ` +
        'See that this user may write to the folder and all that is in it, then start again.',
      { cause: error },
    );
  }
}

function finish(dataDir: string): string[] {
  const kept: string[] = [];
  const database = join(dataDir, DATABASE);
  const names = readdirSync(dataDir);
  for (const name of names.filter((it) => it.startsWith(UNFINISHED))) rmSync(join(dataDir, name));
  for (const name of names.filter((it) => it.startsWith(DECIDED)).toSorted()) {
    // everything up to the last step may have been done before, and be done again
    sync(dataDir);
    for (const suffix of ['', '-wal', '-journal']) {
      if (!existsSync(database + suffix)) continue;
      const away = join(dataDir, KEPT + name.slice(DECIDED.length) + suffix);
      renameSync(database + suffix, away);
      kept.push(away);
    }
    rmSync(`${database}-shm`, { force: true });
    sync(dataDir);
    renameSync(join(dataDir, name), database);
    sync(dataDir);
  }
  return kept;
}

async function copy(file: string, unfinished: string): Promise<number> {
  const source = openBackup(file);
  try {
    requireRoom(file, unfinished);
    makePrivate(unfinished);
    await backup(source.db, unfinished, { rate: ALL_PAGES });
  } catch (error) {
    throw explainCopy(unfinished, error as Error);
  } finally {
    source.close();
  }
  try {
    return checkCopy(file, unfinished);
  } catch (error) {
    throw explainCopy(unfinished, error as Error);
  }
}

/** Reads the whole copy, brings it to the disk, and returns how many sources are in it. */
function checkCopy(file: string, unfinished: string): number {
  const db = new DatabaseSync(unfinished);
  try {
    // a start can then tell it from a database that has a log
    db.exec('PRAGMA temp_store = MEMORY; PRAGMA journal_mode = DELETE');
    const [result] = db.prepare('PRAGMA quick_check(1)').all();
    if (result?.quick_check !== 'ok') {
      throw new StoreError(`${file} is damaged (${String(result?.quick_check).replaceAll('\n', ' ')}). ${ADVICE}`);
    }
    return Number(db.prepare('SELECT count(*) AS n FROM sources WHERE removed_at IS NULL').get()?.n);
  } finally {
    db.close();
    sync(unfinished);
  }
}

function explainCopy(unfinished: string, error: Error): StoreError {
  if (error instanceof StoreError) return error;
  return explainFailure(unfinished, error, `the copy ${unfinished} could not be made (${error.message})`, ADVICE);
}

function requireRoom(file: string, unfinished: string): void {
  const { bavail, bsize, blocks } = statfsSync(dirname(unfinished));
  const needed = sizeOf(file) + sizeOf(`${file}-wal`);
  // some file systems do not tell
  if (blocks === 0 || bavail * bsize >= needed) return;
  throw new StoreError(
    `the copy of ${file} needs ${needed} bytes beside what is in DATA_DIR, and its disk has room for ${bavail * bsize}. ` +
      'Make room there: copies of earlier restores (*.before-restore-*) may be deleted or moved away',
  );
}

/** With root's rights, files would be root's, and the service could not open them. */
function giveToOwner(dataDir: string, files: readonly string[]): void {
  if (process.getuid?.() !== 0) return;
  const database = join(dataDir, DATABASE);
  const { uid, gid } = statSync(existsSync(database) ? database : dataDir);
  for (const file of files) chownSync(file, uid, gid);
}

/** Two restores may be made within a second. */
function freeName(dataDir: string, time: string): string {
  const names = new Set(readdirSync(dataDir));
  let name = time;
  for (let count = 2; names.has(KEPT + name); count += 1) name = `${time}-${count}`;
  return name;
}

/** Of a file or a folder. */
function sync(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
