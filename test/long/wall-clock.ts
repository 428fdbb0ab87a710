/** A wall clock that is wrong for one process, by as much as a test says, while it runs: libfaketime. Its monotonic clock stays right. */
import { globSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../fixtures.ts';

export type WallClock = {
  /** For the service that is to go by it. */
  readonly env: Record<string, string>;
  /** By how much it is ahead from now on (below 0: behind). It begins right. */
  set(aheadMs: number): void;
  /** What it says, as ISO 8601. */
  now(): string;
  remove(): void;
};

/** Needs Debian's package faketime. */
export function makeWallClock(): WallClock {
  const [library] = globSync('/usr/{lib,lib64,local/lib}/{,*/}faketime/libfaketimeMT.so.1');
  if (library === undefined) throw new Error('libfaketimeMT.so.1 is not there: on Debian, apt-get install faketime');
  const folder = makeFolder();
  const file = join(folder.path, 'clock');
  let ms = 0;

  function set(aheadMs: number): void {
    ms = aheadMs;
    // by a rename, so that no half line is ever read
    writeFileSync(`${file}.new`, `${aheadMs < 0 ? '' : '+'}${aheadMs / 1000}\n`);
    renameSync(`${file}.new`, file);
  }

  set(0);
  return {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      NO_FAKE_STAT: '1',
    },
    set,
    now: () => new Date(Date.now() + ms).toISOString(),
    remove: folder.remove,
  };
}
