import type { Snapshot } from './ledger.ts';

/**
 * How many bytes a text counts towards the limits on text in memory: the length of its UTF-8 or two bytes per UTF-16 unit, whichever is
 * more. V8 stores a text in UTF-16 as soon as one character is beyond Latin-1.
 */
export function textBytes(text: string): number {
  const utf8 = Buffer.byteLength(text);
  // ASCII alone takes one byte a character in both
  return utf8 === text.length ? utf8 : Math.max(utf8, 2 * text.length);
}

/** The names of files that differ. */
export function nameBytesOf(files: readonly { readonly name: string }[]): number {
  let bytes = 0;
  for (const { name } of files) bytes += textBytes(name);
  return bytes;
}

/** All other text of a source. */
export function otherTextBytesOf(snapshot: Snapshot): number {
  const { repo, server, lastCheck, commit, reportedBy } = snapshot;
  const ascii = repo.length + server.length + lastCheck.length + (commit?.length ?? 0) + (reportedBy?.length ?? 0);
  return ascii + freeTextBytesOf(snapshot);
}

/** The text that can have characters beyond ASCII. */
export function freeTextBytesOf({ pipelineUrl, message, labels }: Snapshot): number {
  let bytes = (pipelineUrl === null ? 0 : textBytes(pipelineUrl)) + (message === null ? 0 : textBytes(message));
  for (const name in labels) bytes += name.length + textBytes(labels[name] as string);
  return bytes;
}
