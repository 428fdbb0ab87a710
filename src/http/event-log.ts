/** What an event is called, and what its data is: see `docs/reading.md`. */
export type EventName = 'change' | 'stale' | 'removed' | 'refused';

/** One event, as it goes out to all who listen: they share it. */
export type Event = { readonly text: Buffer };

/** The newest events, for those who are still reading them and those who come back. Their numbers follow one another. */
export type EventLog = {
  /** What the next event will have. */
  readonly next: number;
  /** @param data JSON text without line breaks */
  add(name: EventName, data: string): void;
  /** Undefined: it is forgotten, or has not been yet. */
  find(number: number): Event | undefined;
  /** What clients get as its id. No other process gives the same one. */
  idOf(number: number): string;
  /** Undefined: the id is not one of this log. */
  numberOf(id: string): number | undefined;
};

/** Older ones are forgotten. A commit can bring a thousand at once, which even a fast listener reads in more than one turn. */
const MAX_EVENTS = 10_000;
/** Receipts that name thousands of files are long: beyond this, fewer events are remembered, but always the newest. */
const MAX_BYTES = 16_777_216;

/** @param bootId different at each start, and in each process: what ids begin with */
export function createEventLog(bootId: string): EventLog {
  const events: Event[] = [];
  const prefix = `${bootId}-`;
  let next = 1;
  let bytes = 0;

  function forget(): void {
    while (events.length > MAX_EVENTS || (bytes > MAX_BYTES && events.length > 1)) {
      bytes -= events.shift()?.text.length ?? 0;
    }
  }

  return {
    get next() {
      return next;
    },

    add(name, data) {
      const text = Buffer.from(`id: ${prefix}${next}\nevent: ${name}\ndata: ${data}\n\n`);
      events.push({ text });
      next += 1;
      bytes += text.length;
      forget();
    },

    find: (number) => events[number - (next - events.length)],
    idOf: (number) => `${prefix}${number}`,

    numberOf(id) {
      const number = id.startsWith(prefix) ? id.slice(prefix.length) : '';
      return /^(0|[1-9]\d{0,14})$/.test(number) ? Number(number) : undefined;
    },
  };
}
