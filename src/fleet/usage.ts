import { type Snapshot, openDriftsOf } from '../core/ledger.ts';
import { nameBytesOf, otherTextBytesOf } from '../core/text-size.ts';

/** How much all sources together may use. Beyond a limit, reports that would add to it are refused; all others are accepted. */
export type Limits = {
  readonly maxSources: number;
  readonly maxOpenDrifts: number;
  /** The names of open drifts. */
  readonly maxNameBytes: number;
  /** All other text of sources. */
  readonly maxTextBytes: number;
};

/** How much of the limits one source uses, including hidden drifts. */
export type Weight = { readonly drifts: number; readonly nameBytes: number; readonly textBytes: number };

/** How much the sources use whose latest report was sent with one token. */
export type Share = { readonly sources: number; readonly drifts: number };

/** How much of the limits is used, including hidden drifts. */
export type Usage = {
  readonly sources: number;
  readonly openDrifts: number;
  readonly nameBytes: number;
  readonly textBytes: number;
  shareOf(token: string): Share;
};

export type UsageCounter = Usage & {
  add(owner: string | null, weight: Weight): void;
  remove(owner: string | null, weight: Weight): void;
};

const BYTES_PER_DRIFT = 128;
const NO_SHARE: Share = { sources: 0, drifts: 0 };

/** Names of open drifts may take 128 bytes for each drift that may be open, all other text as much again. */
export function toLimits(maxSources: number, maxOpenDrifts: number): Limits {
  const bytes = BYTES_PER_DRIFT * maxOpenDrifts;
  return { maxSources, maxOpenDrifts, maxNameBytes: bytes, maxTextBytes: bytes };
}

/**
 * What an operator should know when more is stored than memory may hold; undefined while it is not.
 * @param partial how many sources have drifts that are not in memory
 */
export function overfullWarning({ usage, limits, partial }: Overfull): string | undefined {
  const over: string[] = [];
  if (usage.openDrifts > limits.maxOpenDrifts)
    over.push(`open drifts (${usage.openDrifts} of ${limits.maxOpenDrifts})`);
  if (usage.nameBytes > limits.maxNameBytes)
    over.push(`bytes of their names (${usage.nameBytes} of ${limits.maxNameBytes})`);
  if (usage.textBytes > limits.maxTextBytes)
    over.push(`bytes of other text (${usage.textBytes} of ${limits.maxTextBytes})`);
  if (over.length === 0) return undefined;
  return (
    `more is stored than MAX_OPEN_DRIFTS lets memory hold: ${over.join(', ')}. ` +
    `${partial} sources show their first names only, their counts are true; reports that add more are refused`
  );
}

type Overfull = { readonly usage: Usage; readonly limits: Limits; readonly partial: number };

/** @param snapshot in full, nothing hidden */
export function weigh(snapshot: Snapshot): Weight {
  return {
    drifts: openDriftsOf(snapshot),
    nameBytes: nameBytesOf(snapshot.files),
    textBytes: otherTextBytesOf(snapshot),
  };
}

/** Counts sources, and for each token those that it reported last. A token without sources is forgotten. */
export function createUsageCounter(): UsageCounter {
  const shares = new Map<string, { sources: number; drifts: number }>();
  const total = { sources: 0, openDrifts: 0, nameBytes: 0, textBytes: 0 };

  function change(owner: string | null, { drifts, nameBytes, textBytes }: Weight, sign: 1 | -1): void {
    total.sources += sign;
    total.openDrifts += sign * drifts;
    total.nameBytes += sign * nameBytes;
    total.textBytes += sign * textBytes;
    if (owner === null) return;
    const share = shares.get(owner) ?? { sources: 0, drifts: 0 };
    share.sources += sign;
    share.drifts += sign * drifts;
    if (share.sources === 0) shares.delete(owner);
    else shares.set(owner, share);
  }

  return {
    get sources() {
      return total.sources;
    },
    get openDrifts() {
      return total.openDrifts;
    },
    get nameBytes() {
      return total.nameBytes;
    },
    get textBytes() {
      return total.textBytes;
    },
    shareOf: (token) => shares.get(token) ?? NO_SHARE,
    add: (owner, weight) => change(owner, weight, 1),
    remove: (owner, weight) => change(owner, weight, -1),
  };
}
