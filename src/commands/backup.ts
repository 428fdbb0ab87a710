import { existsSync } from 'node:fs';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { runFileCommand } from './file-command.ts';

const USAGE =
  'usage: npm run backup -- FILE   (makes FILE a copy of the database in DATA_DIR; the service may be running)';
/** What the service keeps in DATA_DIR. */
const OWN_FILES =
  /^(gitops-status\.db(-wal|-shm|-journal|\.restore-.*|\.unfinished-restore)?|lock\.db(-journal)?|owner\.json)$/;
/** Pages copied at a time: all. In between, a write by the service would make SQLite begin again, under load for ever. */
const ALL_PAGES = 0x7fff_ffff;

if (import.meta.main) {
  await runFileCommand({
    name: 'backup',
    usage: USAGE,
    failed: 'no backup was made',
    async run(dataDir, file) {
      const { sources, bytes } = await backUp(dataDir, file);
      return [`${file}: ${sources} sources, ${bytes} bytes`];
    },
  });
}

/**
 * Copies the database as it is at one moment, with every report that was acknowledged before the call, without holding up the
 * service that uses it. `file` appears (or is replaced) when the copy is whole, checked and on disk, and not before.
 */
async function backUp(dataDir: string, file: string): Promise<{ sources: number; bytes: number }> {
  const database = join(dataDir, 'gitops-status.db');
  if (!existsSync(database)) throw new Error(`there is no ${database}. Is DATA_DIR the service's?`);
  const unfinished = `${file}.unfinished`;
  const folder = await open(dirname(file)).catch((error: Error) => {
    throw new Error(`the folder of ${file} cannot be used (${error.message})`, { cause: error });
  });
  const source = new DatabaseSync(database, { readOnly: true });
  try {
    await requireOther(file, dataDir);
    await makePrivate(unfinished);
    await backup(source, unfinished, { rate: ALL_PAGES });
    const sources = check(unfinished);
    const bytes = await sync(unfinished);
    await rename(unfinished, file);
    await folder.sync();
    return { sources, bytes };
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  } finally {
    source.close();
    await folder.close();
  }
}

/** Made here, so that an error says more than SQLite's, which leaves out the name, and nobody else can read the copy. */
async function makePrivate(file: string): Promise<void> {
  const handle = await open(file, 'w', 0o600);
  // it may have been left behind; a file system without modes is no reason for no backup
  await handle.chmod(0o600).catch(() => {});
  await handle.close();
}

/** Throws where the file is there for something else. */
async function requireOther(file: string, dataDir: string): Promise<void> {
  // a folder may have several names
  if ((await realpath(dirname(file))) === (await realpath(dataDir)) && OWN_FILES.test(basename(file))) {
    throw new Error(`${file} belongs to the service. Give the copy another name`);
  }
  const found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) throw new Error(`${file} is a folder. Name a file in it`);
}

/** Reads the whole copy, throws where it is damaged, and returns how many sources are in it. */
function check(file: string): number {
  const copy = new DatabaseSync(file);
  try {
    // one file that needs no others beside it; the service turns the write-ahead log on again
    copy.exec('PRAGMA journal_mode = DELETE');
    const [result] = copy.prepare('PRAGMA quick_check(1)').all();
    if (result?.quick_check !== 'ok') throw new Error(`the copy is damaged (${String(result?.quick_check)})`);
    return Number(copy.prepare('SELECT count(*) AS n FROM sources WHERE removed_at IS NULL').get()?.n);
  } finally {
    copy.close();
  }
}

async function sync(file: string): Promise<number> {
  const handle = await open(file, 'r+');
  try {
    await handle.sync();
    return (await handle.stat()).size;
  } finally {
    await handle.close();
  }
}
