import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreError } from '../store.ts';
import { explainFailure } from './failures.ts';
import { makePrivate } from './private.ts';

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;
/** What to do with a lock that nobody can take. */
const ADVICE = 'It holds nothing: delete it and start again';
const NO_NAME = 'which left no name';

/**
 * Takes the folder for this process until it calls the returned function or ends, however it ends: what holds is SQLite's
 * lock on an empty database, which the operating system drops with the process. Who holds it stands in `owner.json`.
 * @throws {StoreError} naming the process that has the folder
 */
export function lockFolder(dataDir: string): () => void {
  const ownerFile = join(dataDir, 'owner.json');
  const lockFile = join(dataDir, 'lock.db');
  for (const file of [lockFile, ownerFile]) makePrivate(file);
  const lock = takeLock(lockFile, () => {
    throw new StoreError(
      `${dataDir} is in use by another gitops-status-server (${describeOwner(ownerFile)}). ` +
        'Stop that one first, or give this one a DATA_DIR of its own.',
    );
  });
  try {
    writeFileSync(ownerFile, `${JSON.stringify({ pid: process.pid, host: hostname(), since: new Date() })}\n`);
  } catch (error) {
    lock.close();
    throw error;
  }
  return () => lock.close();
}

function takeLock(lockFile: string, refuse: () => never): DatabaseSync {
  for (let mayHeal = true; ; mayHeal = false) {
    const db = new DatabaseSync(lockFile);
    try {
      db.exec('BEGIN EXCLUSIVE');
      return db;
    } catch (error) {
      db.close();
      const { errcode, message } = error as Error & { errcode?: number };
      if (errcode === SQLITE_BUSY) refuse();
      // it holds nothing, and nobody has it: who has would have been found before it was read
      const isGarbage = errcode === SQLITE_NOTADB || errcode === SQLITE_CORRUPT;
      if (!isGarbage || !mayHeal) {
        throw explainFailure(lockFile, error as Error, `${lockFile} cannot be locked (${message}). ${ADVICE}`, ADVICE);
      }
      truncateSync(lockFile);
    }
  }
}

function describeOwner(ownerFile: string): string {
  try {
    const { pid, host, since } = JSON.parse(readFileSync(ownerFile, 'utf8')) as Record<string, unknown>;
    if (typeof pid !== 'number') return NO_NAME;
    return `process ${pid} on ${String(host)}, since ${String(since)}`;
  } catch {
    return NO_NAME;
  }
}
