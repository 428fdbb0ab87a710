import { closeSync, fsyncSync, openSync, readSync } from 'node:fs';
import {
  FRAME_HEADER_BYTES,
  type Frame,
  type LogHeader,
  type Sum,
  frameSum,
  headThatFits,
  isPageSize,
  isSame,
  readFrames,
  readLogHeader,
} from './log-format.ts';

/** What SQLite would drop without a word: its recovery ends at the first frame that is broken. */
export type LogDamage = {
  /** Counted from 1; 0: the header. */
  readonly frame: number;
  /** Where the broken part begins, in bytes. */
  readonly offset: number;
  /** How many transactions behind it are whole. */
  readonly transactions: number;
};

/** No disk writes less at once. What lies in one sector is all old or all new after a power cut. */
const SECTOR_BYTES = 512;
/** Where nothing else says it: SQLite's default, and ours. */
const DEFAULT_PAGE_BYTES = 4096;

/**
 * Looks for damage that a crash cannot have left. Each commit is on disk before the next one begins. So after a power cut frames of the last
 * transaction may be missing, in any order, but none of an earlier one: a broken frame with a later transaction behind it is damage.
 *
 * Brings the log to the disk first: a process may have been killed between its write and its fsync, and what SQLite then reads as committed is
 * what the next commit builds upon.
 * @returns null when the log is whole, or ends as a crash may leave it
 */
export function findLogDamage(database: string): LogDamage | null {
  const descriptor = openSync(`${database}-wal`, 'r');
  try {
    fsyncSync(descriptor);
    const header = readLogHeader(descriptor);
    if (header === null) return null;
    return header.isValid ? findBrokenFrame(descriptor, header) : findLostLog(descriptor, header, database);
  } finally {
    closeSync(descriptor);
  }
}

function findBrokenFrame(descriptor: number, header: LogHeader): LogDamage | null {
  let broken: Frame | undefined;
  let transactions = 0;
  let isDamage = false;
  let before: Link = { sums: [header.sum], endsTransaction: () => false };
  for (const frame of readFrames(descriptor, header.pageSize)) {
    const follows = followsOn(frame, before.sums, header);
    if (broken === undefined) {
      if (follows === undefined) {
        broken = frame;
        before = brokenLink(frame, before.sums[0] as Sum, header);
        continue;
      }
    } else if (follows !== undefined) {
      isDamage ||= before.endsTransaction(follows);
      if (frame.commitPages !== 0) transactions += 1;
    }
    const endsTransaction = follows !== undefined && frame.commitPages !== 0;
    before = { sums: [frame.sum], endsTransaction: () => endsTransaction };
  }
  if (broken === undefined || !isDamage) return null;
  return { frame: broken.index, offset: broken.offset, transactions };
}

/** What the next frame is compared with. */
type Link = {
  /** The sums that the frame has, or should have. The next one begins with one of them. */
  readonly sums: readonly Sum[];
  /** Whether a transaction ends here for certain, when the next frame begins with the sum of this number. */
  endsTransaction(follower: number): boolean;
};

/** Which of the sums before it the frame goes on from; undefined: none, or it is of another log. */
function followsOn(frame: Frame, sums: readonly Sum[], { salts, isBigEndian }: LogHeader): number | undefined {
  if (!isSame(frame.salts, salts) || frame.pageNumber === 0) return undefined;
  const found = sums.findIndex((sum) => isSame(frame.sum, frameSum(sum, frame, isBigEndian)));
  return found === -1 ? undefined : found;
}

/** The first broken frame. It may itself be the end of a transaction. */
function brokenLink(frame: Frame, before: Sum, { salts, isBigEndian }: LogHeader): Link {
  const computed = frameSum(before, frame, isBigEndian);
  const [pageNumber, commitPages] = headThatFits(before, frame, isBigEndian);
  // the sum says what the mark was, so the mark alone was broken, or the salts
  const mark = pageNumber === frame.pageNumber ? commitPages : undefined;
  const isOfThisLog = isSame(frame.salts, salts) && !isAcrossSectors(frame.offset);
  return {
    sums: [frame.sum, computed],
    endsTransaction(follower) {
      // its own sum was broken and the rest is as it was written
      if (follower === 1) return frame.commitPages !== 0;
      return mark === undefined ? isOfThisLog && frame.commitPages !== 0 : mark !== 0;
    },
  };
}

/** Whether mark, salts and sum can be of different writes. */
function isAcrossSectors(offset: number): boolean {
  const from = Math.floor((offset + 4) / SECTOR_BYTES);
  return Math.floor((offset + FRAME_HEADER_BYTES - 1) / SECTOR_BYTES) !== from;
}

/**
 * With a broken header SQLite takes the log for empty. A power cut leaves one while the log begins anew: then all that is in it has been copied into
 * the database before. Where it has not, a live log lost its header.
 */
function findLostLog(descriptor: number, header: LogHeader, database: string): LogDamage | null {
  const file = openSync(database, 'r');
  try {
    const pageSize = pageSizeOf(file);
    const { offsets, transactions, pages } = lastCommitted(descriptor, header, pageSize);
    for (const [page, offset] of offsets) {
      if (page > pages) continue;
      const inLog = readAt(descriptor, offset, pageSize);
      if (!inLog.equals(readAt(file, (page - 1) * pageSize, pageSize))) return { frame: 0, offset: 0, transactions };
    }
    return null;
  } finally {
    closeSync(file);
  }
}

type Committed = {
  /** Where the newest committed copy of each page lies in the log. As many as the database has pages, at most. */
  readonly offsets: Map<number, number>;
  readonly transactions: number;
  /** The database's size after the last of them. */
  readonly pages: number;
};

function lastCommitted(descriptor: number, header: LogHeader, pageSize: number): Committed {
  const offsets = new Map<number, number>();
  let open: [page: number, offset: number][] = [];
  let transactions = 0;
  let pages = 0;
  let salts: Sum | undefined;
  let before: Pick<Frame, 'salts' | 'sum'> | undefined;
  for (const frame of readFrames(descriptor, pageSize)) {
    const expected = salts ?? before?.salts ?? frame.salts;
    const follows = followsOn(frame, [before?.sum ?? header.sum], { ...header, salts: expected }) !== undefined;
    // the first ones may be broken as the header is
    if (!follows && salts !== undefined) break;
    before = frame;
    if (!follows) continue;
    salts = frame.salts;
    open.push([frame.pageNumber, frame.offset + FRAME_HEADER_BYTES]);
    if (frame.commitPages === 0) continue;
    for (const [page, offset] of open) offsets.set(page, offset);
    open = [];
    transactions += 1;
    pages = frame.commitPages;
  }
  return { offsets, transactions, pages };
}

function pageSizeOf(database: number): number {
  const size = readAt(database, 16, 2);
  const bytes = size.length < 2 ? 0 : size.readUInt16BE();
  // 65,536 has no room in two bytes
  const pageSize = bytes === 1 ? 65_536 : bytes;
  return isPageSize(pageSize) ? pageSize : DEFAULT_PAGE_BYTES;
}

/** Shorter where the file ends before. */
function readAt(descriptor: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(descriptor, bytes, 0, length, offset));
}
