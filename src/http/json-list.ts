import { setImmediate as nextTurn } from 'node:timers/promises';

/** What is rendered in one go: a few milliseconds. */
const PORTION_CHARS = 262_144;

/** A JSON array, in portions. */
export function* renderArray(rows: Iterable<string>): Generator<string> {
  let text = '[';
  let separator = '';
  for (const row of rows) {
    text += separator + row;
    separator = ',\n';
    if (text.length > PORTION_CHARS) {
      yield text;
      text = '';
    }
  }
  yield `${text}]\n`;
}

/** Renders the whole; undefined when it is more than `maxBytes`. Between portions the event loop is free for others. */
export async function renderWhole(portions: Iterable<string>, maxBytes: number): Promise<Buffer | undefined> {
  const rendered: Buffer[] = [];
  let bytes = 0;
  for (const portion of portions) {
    const buffer = Buffer.from(portion);
    rendered.push(buffer);
    bytes += buffer.length;
    if (bytes > maxBytes) return undefined;
    await nextTurn();
  }
  return Buffer.concat(rendered);
}

/** A beginning of a list: either the whole, or more than `maxChars` of it. */
export type Rendered = { readonly begun: readonly string[]; readonly isWhole: boolean };

/** Renders until everything is there, or more than `maxChars`. Between portions the event loop is free for others. */
export async function renderBeginning(portions: Iterator<string>, maxChars: number): Promise<Rendered> {
  const begun: string[] = [];
  let chars = 0;
  while (chars <= maxChars) {
    const { done, value } = portions.next() as IteratorResult<string, undefined>;
    if (done === true) return { begun, isWhole: true };
    begun.push(value);
    chars += value.length;
    await nextTurn();
  }
  return { begun, isWhole: false };
}

/** What was rendered already, then the rest. */
export function* joinPortions(begun: readonly string[], rest: Iterable<string>): Generator<string> {
  yield* begun;
  yield* rest;
}
