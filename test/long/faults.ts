/** A disk that fails when it is told to: `faults.c`, compiled, and the environment with which the service runs on it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, realpathSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeFolder } from '../fixtures.ts';

export type FaultyDisk = {
  /** The folder that may fail, for DATA_DIR. */
  readonly path: string;
  /** For the service that is to run on it. */
  readonly env: Record<string, string>;
  /** What the disk was asked for so far: see `disk-record.ts`. */
  readonly record: string;
  /** The length of the record: a moment in the life of the disk. */
  moment(): number;
  /**
   * From now on this call fails.
   * @param times how often (default: always)
   * @param every only each so-manieth call fails (default: each)
   */
  fail(call: 'sync' | 'write', error: 'EIO' | 'ENOSPC', how?: { times?: number; every?: number }): void;
  /** Each such call takes so much longer. Of syncing: more reports wait for each commit, and more is not yet synced. */
  delay(call: 'sync' | 'write', ms: number): void;
  /** Syncing is confirmed and does nothing, as some disks do. */
  lie(): void;
  /** All is well again. */
  heal(): void;
  remove(): void;
};

/** Needs `gcc`, and a program that is linked to its C library dynamically, as Node is. */
export function makeFaultyDisk(): FaultyDisk {
  const folder = makeFolder();
  // the library compares paths as text
  const root = realpathSync(folder.path);
  const path = join(root, 'data');
  const record = join(root, 'record');
  const control = join(root, 'control');
  mkdirSync(path);
  writeFileSync(record, '');
  let serial = 0;

  /** By a rename, so that no half line is ever read. */
  function order(line: string): void {
    writeFileSync(`${control}.new`, `${line}\n`);
    renameSync(`${control}.new`, control);
  }

  return {
    path,
    record,
    env: {
      LD_PRELOAD: compile(root),
      FAULTS_FOLDER: path,
      FAULTS_RECORD: record,
      FAULTS_CONTROL: control,
    },
    moment: () => statSync(record).size,
    fail(call, error, { times = -1, every = 1 } = {}) {
      serial += 1;
      order(`fail ${serial} ${call} ${constants.errno[error]} ${times} ${every}`);
    },
    delay: (call, ms) => order(`delay ${call} ${ms}`),
    lie: () => order('lie'),
    heal: () => order(''),
    remove: folder.remove,
  };
}

function compile(folder: string): string {
  const library = join(folder, 'faults.so');
  const source = fileURLToPath(new URL('faults.c', import.meta.url));
  execFileSync('gcc', ['-shared', '-fPIC', '-O2', '-Wall', '-Wextra', '-Werror', '-o', library, source]);
  return library;
}
