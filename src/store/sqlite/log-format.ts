/** SQLite's write-ahead log as it lies on the disk: a header, then frames of one page each. See https://sqlite.org/fileformat2.html#walformat. */
import { readSync } from 'node:fs';
import { endianness } from 'node:os';

export type Sum = readonly [number, number];

export type LogHeader = {
  /** False: SQLite takes the log for empty. */
  readonly isValid: boolean;
  readonly pageSize: number;
  readonly salts: Sum;
  /** As it is written, be it right or not: the first frame's sum begins with it. */
  readonly sum: Sum;
  /** Of the words that are summed, which differs between machines. */
  readonly isBigEndian: boolean;
};

export type Frame = {
  /** Counted from 1. */
  readonly index: number;
  /** Of the frame in the log, in bytes. */
  readonly offset: number;
  readonly pageNumber: number;
  /** The mark of a commit: the database's size in pages. 0 in every other frame of a transaction. */
  readonly commitPages: number;
  readonly salts: Sum;
  readonly sum: Sum;
  /** Valid until the next frame is read. */
  readonly page: DataView;
};

const HEADER_BYTES = 32;
export const FRAME_HEADER_BYTES = 24;
const MAGIC = 0x377f0682;
const SUMMED_HEADER_BYTES = 24;
const MIN_PAGE_BYTES = 512;
const MAX_PAGE_BYTES = 65_536;
/** Read at a time: the memory that a log takes, however long it is. */
const READ_BYTES = 1_048_576;

/** Reads the first bytes of a log. @returns null when it is too short to have a header */
export function readLogHeader(descriptor: number): LogHeader | null {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  if (readSync(descriptor, view, 0, HEADER_BYTES, 0) < HEADER_BYTES) return null;
  const magic = view.getUint32(0);
  const isMagic = magic === MAGIC || magic === MAGIC + 1;
  // this machine has written it, unless it says so itself
  const isBigEndian = isMagic ? magic === MAGIC + 1 : endianness() === 'BE';
  const sum = pairAt(view, 24);
  const summed = sumOf([0, 0], new DataView(view.buffer, 0, SUMMED_HEADER_BYTES), isBigEndian);
  const pageSize = view.getUint32(8);
  const isValid = isMagic && isPageSize(pageSize) && isSame(sum, summed);
  return { isValid, pageSize, salts: pairAt(view, 16), sum, isBigEndian };
}

/** Reads frame after frame to the last whole one. */
export function* readFrames(descriptor: number, pageSize: number): Generator<Frame> {
  const frameBytes = FRAME_HEADER_BYTES + pageSize;
  const bytes = new Uint8Array(frameBytes * Math.max(1, Math.floor(READ_BYTES / frameBytes)));
  let index = 1;
  let offset = HEADER_BYTES;
  for (;;) {
    const read = readWhole(descriptor, bytes, offset);
    for (let at = 0; at + frameBytes <= read; at += frameBytes) {
      yield frameAt(bytes, at, pageSize, index, offset + at);
      index += 1;
    }
    if (read < bytes.length) return;
    offset += read;
  }
}

/** The sum that a frame has when it comes after one with this sum. */
export function frameSum(before: Sum, frame: Frame, isBigEndian: boolean): Sum {
  const head = new DataView(new ArrayBuffer(8));
  head.setUint32(0, frame.pageNumber);
  head.setUint32(4, frame.commitPages);
  return sumOf(sumOf(before, head, isBigEndian), frame.page, isBigEndian);
}

/**
 * Page number and mark that the frame would need for its sum to be right. When these two alone are broken, it is what they were; when the page is
 * broken, it is nonsense.
 */
export function headThatFits(before: Sum, { sum, page }: Frame, isBigEndian: boolean): [number, number] {
  let [a, b] = sum;
  for (let at = page.byteLength - 8; at >= 0; at -= 8) {
    b = (b - page.getInt32(at + 4, !isBigEndian) - a) | 0;
    a = (a - page.getInt32(at, !isBigEndian) - b) | 0;
  }
  const head = new DataView(new ArrayBuffer(8));
  const first = (a - before[0] - before[1]) | 0;
  head.setInt32(0, first, !isBigEndian);
  head.setInt32(4, (b - before[1] - a) | 0, !isBigEndian);
  return [head.getUint32(0), head.getUint32(4)];
}

export function isSame(a: Sum, b: Sum): boolean {
  return a[0] === b[0] && a[1] === b[1];
}

export function isPageSize(bytes: number): boolean {
  return bytes >= MIN_PAGE_BYTES && bytes <= MAX_PAGE_BYTES && (bytes & (bytes - 1)) === 0;
}

function frameAt(bytes: Uint8Array, at: number, pageSize: number, index: number, offset: number): Frame {
  const head = new DataView(bytes.buffer, at, FRAME_HEADER_BYTES);
  return {
    index,
    offset,
    pageNumber: head.getUint32(0),
    commitPages: head.getUint32(4),
    salts: pairAt(head, 8),
    sum: pairAt(head, 16),
    page: new DataView(bytes.buffer, at + FRAME_HEADER_BYTES, pageSize),
  };
}

function pairAt(view: DataView, at: number): Sum {
  return [view.getInt32(at), view.getInt32(at + 4)];
}

function sumOf([first, second]: Sum, data: DataView, isBigEndian: boolean): Sum {
  let a = first;
  let b = second;
  for (let at = 0; at < data.byteLength; at += 8) {
    a = (a + data.getInt32(at, !isBigEndian) + b) | 0;
    b = (b + data.getInt32(at + 4, !isBigEndian) + a) | 0;
  }
  return [a, b];
}

/** A read may return less than there is. */
function readWhole(descriptor: number, bytes: Uint8Array, offset: number): number {
  let length = 0;
  for (;;) {
    const read = readSync(descriptor, bytes, length, bytes.length - length, offset + length);
    length += read;
    if (read === 0 || length === bytes.length) return length;
  }
}
