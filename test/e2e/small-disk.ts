import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../fixtures.ts';
import type { Service } from '../process.ts';

/** A folder that can be made to take no more, and to take more again. */
export type Disk = {
  readonly path: string;
  /** Leaves a few megabytes, which reports will fill. */
  narrow(service: Service): void;
  fill(service: Service): void;
  /** @param service undefined when it is not running */
  makeRoom(service?: Service): void;
  remove(): void;
};

/** A file system of its own, filled to the last byte. Needs the right to mount. */
export function openSmallDisk(): Disk & { fill(): void } {
  const folder = makeFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', folder.path], { stdio: 'ignore' });
  const filler = join(folder.path, 'filler');
  return {
    path: folder.path,
    narrow() {},
    fill() {
      const descriptor = openSync(filler, 'w');
      try {
        for (const size of [65_536, 4096, 1]) writeUntilFull(descriptor, Buffer.alloc(size));
      } finally {
        closeSync(descriptor);
      }
    },
    makeRoom() {
      rmSync(filler, { force: true });
      execFileSync('mount', ['-o', 'remount,size=64m', folder.path]);
    },
    remove() {
      execFileSync('umount', [folder.path]);
      folder.remove();
    },
  };
}

function writeUntilFull(descriptor: number, block: Buffer): void {
  try {
    while (writeSync(descriptor, block) > 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

/** Whether a suite may make a file system of its own. */
export function mayMount(): boolean {
  const folder = makeFolder();
  const isMounted = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', folder.path]).status === 0;
  if (isMounted) execFileSync('umount', [folder.path]);
  folder.remove();
  return isMounted;
}
