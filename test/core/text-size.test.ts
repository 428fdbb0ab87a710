import { expect } from 'chai';
import { nameBytesOf, textBytes } from '../../src/core/text-size.ts';

describe('the size of a text', () => {
  const sizes: readonly (readonly [what: string, text: string, bytes: number])[] = [
    ['nothing', '', 0],
    ['ASCII', 'a'.repeat(100), 100],
    ['Latin-1', 'é'.repeat(100), 200],
    ['one wide character in ASCII, which makes all of it wide in memory', `${'a'.repeat(99)}日`, 200],
    ['wide characters, as they are on the disk', '日'.repeat(100), 300],
    ['characters beyond the basic plane', '😀'.repeat(100), 400],
  ];
  for (const [what, text, bytes] of sizes) {
    it(`counts ${what}`, () => {
      expect(textBytes(text)).to.equal(bytes);
      expect(nameBytesOf([{ name: text }, { name: text }])).to.equal(2 * bytes);
    });
  }
});
