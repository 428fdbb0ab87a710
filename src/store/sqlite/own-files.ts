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
/** Of the index of the log: from where it says how many frames there are, the checksum of the last one, and the salt of the log. */
const FRAMES_AT = 16;
const INDEX_BYTES = 24;
/** Of a frame: where its salt and its checksum stand. */
const SALT_AT = 8;

/** The last frame of a commit, as the index knows it. */
type LastFrame = { readonly count: number; readonly saltAndChecksum: Buffer };

/**
 * @param file the database, which is open, in WAL mode, and has been written
 * @param lockFile what keeps others from the folder
 */
export function watchFiles(file: string, lockFile: string, pageBytes: number): OwnFiles {
  const log = `${file}-wal`;
  const opened = [file, log, `${file}-shm`, lockFile].map((path) => ({ path, inode: inodeOf(path) }));
  const index = openSync(`${file}-shm`, 'r');
  const openedLog = openSync(log, 'r');
  let bytes = 0;
  let seen = readLastFrame(index);

  function logBytes(): number {
    const { count } = readLastFrame(index);
    return count === 0 ? 0 : LOG_HEADER_BYTES + count * (FRAME_HEADER_BYTES + pageBytes);
  }

  /** A log that was cut in the middle of a commit has its size again, with a hole where the commit before was. */
  function hasHole(): boolean {
    const last = readLastFrame(index);
    const known = isSameLog(seen, last) ? [seen, last] : [last];
    if (known.some((frame) => frame.count > 0 && !isThere(frame))) return true;
    seen = last;
    return false;
  }

  function isThere({ count, saltAndChecksum }: LastFrame): boolean {
    const found = Buffer.alloc(saltAndChecksum.length);
    const at = LOG_HEADER_BYTES + (count - 1) * (FRAME_HEADER_BYTES + pageBytes) + SALT_AT;
    readSync(openedLog, found, 0, found.length, at);
    return found.equals(saltAndChecksum);
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
    if (path === log && hasHole()) return 'has lost what was in it';
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
    close() {
      closeSync(index);
      closeSync(openedLog);
    },
  };
}

function readLastFrame(index: number): LastFrame {
  const found = Buffer.alloc(INDEX_BYTES);
  readSync(index, found, 0, INDEX_BYTES, FRAMES_AT);
  // in the byte order of the machine: it is a piece of memory. Only the salt is as it stands in the log
  const [count = 0, , first = 0, second = 0] = new Uint32Array(new Uint8Array(found).buffer);
  const checksum = Buffer.alloc(8);
  checksum.writeUInt32BE(first, 0);
  checksum.writeUInt32BE(second, 4);
  return { count, saltAndChecksum: Buffer.concat([found.subarray(16, 24), checksum]) };
}

/** Before the log begins anew, it only grows. */
function isSameLog(before: LastFrame, after: LastFrame): boolean {
  return (
    before.count <= after.count && before.saltAndChecksum.subarray(0, 8).equals(after.saltAndChecksum.subarray(0, 8))
  );
}

function inodeOf(path: string): string {
  const { dev, ino } = statSync(path);
  return `${dev}.${ino}`;
}
