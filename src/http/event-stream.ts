import type { ServerResponse } from 'node:http';
import { Refusal } from '../core/refusal.ts';
import { type Event, type EventName, createEventLog } from './event-log.ts';

/** What has happened, sent to whoever listens, as server-sent events (WHATWG HTML, section 9.2). */
export type EventStream = {
  /** @param data JSON text without line breaks */
  publish(name: EventName, data: string): void;
  /** Shows whoever has nothing unread that the stream lives, and ends the streams of those who may no longer listen. @param data as above */
  ping(data: string): void;
  /**
   * Takes over the response and keeps it open. With the id of the last event that the client saw, it first gets what it missed; or, where
   * that is too much or memory does not reach so far, an event `reset`: read everything anew.
   * @throws {Refusal} `too_many_listeners`
   */
  subscribe(response: ServerResponse, subscription: Subscription): void;
  /** Ends all subscriptions: clients then reconnect, and resume where they were if they still may. */
  disconnect(): void;
};

export type Subscription = {
  /** Whose share of the listeners it counts towards. */
  readonly client: string;
  /** Empty: the client has seen none. */
  readonly lastEventId: string;
  /** Milliseconds: nothing is sent from then on, and the stream ends. */
  readonly until?: number | undefined;
};

/** More are refused. */
const MAX_LISTENERS = 1000;
const MAX_LISTENERS_PER_CLIENT = 500;
/** Who has missed more is told to read everything anew. */
const MAX_MISSED = 1000;
const RETRY_MS = 5000;
/** A long event is written in slices of this size, so that it is nowhere copied as a whole. */
const SLICE_BYTES = 32_768;

/**
 * A listener is no more than a place in the log of events, and the few slices that are just being written for it. So it costs nothing to
 * be far behind, until the log forgets what a listener has not got yet: then it is cut off, and when it comes back it is told `reset`.
 */
type Listener = {
  readonly response: ServerResponse;
  readonly client: string;
  readonly until: number;
  /** The event that it gets next, and how much of that it has got. */
  next: number;
  offset: number;
  /** Waits for the reader. */
  isFull: boolean;
};

/**
 * @param bootId different at each start: what the ids of events begin with
 * @param now milliseconds since the epoch
 */
export function createEventStream(bootId: string, now: () => number): EventStream {
  const log = createEventLog(bootId);
  const listeners = new Set<Listener>();

  /** Gives the listener what it has not got yet, as fast as it reads. */
  function feed(listener: Listener): void {
    if (now() >= listener.until) end(listener);
    else if (isLost(listener)) drop(listener);
    else while (!listener.isFull && listener.next < log.next) writeNext(listener);
  }

  function isLost({ next }: Listener): boolean {
    return next < log.next && log.find(next) === undefined;
  }

  function writeNext(listener: Listener): void {
    const { text } = log.find(listener.next) as Event;
    const slice = text.subarray(listener.offset, listener.offset + SLICE_BYTES);
    listener.offset += slice.length;
    if (listener.offset === text.length) {
      listener.next += 1;
      listener.offset = 0;
    }
    listener.isFull = !listener.response.write(slice);
  }

  function admit(client: string): void {
    const own = [...listeners].filter((listener) => listener.client === client).length;
    if (own >= MAX_LISTENERS_PER_CLIENT) throw tooMany(`${MAX_LISTENERS_PER_CLIENT} of this token or address`);
    if (listeners.size >= MAX_LISTENERS) throw tooMany(`${MAX_LISTENERS}`);
  }

  /** Undefined: the client has missed too much, or what it has not seen is forgotten, or the id is none of ours. */
  function nextAfter(lastEventId: string): number | undefined {
    if (lastEventId === '') return log.next;
    const next = (log.numberOf(lastEventId) ?? Number.NaN) + 1;
    const isKnown = next === log.next || log.find(next) !== undefined;
    return isKnown && log.next - next <= MAX_MISSED ? next : undefined;
  }

  function end(listener: Listener): void {
    // reports that are under way publish: nothing may be written to a response that has ended
    listeners.delete(listener);
    listener.response.end();
  }

  function drop(listener: Listener): void {
    listeners.delete(listener);
    listener.response.destroy();
  }

  function disconnect(): void {
    for (const listener of listeners) end(listener);
  }

  return {
    publish(name, data) {
      log.add(name, data);
      for (const listener of listeners) feed(listener);
    },

    ping(data) {
      // without an id: whoever comes back resumes after the event before
      const text = `event: ping\ndata: ${data}\n\n`;
      for (const listener of listeners) {
        if (now() >= listener.until) end(listener);
        // whoever has something unread knows that the stream lives, and may be amid an event
        else if (!listener.isFull) listener.isFull = !listener.response.write(text);
      }
    },

    subscribe(response, { client, lastEventId, until = Number.POSITIVE_INFINITY }) {
      admit(client);
      response.writeHead(200, {
        'Content-Type': 'text/event-stream; charset=utf-8',
        'Cache-Control': 'no-cache',
        // a proxy such as nginx would otherwise hold events back
        'X-Accel-Buffering': 'no',
      });
      const next = nextAfter(lastEventId);
      const reset = next === undefined ? `id: ${log.idOf(log.next - 1)}\nevent: reset\ndata: {}\n\n` : '';
      response.write(`retry: ${RETRY_MS}\n\n${reset}`);
      const listener = { response, client, until, next: next ?? log.next, offset: 0, isFull: false };
      listeners.add(listener);
      response.once('close', () => listeners.delete(listener));
      response.on('drain', () => {
        listener.isFull = false;
        if (listeners.has(listener)) feed(listener);
      });
      feed(listener);
    },

    disconnect,
  };
}

function tooMany(listeners: string): Refusal {
  return new Refusal('too_many_listeners', `${listeners} listen already; try again later`);
}
