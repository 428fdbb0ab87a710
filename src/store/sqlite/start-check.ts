import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { StoreError } from '../store.ts';
import { accessSentence, damageAdvice, explainFailure } from './failures.ts';
import { APPLICATION_ID, MIGRATIONS } from './migrations.ts';
import { findLogDamage } from './write-ahead-log.ts';

/** What SQLite keeps beside a database. */
export const BESIDE = ['-wal', '-shm', '-journal'] as const;
/** The shortest that a database can be: its header. */
const HEADER_BYTES = 100;
const MAGIC = 'SQLite format 3\0';
/** At these offsets a header says how the database is written: 1 with a rollback journal, 2 with a write-ahead log. */
const WRITE_VERSION_AT = 18;
const READ_VERSION_AT = 19;
const APPLICATION_ID_AT = 68;
const JOURNAL_MAGIC = 'd9d505f920a163d7';
/** Where a rollback journal says how many pages the database had. */
const JOURNAL_PAGES_AT = 16;

/**
 * Checks a database before it is opened for writing, and what lies beside it, so that nothing that is acknowledged is dropped in silence and a
 * file that is not ours stays unchanged. A file that is not there, or is empty, is right when nothing lies beside it.
 * @throws {StoreError} saying what is wrong and what to do. All files are then as they were.
 */
export function checkDatabase(file: string): void {
  for (const path of [file, ...BESIDE.map((suffix) => file + suffix)]) requireAccess(path);
  try {
    if (sizeOf(file) === 0) {
      refuseOrphans(file);
      return;
    }
    if (sizeOf(`${file}-wal`) > 0) checkLog(file);
    checkContent(file);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw explainFailure(
      file,
      error as Error,
      `${file} is damaged (${(error as Error).message}). ${damageAdvice(file)}.`,
    );
  }
}

/** In bytes; 0 also for a file that is not there. */
export function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function requireAccess(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) {
    throw new StoreError(`${path} is a folder or a device, not a file. Nothing was changed. Move it away.`);
  }
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new StoreError(accessSentence(path, (error as Error).message), { cause: error });
  }
}

/** A log or a journal without its database: SQLite would delete it, and start empty. */
function refuseOrphans(file: string): void {
  const what = statSync(file, { throwIfNoEntry: false }) === undefined ? 'is gone' : 'has lost its content (0 bytes)';
  const beside = ['-wal', '-journal']
    .map((suffix) => file + suffix)
    // the very first transaction of a database has a journal that names no pages
    .find((path) => (path.endsWith('-wal') ? sizeOf(path) > 0 : (pagesInJournal(path) ?? 0) > 0));
  if (beside === undefined) return;
  throw new StoreError(
    `${file} ${what}, but ${beside} is there and belongs to it: reports that were acknowledged are in it, and a start would delete it. ` +
      `Nothing was changed. Put ${file} back where it was moved from, or a backup with \`npm run restore -- FILE\`, which keeps what is there. ` +
      `To start empty, move ${beside} away.`,
  );
}

/** Whether SQLite would roll back what a killed process has left half done. */
export function isHotJournal(path: string): boolean {
  return pagesInJournal(path) !== null;
}

/** How many pages the database had; null when it is not a journal that SQLite would use. */
function pagesInJournal(path: string): number | null {
  const head = headOf(path, JOURNAL_PAGES_AT + 4);
  if (!head.toString('hex').startsWith(JOURNAL_MAGIC) || head.length < JOURNAL_PAGES_AT + 4) return null;
  return head.readUInt32BE(JOURNAL_PAGES_AT);
}

function checkLog(file: string): void {
  if (!hasLog(file)) {
    throw new StoreError(
      `${file} is not the database that ${file}-wal belongs to: it looks like a backup that was put in its place, and that log would undo it. ` +
        `Nothing was changed. Move ${file} away under another name, say FILE, and run \`npm run restore -- FILE\`: it keeps the log and takes ` +
        `it out of the way. If ${file} is the one that you want and the log is of no use, move ${file}-wal away.`,
    );
  }
  const damage = findLogDamage(file);
  if (damage === null) return;
  const { frame, offset, transactions } = damage;
  const part = frame === 0 ? 'its header' : `frame ${frame}, at byte ${offset},`;
  const wayOut = frame === 0 ? `move ${file}-wal away` : `cut the log off there (truncate -s ${offset} ${file}-wal)`;
  throw new StoreError(
    `${file}-wal is damaged: ${part} is broken, and ${transactions} whole transactions with acknowledged reports come after it, ` +
      'which a start would drop. Nothing was changed. Put a backup in its place with `npm run restore -- FILE`, which keeps what is there. ' +
      `Or go on without them: copy both files to a safe place, then ${wayOut} and start.`,
  );
}

/** False: the database has no log for certain, and one that lies beside it belongs to another. */
export function hasLog(file: string): boolean {
  const header = headOf(file, HEADER_BYTES);
  // a power cut during a checkpoint may leave anything here: the log has it again
  if (!header.toString('latin1').startsWith(MAGIC)) return true;
  return header[WRITE_VERSION_AT] !== 1 || header[READ_VERSION_AT] !== 1;
}

function checkContent(file: string): void {
  const db = openToCheck(file);
  try {
    db.exec('PRAGMA temp_store = MEMORY');
    const { application_id: application } = db.prepare('PRAGMA application_id').get() as { application_id: number };
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
    const { tables } = db.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as { tables: number };
    if (application !== APPLICATION_ID && tables > 0) throw anotherProgram(file);
    if (version > MIGRATIONS.length) {
      throw new StoreError(
        `${file} was written by a newer version of gitops-status-server (schema ${version}, this one knows ${MIGRATIONS.length}). ` +
          `Run that version or a later one. ${damageAdvice(file)}.`,
      );
    }
    const [result] = db.prepare('PRAGMA quick_check(1)').all() as { quick_check: string }[];
    if (result?.quick_check !== 'ok') throw new Error(result?.quick_check.replaceAll('\n', ' '));
  } finally {
    db.close();
  }
}

/** Without a log or a journal nothing is written, not even an empty file beside it. */
function openToCheck(file: string): DatabaseSync {
  // SQLite takes a single byte for an empty database
  if (sizeOf(file) < HEADER_BYTES) throw new Error('it is shorter than its header');
  if (isHotJournal(`${file}-journal`)) {
    const application = headOf(file, HEADER_BYTES).readUInt32BE(APPLICATION_ID_AT);
    if (application !== APPLICATION_ID && application !== 0) throw anotherProgram(file);
    // what a killed process left half done is taken back when the file is opened, which only a writer can
    return new DatabaseSync(file);
  }
  if (sizeOf(`${file}-wal`) > 0) return new DatabaseSync(file, { readOnly: true });
  return new DatabaseSync(new URL(`${pathToFileURL(file).href}?immutable=1`), { readOnly: true });
}

function anotherProgram(file: string): StoreError {
  return new StoreError(
    `${file} is another program's database. Nothing was changed. Give the service a DATA_DIR of its own.`,
  );
}

/** The first bytes of a file: fewer when it is shorter, none when it is not there. */
export function headOf(file: string, bytes: number): Buffer {
  if (sizeOf(file) === 0) return Buffer.alloc(0);
  const descriptor = openSync(file, 'r');
  try {
    const head = Buffer.alloc(bytes);
    return head.subarray(0, readSync(descriptor, head, 0, bytes, 0));
  } finally {
    closeSync(descriptor);
  }
}
