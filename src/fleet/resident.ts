import { type Snapshot, hideDrifts } from '../core/ledger.ts';
import { freeTextBytesOf, nameBytesOf } from '../core/text-size.ts';
import type { Limits } from './usage.ts';

/**
 * Keeps memory within the limits when more is stored than they allow, as with an older database or after a limit was lowered. Nothing is
 * hidden while everything stored is within the limits.
 */
export type Resident = {
  /** How many sources have hidden drifts. */
  readonly partial: number;
  /**
   * Takes a snapshot in full; returns what memory keeps of it.
   * @param nameBytes of all its files
   */
  add(snapshot: Snapshot, nameBytes: number): Snapshot;
  /** Gives back the room of a snapshot that `add` returned. */
  remove(kept: Snapshot, nameBytes: number): void;
};

/** How many names of a source are kept if not all of them fit. */
const NAMES_KEPT = 100;
/** For those names there is room beyond the limits: a quarter of each, and this many drifts at least. Past it, no name is kept. */
const RESERVE = 0.25;
const MIN_RESERVE_DRIFTS = 10_000;
const MIN_RESERVE_BYTES = 128 * MIN_RESERVE_DRIFTS;

export function createResident({ maxOpenDrifts, maxNameBytes, maxTextBytes }: Limits): Resident {
  const reserveDrifts = Math.max(MIN_RESERVE_DRIFTS, RESERVE * maxOpenDrifts);
  const reserveBytes = Math.max(MIN_RESERVE_BYTES, RESERVE * maxNameBytes);
  let drifts = 0;
  let nameBytes = 0;
  let freeTextBytes = 0;
  let partial = 0;

  function count(kept: Snapshot, ofAllFiles: number, sign: 1 | -1): void {
    drifts += sign * kept.files.length;
    nameBytes += sign * (kept.hidden === null ? ofAllFiles : nameBytesOf(kept.files));
    freeTextBytes += sign * freeTextBytesOf(kept);
    if (kept.hidden !== null) partial += sign;
  }

  function fitFiles(snapshot: Snapshot, ofAllFiles: number): Snapshot {
    const { files } = snapshot;
    if (drifts + files.length <= maxOpenDrifts && nameBytes + ofAllFiles <= maxNameBytes) return snapshot;
    const some = hideDrifts(snapshot, NAMES_KEPT);
    const hasRoom =
      drifts + some.files.length <= maxOpenDrifts + reserveDrifts &&
      nameBytes + nameBytesOf(some.files) <= maxNameBytes + reserveBytes;
    return hasRoom ? some : hideDrifts(snapshot, 0);
  }

  /** Of the other text, names and labels cannot be left out: filters and joins go by them. The detail of a source reads the rest from the disk. */
  function fitText(snapshot: Snapshot): Snapshot {
    return freeTextBytes + freeTextBytesOf(snapshot) <= maxTextBytes
      ? snapshot
      : { ...snapshot, pipelineUrl: null, message: null };
  }

  return {
    get partial() {
      return partial;
    },
    add(snapshot, ofAllFiles) {
      const kept = fitText(fitFiles(snapshot, ofAllFiles));
      count(kept, ofAllFiles, 1);
      return kept;
    },
    remove: (kept, ofAllFiles) => count(kept, ofAllFiles, -1),
  };
}
