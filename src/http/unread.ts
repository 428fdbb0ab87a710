/** Bodies that were made to be sent and that readers have not taken yet. */
export type Unread = {
  /** A body that several readers share counts once. */
  readonly bytes: number;
  /** Whether so many more would still be within the bound. */
  hasRoom(bytes: number): boolean;
  /**
   * Counts the body until it is released. Over the bound the readers that have taken nothing for the longest time are cut off, until what
   * is left is within it; a single reader may have more.
   * @param cut ends the reader's connection
   */
  hold(body: Buffer, cut: () => void): Held;
};

export type Held = {
  /** The reader has taken a part. */
  progress(): void;
  /** The reader has taken it all, or is gone. May be called again. */
  release(): void;
};

export function createUnread(maxBytes: number): Unread {
  const readersOf = new Map<Buffer, number>();
  /** How to cut off whoever has something; those who have taken nothing for the longest time come first. */
  const waiting = new Map<Held, () => void>();
  let bytes = 0;

  function count(body: Buffer, change: 1 | -1): void {
    const before = readersOf.get(body) ?? 0;
    const readers = before + change;
    if (before === 0) bytes += body.length;
    if (readers > 0) readersOf.set(body, readers);
    else {
      readersOf.delete(body);
      bytes -= body.length;
    }
  }

  function cutSlowest(newest: Held): void {
    for (const [held, cut] of waiting) {
      if (bytes <= maxBytes) return;
      if (held === newest) continue;
      held.release();
      cut();
    }
  }

  return {
    get bytes() {
      return bytes;
    },

    hasRoom: (more) => bytes + more <= maxBytes,

    hold(body, cut) {
      const held: Held = {
        progress() {
          if (waiting.delete(held)) waiting.set(held, cut);
        },
        release() {
          if (waiting.delete(held)) count(body, -1);
        },
      };
      count(body, 1);
      waiting.set(held, cut);
      if (bytes > maxBytes) cutSlowest(held);
      return held;
    },
  };
}
