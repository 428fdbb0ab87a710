import { renderWhole } from './json-list.ts';
import { type SharedBody, toSharedBody } from './response.ts';

/** The whole of a list, rendered once for all who ask for it until the state changes. */
export type SharedList = {
  /** The list as it is now, or has become meanwhile. Undefined: it is too large, or there is no room to keep it. */
  read(): Promise<KeptList | undefined>;
};

export type KeptList = { readonly etag: string; readonly body: SharedBody };

export type SharedListOptions = {
  /** Names the state that is shown now. */
  readonly etagNow: () => string;
  /** The list now, in portions. */
  readonly render: () => Iterable<string>;
  /** A larger one is not kept. */
  readonly maxBytes: number;
  /** Whether so many bytes more may be held in memory. */
  readonly hasRoom: (bytes: number) => boolean;
};

/** Whether a list that was too large still is, is looked at so often: each time costs a rendering that comes to nothing. */
const TOO_LARGE_FOR_MS = 60_000;

export function createSharedList({ etagNow, render, maxBytes, hasRoom }: SharedListOptions): SharedList {
  let kept: KeptList | undefined;
  /** Never more than one: whoever comes meanwhile waits for it, or for the next. */
  let rendering: { readonly etag: string; readonly done: Promise<KeptList | undefined> } | undefined;
  let tooLargeUntil = 0;

  async function keep(etag: string): Promise<KeptList | undefined> {
    const plain = await renderWhole(render(), maxBytes);
    kept = plain && { etag, body: toSharedBody(plain) };
    if (plain === undefined) tooLargeUntil = performance.now() + TOO_LARGE_FOR_MS;
    return kept;
  }

  function begin(): Promise<KeptList | undefined> {
    const etag = etagNow();
    const done = keep(etag).finally(() => {
      rendering = undefined;
    });
    rendering = { etag, done };
    return done;
  }

  return {
    async read() {
      if (performance.now() < tooLargeUntil || !hasRoom(maxBytes)) return undefined;
      if (kept?.etag === etagNow()) return kept;
      // what was begun before may not show what this reader knows of already
      if (rendering !== undefined && rendering.etag !== etagNow()) await rendering.done;
      if (kept?.etag === etagNow()) return kept;
      return rendering?.done ?? begin();
    },
  };
}
