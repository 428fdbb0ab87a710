/**
 * What a disk may hold after a power cut, from the record that `faults.c` keeps. What was synced is there. Of what was written since,
 * each 512-byte sector is there or is not, in any order; a sector is never older than one write to it and newer than the next. Files
 * grow and shrink in order, but maybe not to the last size. A name that was made, removed or changed since its folder was last synced may
 * be so or not. After a failed sync nobody knows, and no later sync makes it good, as on Linux.
 */
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Random } from './random.ts';

/** A file as it is before the record begins, all of it synced. */
export type BaseFile = { readonly name: string; readonly inode: bigint; readonly content: Buffer };

/** Which of the writes that were not synced are there. */
export const CUTS = ['none', 'all', 'some', 'torn', 'newest', 'oldest'] as const;
export type Cut = (typeof CUTS)[number];

export type DiskRecord = {
  /** The moments after each call, in order, and the name of the file that was written, if one was. */
  readonly moments: readonly { readonly moment: number; readonly written: string | undefined }[];
  /** Writes into an empty folder what the disk may hold when the power is cut at this moment. */
  rebuild(folder: string, moment: number, cut: Cut, random: Random): void;
};

type Entry = {
  readonly kind: Kind;
  readonly inode: bigint;
  readonly offset: number;
  readonly path: string;
  readonly data: Buffer;
  readonly end: number;
};
type Kind = (typeof KINDS)[number];
type Change = { readonly offset: number; readonly data: Buffer | null };
/** As last synced: the first `size` of `bytes`, behind which there are zeros. `pending`: writes, and new sizes (no data), since then. */
type File = { bytes: Buffer; size: number; pending: Change[] };
type NameChange = (names: Map<string, File>) => void;
type Disk = { readonly files: Map<bigint, File>; readonly names: Map<string, File>; pendingNames: NameChange[] };

const KINDS = ['', 'create', 'write', 'truncate', 'sync', 'unlink', 'rename', 'failed sync'] as const;
const HEAD_BYTES = 32;
const SECTOR_BYTES = 512;

/** The files of a folder, for {@link readRecord}. */
export function readBase(folder: string): BaseFile[] {
  return readdirSync(folder).map((name) => {
    const file = join(folder, name);
    return { name, inode: statSync(file, { bigint: true }).ino, content: readFileSync(file) };
  });
}

/** @param base what the folder held when the record began */
export function readRecord(file: string, base: readonly BaseFile[]): DiskRecord {
  const entries = parse(readFileSync(file));
  const named = new Map(base.map(({ inode, name }) => [inode, name]));
  const moments = entries.map(({ kind, inode, path, end }) => {
    if (kind === 'create') named.set(inode, basename(path));
    return { moment: end, written: kind === 'write' ? named.get(inode) : undefined };
  });
  return {
    moments,
    rebuild(folder, moment, cut, random) {
      const disk = toDisk(base);
      for (const entry of entries) {
        if (entry.end > moment) break;
        replay(disk, entry, random);
      }
      for (const [name, found] of namesAfter(disk, cut, random)) {
        // nobody relies on the content of what only maps memory
        const content = name.endsWith('-shm') && random.chance(0.5) ? noise(found, random) : settle(found, cut, random);
        mkdirSync(folder, { recursive: true });
        writeFileSync(join(folder, name), content, { mode: 0o600 });
      }
    },
  };
}

function parse(record: Buffer): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < record.length;) {
    const [kind, pathBytes, dataBytes] = [0, 4, 8].map((field) => record.readUInt32LE(at + field)) as [
      number,
      number,
      number,
    ];
    const path = at + HEAD_BYTES;
    const data = path + pathBytes;
    const end = data + dataBytes;
    entries.push({
      kind: KINDS[kind] as Kind,
      inode: record.readBigUInt64LE(at + 16),
      offset: Number(record.readBigUInt64LE(at + 24)),
      path: record.toString('utf8', path, data),
      data: record.subarray(data, end),
      end,
    });
    at = end;
  }
  return entries;
}

function toDisk(base: readonly BaseFile[]): Disk {
  const files = base.map(({ name, inode, content }) => ({ name, inode, file: toFile(content) }));
  return {
    files: new Map(files.map(({ inode, file }) => [inode, file])),
    names: new Map(files.map(({ name, file }) => [name, file])),
    pendingNames: [],
  };
}

function replay(disk: Disk, { kind, inode, offset, path, data }: Entry, random: Random): void {
  const file = disk.files.get(inode);
  const name = basename(path);
  if (kind === 'create') {
    const made = toFile(Buffer.alloc(0));
    disk.files.set(inode, made);
    disk.pendingNames.push((names) => names.set(name, made));
  } else if (kind === 'unlink') {
    disk.pendingNames.push((names) => names.delete(name));
  } else if (kind === 'rename') {
    disk.pendingNames.push((names) => {
      const moved = names.get(name);
      if (moved !== undefined) names.set(basename(data.toString()), moved);
      names.delete(name);
    });
  } else if (kind === 'write') {
    file?.pending.push({ offset, data });
  } else if (kind === 'truncate') {
    file?.pending.push({ offset, data: null });
  } else if (file === undefined) {
    // the folder
    if (kind === 'sync') for (const change of disk.pendingNames.splice(0)) change(disk.names);
  } else {
    if (kind === 'sync') applyAll(file);
    else Object.assign(file, toFile(settle(file, 'torn', random)));
    file.pending = [];
  }
}

function applyAll(file: File): void {
  for (const { offset, data } of file.pending) {
    if (data === null) resize(file, offset);
    else write(file, offset, data);
  }
}

function namesAfter({ names, pendingNames }: Disk, cut: Cut, random: Random): Map<string, File> {
  const after = new Map(names);
  for (const change of pendingNames) if (cut === 'all' || (cut !== 'none' && random.chance(0.5))) change(after);
  return after;
}

/** The content of the file with these of its pending changes. */
function settle({ bytes, size, pending }: File, cut: Cut, random: Random): Buffer {
  const kept = chooseSectors(pending, cut, random);
  const grown = cut === 'all' ? pending.length : cut === 'none' ? 0 : random.below(pending.length + 1);
  const settled = toFile(bytes.subarray(0, size));
  let grownSize = size;
  for (const [index, { offset, data }] of pending.entries()) {
    if (data !== null) {
      for (const sector of kept[index] ?? []) {
        const from = Math.max(offset, sector * SECTOR_BYTES);
        const to = Math.min(offset + data.length, (sector + 1) * SECTOR_BYTES);
        write(settled, from, data.subarray(from - offset, to - offset));
      }
      if (index < grown) grownSize = Math.max(grownSize, offset + data.length);
    } else if (index < grown) {
      resize(settled, offset);
      grownSize = offset;
    }
  }
  resize(settled, grownSize);
  return settled.bytes.subarray(0, grownSize);
}

/** For each pending change the sectors that reached the disk. One that did brings the earlier writes to that sector along. */
function chooseSectors(pending: readonly Change[], cut: Cut, random: Random): number[][] {
  const reached = new Set<number>();
  const border = random.below(pending.length + 1);
  const kept: number[][] = pending.map(() => []);
  for (const [index, { offset, data }] of [...pending.entries()].toReversed()) {
    if (data === null) continue;
    const isWhole =
      cut === 'all' ||
      (cut === 'some' && random.chance(0.5)) ||
      (cut === 'newest' && index >= border) ||
      (cut === 'oldest' && index < border);
    for (let sector = Math.floor(offset / SECTOR_BYTES); sector * SECTOR_BYTES < offset + data.length; sector += 1) {
      if (!isWhole && !reached.has(sector) && !(cut === 'torn' && random.chance(0.5))) continue;
      reached.add(sector);
      kept[index]?.push(sector);
    }
  }
  return kept;
}

function noise({ size }: File, random: Random): Buffer {
  return Buffer.alloc(Math.max(size, 32_768), random.below(256));
}

/** A file that holds a copy of these bytes. */
function toFile(content: Buffer): File {
  return { bytes: Buffer.from(content), size: content.length, pending: [] };
}

function write(file: File, offset: number, data: Buffer): void {
  const end = offset + data.length;
  resize(file, Math.max(file.size, end));
  data.copy(file.bytes, offset);
}

/** Zeros are added, as where a file has grown and its data never came. */
function resize(file: File, size: number): void {
  if (size > file.bytes.length) file.bytes = Buffer.concat([file.bytes], 2 * size);
  if (size < file.size) file.bytes.fill(0, size, file.size);
  file.size = size;
}
