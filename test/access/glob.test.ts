import { expect } from 'chai';
import * as fc from 'fast-check';
import { matchesGlob } from '../../src/access/glob.ts';
import { runs } from '../property-runs.ts';

describe('glob', () => {
  it('says of short names what a regular expression says', () => {
    const glob = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*'), maxLength: 8 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 10 });
    fc.assert(
      fc.property(glob, name, (wanted, given) => {
        const pattern = new RegExp(`^${wanted.replaceAll('*', '.*')}$`);
        expect(matchesGlob(wanted, given)).to.equal(pattern.test(given));
      }),
      { numRuns: runs(5000) },
    );
  });

  it('takes everything but * as it stands', () => {
    for (const character of '.+?^$()[]{}|\\-') {
      expect(matchesGlob(`a${character}*`, `a${character}b`), character).to.equal(true);
      expect(matchesGlob(`a${character}*`, 'ab'), character).to.equal(false);
    }
  });
});
