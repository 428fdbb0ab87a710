import type { Context } from 'koa';
import { type Filter, isFiltering, isSelected } from './filter.ts';
import type { Fleet } from './fleet.ts';
import { beginRead, sendPortions, sendShared, toSharedBody, type SharedBody } from './respond.ts';
import type { Source } from './roster.ts';
import { renderRow } from './status.ts';

/** `/status.json`. */
export type StatusList = {
  send(ctx: Context, filter: Filter, now: number): Promise<void>;
};

/** What is rendered in one go (a few milliseconds); a list that fits is kept for the next reader. */
const PORTION_CHARS = 1_048_576;

/** @param bootId what validators begin with: revisions begin anew with each start */
export function createStatusList(fleet: Fleet, bootId: string): StatusList {
  let shown = { revision: -1, stale: 0, nextStaleAt: 0 };
  let kept: { readonly etag: string; readonly body: SharedBody } | undefined;

  /** Rows change with a commit, and when a source becomes STALE: between two commits their number can only grow. */
  function etagAt(now: number): string {
    if (shown.revision !== fleet.revision || now >= shown.nextStaleAt) {
      let stale = 0;
      let nextStaleAt = Number.POSITIVE_INFINITY;
      for (const { snapshot } of fleet.list()) {
        if (now >= snapshot.staleAt) stale += 1;
        else if (snapshot.staleAt < nextStaleAt) nextStaleAt = snapshot.staleAt;
      }
      shown = { revision: fleet.revision, stale, nextStaleAt };
    }
    return `${bootId}.${shown.revision}.${shown.stale}`;
  }

  return {
    async send(ctx, filter, now) {
      const etag = etagAt(now);
      if (!beginRead(ctx, 'json', etag)) return;
      if (!isFiltering(filter) && kept?.etag === etag) {
        await sendShared(ctx, kept.body);
        return;
      }
      const sources = fleet.list();
      const selected = isFiltering(filter) ? sources.filter((source) => isSelected(filter, source, now)) : sources;
      const portions = renderRows(selected, now);
      const first = portions.next().value ?? '';
      const second = portions.next();
      if (second.done !== true) {
        sendPortions(ctx, chain([first, second.value], portions));
        return;
      }
      const body = toSharedBody(first);
      if (!isFiltering(filter)) kept = { etag, body };
      await sendShared(ctx, body);
    },
  };
}

function* renderRows(sources: readonly Source[], now: number): Generator<string> {
  let text = '[';
  for (const [index, source] of sources.entries()) {
    if (text.length > PORTION_CHARS) {
      yield text;
      text = '';
    }
    text += index === 0 ? renderRow(source, now) : `,\n${renderRow(source, now)}`;
  }
  yield `${text}]\n`;
}

function* chain(begun: readonly string[], rest: Iterable<string>): Generator<string> {
  yield* begun;
  yield* rest;
}
