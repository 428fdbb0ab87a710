import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** Notices when files are taken away, exchanged or cut under the running service: SQLite goes on writing to what nobody will find again. */
export type OwnFiles = {
  /** Says which one is not what was opened, and what to do; undefined while all are. */
  findLost(): string | undefined;
  /** To be called after the database is closed, and not before: closing a file drops all locks that this process has on it. */
  close(): void;
};

/** The log begins with a header; then come frames, a page each with a header of its own (SQLite's file format, section 4). */
const LOG_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
/** Of the index of the log: where it says how many frames there are. */
const FRAMES_AT = 16;

/**
 * @param file the database, which is open, in WAL mode, and has been written
 * @param lockFile what keeps others from the folder
 */
export function watchFiles(file: string, lockFile: string, pageBytes: number): OwnFiles {
  const log = `${file}-wal`;
  const opened = [file, log, `${file}-shm`, lockFile].map((path) => ({ path, inode: inodeOf(path) }));
  const index = openSync(`${file}-shm`, 'r');
  const frames = Buffer.alloc(4);
  let bytes = 0;

  function logBytes(): number {
    readSync(index, frames, 0, 4, FRAMES_AT);
    // in the byte order of the machine: it is a piece of memory
    const count = new Uint32Array(frames.buffer, frames.byteOffset, 1)[0] as number;
    return count === 0 ? 0 : LOG_HEADER_BYTES + count * (FRAME_HEADER_BYTES + pageBytes);
  }

  /** The database never shrinks, and the log has what its index says. */
  function leastBytes(path: string): number {
    if (path === file) return bytes;
    return path === log ? logBytes() : 0;
  }

  function findFault(path: string, inode: string): string | undefined {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'is gone';
    if (`${stats.dev}.${stats.ino}` !== inode) return 'is another file now';
    if (stats.size < leastBytes(path)) return `has lost its end (${stats.size} bytes are left)`;
    if (path === file) bytes = stats.size;
    return undefined;
  }

  return {
    findLost() {
      for (const { path, inode } of opened) {
        const fault = findFault(path, inode);
        if (fault === undefined) continue;
        return `${path} ${fault}: somebody changed it while the service was running. Put it back, or stop the service and restore a backup`;
      }
      return undefined;
    },
    close: () => closeSync(index),
  };
}

function inodeOf(path: string): string {
  const { dev, ino } = statSync(path);
  return `${dev}.${ino}`;
}
