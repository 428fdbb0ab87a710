import { Refusal } from '../core/refusal.ts';

/**
 * Counts the bytes of the bodies that are in memory, over all requests, from their first byte until they are answered. At the bound a
 * request is refused before more of its body is read.
 */
export type BodyAccount = {
  /** @param announcedBytes what Content-Length says; undefined: it does not, or the body is compressed */
  open(announcedBytes: number | undefined): BodyEntry;
};

export type BodyEntry = {
  /**
   * Counts bytes that have arrived.
   * @throws {Refusal} `overloaded`
   */
  add(bytes: number): void;
  /** The body is whole: nobody takes its place any more. */
  complete(): void;
  /** Is called when the place of this body is given to another, because its sender has paused for too long. */
  onEvicted: (refusal: Refusal) => void;
  /** The request is answered, or its client has left. */
  close(): void;
};

/** Small reports have a reserve of their own, so that large ones never lock them out. */
const SMALL_BODY_BYTES = 65_536;
const SMALL_RESERVE_BYTES = 8 * 1_048_576;
/** Parsed, a body takes up to five times its size: together this fits beside half a million open drifts. */
const LARGE_RESERVE_BYTES = 32 * 1_048_576;
/** A body of which nothing has come for this long gives its place to one that is being sent. */
const STALLED_MS = 1000;

/** @param maxBodyBytes of one body: a few of them must fit, however large they may be */
export function createBodyAccount(maxBodyBytes: number): BodyAccount {
  const small = createPool(SMALL_RESERVE_BYTES);
  const large = createPool(Math.max(LARGE_RESERVE_BYTES, 4 * maxBodyBytes));
  return {
    open: (announcedBytes) =>
      announcedBytes !== undefined && announcedBytes <= SMALL_BODY_BYTES ? small.open() : large.open(),
  };
}

type Pool = { open(): BodyEntry };
type Reading = { readonly entry: BodyEntry; lastByteAt: number };

function createPool(maxBytes: number): Pool {
  let total = 0;
  /** Bodies that are not whole yet; the one whose last byte is the oldest first. */
  const incomplete = new Map<BodyEntry, Reading>();

  /** Makes room by refusing bodies whose senders have paused. Returns whether there is room. */
  function makeRoom(bytes: number, forEntry: BodyEntry): boolean {
    const now = performance.now();
    for (const [entry, { lastByteAt }] of incomplete) {
      if (total + bytes <= maxBytes || now - lastByteAt < STALLED_MS) break;
      if (entry === forEntry) continue;
      entry.close();
      entry.onEvicted(overloaded('It was sent too slowly for a service that is this busy.'));
    }
    return total + bytes <= maxBytes;
  }

  return {
    open() {
      let counted = 0;
      const entry: BodyEntry = {
        add(bytes) {
          if (total + bytes > maxBytes && !makeRoom(bytes, entry)) throw overloaded('');
          total += bytes;
          counted += bytes;
          incomplete.delete(entry);
          incomplete.set(entry, { entry, lastByteAt: performance.now() });
        },
        complete: () => void incomplete.delete(entry),
        onEvicted: () => {},
        close() {
          incomplete.delete(entry);
          total -= counted;
          counted = 0;
        },
      };
      return entry;
    },
  };
}

function overloaded(why: string): Refusal {
  return new Refusal('overloaded', `Too many reports are being received. ${why}`.trim());
}
