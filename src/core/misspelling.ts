/** Fields of an object that are looked at. Further ones are not: a guess is a help, not worth much time. */
const MAX_FIELDS = 100;
/** One wrong letter for so many. */
const LETTERS_PER_SLIP = 3;

/**
 * The field of an object that seems to be meant where `name` is missing: the one that is spelt most like it, among those that are not known.
 * Case, and what stands between words, do not count. Undefined: none is near.
 */
export function misspellingOf(name: string, object: object, known: ReadonlySet<string>): string | undefined {
  const wanted = lettersOf(name);
  const maxSlips = Math.floor(wanted.length / LETTERS_PER_SLIP);
  let nearest: string | undefined;
  let fewest = maxSlips + 1;
  let looked = 0;
  for (const field in object) {
    if (known.has(field)) continue;
    looked += 1;
    if (looked > MAX_FIELDS) break;
    if (Math.abs(field.length - name.length) > name.length) continue;
    const slips = slipsBetween(lettersOf(field), wanted);
    if (slips >= fewest) continue;
    fewest = slips;
    nearest = field;
  }
  return nearest;
}

function lettersOf(name: string): string {
  return name.toLowerCase().replace(/[\s_-]/g, '');
}

/** Letters to add, to leave out, to replace or to swap with their neighbour (optimal string alignment distance). */
function slipsBetween(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const isSame = a[i - 1] === b[j - 1];
      let slips = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (isSame ? 0 : 1));
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) slips = Math.min(slips, (beforeLast[j - 2] ?? 0) + 1);
      row.push(slips);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
