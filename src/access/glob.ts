/**
 * Whether the glob matches the whole name. `*` matches any characters, including slashes, or none. Each part between stars is searched once,
 * from left to right: a regular expression would backtrack, and take years for some names.
 */
export function matchesGlob(glob: string, name: string): boolean {
  const [head = '', ...parts] = glob.split('*');
  const tail = parts.pop();
  if (tail === undefined) return name === glob;
  let at = head.length;
  const end = name.length - tail.length;
  if (end < at || !name.startsWith(head) || !name.endsWith(tail)) return false;
  for (const part of parts) {
    const found = name.indexOf(part, at);
    if (found === -1 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
