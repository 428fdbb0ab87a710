import type { ServerResponse } from 'node:http';
import { Refusal } from '../core/refusal.ts';

/** What has changed, sent to whoever listens, as server-sent events (WHATWG HTML, section 9.2). */
export type EventStream = {
  /** @param data JSON text without line breaks */
  publish(data: string): void;
  /**
   * Takes over the response and keeps it open. With the id of the last event that the client saw, it first gets what it missed; or, where
   * memory does not reach so far, an event `reset`: read everything anew.
   * @param until milliseconds: nothing is sent from then on, and the stream ends
   * @throws {Refusal} `too_many_listeners`
   */
  subscribe(response: ServerResponse, lastEventId: string, until?: number): void;
  /** Ends all subscriptions: clients then reconnect, and resume where they were if they still may. */
  disconnect(): void;
  /** As `disconnect`, for good. */
  close(): void;
};

type Event = { readonly id: number; readonly data: string };

const MEMORY = 1000;
/** Receipts that name thousands of files are long: beyond this, fewer of them are remembered. */
const MAX_MEMORY_CHARS = 16_777_216;
const MAX_LISTENERS = 1000;
const PING_MS = 15_000;
const RETRY_MS = 5000;
/** A listener that has so much unread is too slow and is dropped; when it returns, it resumes or is reset. */
const MAX_UNREAD_BYTES = 1_048_576;

/** @param now milliseconds: ids begin with the time of the start, so that they go on increasing after a restart */
export function createEventStream(now: () => number): EventStream {
  const firstId = now() * 1000;
  let nextId = firstId;
  let recent: Event[] = [];
  let recentChars = 0;
  /** Until when each may listen. */
  const listeners = new Map<ServerResponse, number>();
  const timer = setInterval(() => broadcast(': ping\n\n'), PING_MS);
  timer.unref();

  function broadcast(text: string): void {
    const at = now();
    for (const [response, until] of listeners) {
      if (at < until) send(response, text);
      else end(response);
    }
  }

  function send(response: ServerResponse, text: string): void {
    if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
    else response.write(text);
  }

  function forget(): void {
    let first = Math.max(0, recent.length - MEMORY);
    for (const { data } of recent.slice(0, first)) recentChars -= data.length;
    for (; recentChars > MAX_MEMORY_CHARS / 2; first += 1) recentChars -= recent[first]?.data.length ?? 0;
    recent = recent.slice(first);
  }

  /** Undefined: something that the client has not seen is forgotten, or the id is none of ours. */
  function missed(lastEventId: string): readonly Event[] | undefined {
    const last = /^\d{1,16}$/.test(lastEventId) ? Number(lastEventId) : Number.NaN;
    const oldest = recent[0]?.id ?? nextId;
    return last >= oldest - 1 && last < nextId ? recent.filter(({ id }) => id > last) : undefined;
  }

  function end(response: ServerResponse): void {
    response.end();
    // reports that are under way publish: nothing may be written to a response that has ended
    listeners.delete(response);
  }

  function disconnect(): void {
    for (const response of listeners.keys()) end(response);
  }

  return {
    publish(data) {
      const event = { id: nextId, data };
      nextId += 1;
      recent.push(event);
      recentChars += data.length;
      // cut now and then, not each time
      if (recent.length >= 2 * MEMORY || recentChars > MAX_MEMORY_CHARS) forget();
      if (listeners.size > 0) broadcast(renderEvent(event));
    },

    subscribe(response, lastEventId, until = Number.POSITIVE_INFINITY) {
      if (listeners.size >= MAX_LISTENERS) {
        throw new Refusal('too_many_listeners', `${MAX_LISTENERS} listen already; try again later`);
      }
      response.writeHead(200, {
        'Content-Type': 'text/event-stream; charset=utf-8',
        'Cache-Control': 'no-cache',
        // a proxy such as nginx would otherwise hold events back
        'X-Accel-Buffering': 'no',
      });
      const news = lastEventId === '' ? [] : missed(lastEventId);
      const reset = `id: ${nextId - 1}\nevent: reset\ndata: {}\n\n`;
      response.write(`retry: ${RETRY_MS}\n\n${news === undefined ? reset : news.map(renderEvent).join('')}`);
      listeners.set(response, until);
      response.once('close', () => listeners.delete(response));
    },

    disconnect,

    close() {
      clearInterval(timer);
      disconnect();
    },
  };
}

function renderEvent({ id, data }: Event): string {
  return `id: ${id}\nevent: change\ndata: ${data}\n\n`;
}
