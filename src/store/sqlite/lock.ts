import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreError } from '../store.ts';
import { makePrivate } from './private.ts';

const SQLITE_BUSY = 5;

/**
 * Takes the folder for this process until it calls the returned function or ends, however it ends: what holds is SQLite's
 * lock on an empty database, which the operating system drops with the process. Who holds it stands in `owner.json`.
 * @throws {StoreError} naming the process that has the folder
 */
export function lockFolder(dataDir: string): () => void {
  const ownerFile = join(dataDir, 'owner.json');
  const lockFile = join(dataDir, 'lock.db');
  for (const file of [lockFile, ownerFile]) makePrivate(file);
  const db = new DatabaseSync(lockFile);
  try {
    db.exec('BEGIN EXCLUSIVE');
    writeFileSync(ownerFile, `${JSON.stringify({ pid: process.pid, host: hostname(), since: new Date() })}\n`);
  } catch (error) {
    db.close();
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error;
    throw new StoreError(
      `${dataDir} is in use by another gitops-status-server (${describeOwner(ownerFile)}). ` +
        'Stop that one first, or give this one a DATA_DIR of its own.',
      { cause: error },
    );
  }
  return () => db.close();
}

function describeOwner(ownerFile: string): string {
  try {
    const { pid, host, since } = JSON.parse(readFileSync(ownerFile, 'utf8')) as Record<string, string>;
    return `process ${pid} on ${host}, since ${since}`;
  } catch {
    return 'which left no name';
  }
}
