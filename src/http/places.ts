import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Context } from 'koa';
import { Refusal } from '../core/refusal.ts';
import { clientOf } from './client.ts';

/** Places for answers that take work or memory: while they are made, and those that are streamed until their end. */
export type Places = {
  /**
   * Waits for a place, first come, first served. Never settles when the client leaves before: nobody waits for the answer any more.
   * @param client who asks, as `clientOf` names it
   * @returns gives the place back; when the response is complete, or its client has left, that is done anyway
   * @throws {Refusal} `overloaded` when too many wait, or none came free in time
   */
  take(client: string, response: ServerResponse): Promise<() => void>;
};

export type PlacesOptions = {
  /** Who waits longer is refused. */
  readonly maxWaitMs: number;
  /** Who has had a place longer than this is cut off for who waits: a slow reader must not lock others out. */
  readonly maxHoldMs: number;
  /** More are refused. */
  readonly maxWaiting?: number;
};

const MAX_PLACES = 8;
/** One client takes no more, so that others find a place; the rest of its requests wait. */
const MAX_PLACES_PER_CLIENT = 4;
/** More are refused; of one client, more than half as many. */
const MAX_WAITING = 100;
/** How often, within `maxHoldMs`, it is looked whether somebody has had a place for too long. */
const LOOKS = 30;

type Holder = { readonly client: string; readonly response: ServerResponse; readonly since: number };
type Waiter = { readonly client: string; admit(): void };

export function createPlaces({ maxWaitMs, maxHoldMs, maxWaiting = MAX_WAITING }: PlacesOptions): Places {
  /** In the order of time, as `waiting`. */
  const holders = new Set<Holder>();
  const waiting = new Set<Waiter>();
  let timer: NodeJS.Timeout | undefined;

  function isBelowShare(client: string): boolean {
    return countOf(holders, client) < MAX_PLACES_PER_CLIENT;
  }

  function hasRoom(client: string): boolean {
    return holders.size < MAX_PLACES && isBelowShare(client);
  }

  function hold(client: string, response: ServerResponse): () => void {
    const holder = { client, response, since: performance.now() };
    holders.add(holder);
    const giveBack = (): void => {
      if (holders.delete(holder)) admitNext();
    };
    response.once('close', giveBack);
    return giveBack;
  }

  function admitNext(): void {
    for (const waiter of waiting) if (hasRoom(waiter.client)) waiter.admit();
  }

  function wait(client: string, response: ServerResponse): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const patience = setTimeout(() => {
        leave();
        reject(overloaded('None of the answers before this one was finished in time'));
      }, maxWaitMs);
      const waiter = {
        client,
        admit() {
          leave();
          resolve(hold(client, response));
        },
      };
      waiting.add(waiter);
      response.once('close', leave);
      timer ??= setInterval(cutOne, maxHoldMs / LOOKS);

      function leave(): void {
        clearTimeout(patience);
        response.off('close', leave);
        waiting.delete(waiter);
        if (waiting.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      }
    });
  }

  /** Whoever has had a place longest gives it up, if that helps one who waits. */
  function cutOne(): void {
    for (const { client, response, since } of holders) {
      if (performance.now() - since < maxHoldMs) return;
      const helps = [...waiting].some((waiter) => waiter.client === client || isBelowShare(waiter.client));
      if (!helps) continue;
      response.destroy();
      return;
    }
  }

  return {
    async take(client, response) {
      if (response.destroyed) return new Promise(() => {});
      if (hasRoom(client)) return hold(client, response);
      if (waiting.size >= maxWaiting || countOf(waiting, client) >= maxWaiting / 2) {
        throw overloaded('Too many long answers are being sent or wait to be');
      }
      return wait(client, response);
    },
  };
}

/** Makes the answer when there is a place for it. The place is given back when the answer is made, whole: what it takes then is counted elsewhere. */
export function inPlace(places: Places, route: (ctx: Context) => Promise<void>): (ctx: Context) => Promise<void> {
  return async (ctx) => {
    const giveBack = await places.take(clientOf(ctx), ctx.res);
    try {
      // those who wait would otherwise all be served in one go
      await nextTurn();
      await route(ctx);
    } finally {
      giveBack();
    }
  };
}

function countOf(all: Iterable<{ readonly client: string }>, client: string): number {
  let count = 0;
  for (const other of all) if (other.client === client) count += 1;
  return count;
}

function overloaded(detail: string): Refusal {
  return new Refusal('overloaded', `${detail}; try again`);
}
