import { existsSync, rmSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { StoreError } from '../store.ts';
import { explainFailure } from './failures.ts';
import { APPLICATION_ID, MIGRATIONS } from './migrations.ts';
import { hasLog, isHotJournal, sizeOf } from './start-check.ts';
import { findLogDamage } from './write-ahead-log.ts';

/** What to do when a backup is damaged. */
export const ADVICE = 'Name another copy';

/**
 * Opens a copy of a database for reading, with its log if it has one.
 * @throws {StoreError} when it is none of ours, or not whole as far as that shows before it is read
 */
export function openBackup(file: string): { readonly db: DatabaseSync; close(): void } {
  requireFile(file);
  const shm = `${file}-shm`;
  const hadShm = existsSync(shm);
  let db: DatabaseSync | undefined;
  const close = (): void => {
    if (db?.isOpen === true) db.close();
    // SQLite makes one to read a log
    if (!hadShm) rmSync(shm, { force: true });
  };
  try {
    db = open(file);
    requireOurs(file, db);
    return { db, close };
  } catch (error) {
    close();
    if (error instanceof StoreError) throw error;
    throw explainFailure(file, error as Error, `${file} cannot be read (${(error as Error).message})`, ADVICE);
  }
}

function requireFile(file: string): void {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new StoreError(`there is no ${file}`);
  if (!found.isFile()) throw new StoreError(`${file} is not a file`);
  if (found.size === 0) throw new StoreError(`${file} is empty: it is no backup`);
}

function open(file: string): DatabaseSync {
  if (isHotJournal(`${file}-journal`)) {
    throw new StoreError(`${file}-journal is there: ${file} is in use, or was not written to its end. ${ADVICE}`);
  }
  if (sizeOf(`${file}-wal`) === 0) {
    return new DatabaseSync(new URL(`${pathToFileURL(file).href}?immutable=1`), { readOnly: true });
  }
  if (!hasLog(file)) {
    throw new StoreError(`${file}-wal does not belong to ${file} and would change it. Move it away`);
  }
  const damage = findLogDamage(file);
  if (damage !== null) throw new StoreError(`${file}-wal is damaged at byte ${damage.offset}. ${ADVICE}`);
  return new DatabaseSync(file, { readOnly: true });
}

function requireOurs(file: string, db: DatabaseSync): void {
  const application = db.prepare('PRAGMA application_id').get()?.application_id;
  if (application !== APPLICATION_ID) throw new StoreError(`${file} is not a database of gitops-status-server`);
  const version = Number(db.prepare('PRAGMA user_version').get()?.user_version);
  if (version > MIGRATIONS.length) {
    throw new StoreError(
      `${file} was written by a newer version of gitops-status-server (schema ${version}, this one knows ${MIGRATIONS.length}). ` +
        'Restore it with that version or a later one',
    );
  }
}
