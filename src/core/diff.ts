const MAX_DIFF_BYTES = 16_384;

/**
 * Cuts a diff to at most {@link MAX_DIFF_BYTES} of UTF-8, at the end of a line. A cut diff gets a last line that says how many bytes
 * are missing.
 */
export function cutDiff(diff: string): string {
  const bytes = Buffer.from(diff);
  if (bytes.length <= MAX_DIFF_BYTES) return bytes.toString();
  const room = MAX_DIFF_BYTES - 64;
  const lineEnd = bytes.lastIndexOf(0x0a, room - 1) + 1;
  // where even the first line is too long, cut between two characters
  const end = lineEnd > 0 ? lineEnd : characterEnd(bytes, room);
  return `${bytes.toString('utf8', 0, end)}${lineEnd > 0 ? '' : '\n'}[cut: ${bytes.length - end} more bytes]\n`;
}

function characterEnd(bytes: Buffer, room: number): number {
  let end = room;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return end;
}
