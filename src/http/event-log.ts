/** One event, as it goes out to all who listen: they share it. */
export type Event = { readonly id: number; readonly text: Buffer };

/** The newest events, for those who are still reading them and those who come back. */
export type EventLog = {
  /** What the next event will have; ids follow one another. */
  readonly nextId: number;
  add(data: string): void;
  /** Undefined: it is forgotten, or has not been yet. */
  find(id: number): Event | undefined;
};

/** Older ones are forgotten. A commit can bring a thousand at once, which even a fast listener reads in more than one turn. */
const MAX_EVENTS = 10_000;
/** Receipts that name thousands of files are long: beyond this, fewer events are remembered, but always the newest. */
const MAX_BYTES = 16_777_216;

/** @param firstId ids grow from it on */
export function createEventLog(firstId: number): EventLog {
  const events: Event[] = [];
  let nextId = firstId;
  let bytes = 0;

  function forget(): void {
    while (events.length > MAX_EVENTS || (bytes > MAX_BYTES && events.length > 1)) {
      bytes -= events.shift()?.text.length ?? 0;
    }
  }

  return {
    get nextId() {
      return nextId;
    },

    add(data) {
      const text = Buffer.from(`id: ${nextId}\nevent: change\ndata: ${data}\n\n`);
      events.push({ id: nextId, text });
      nextId += 1;
      bytes += text.length;
      forget();
    },

    find: (id) => events[id - (nextId - events.length)],
  };
}
