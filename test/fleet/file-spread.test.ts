import { expect } from 'chai';
import type { OpenDrift } from '../../src/core/ledger.ts';
import { type FileSpread, createFileSpread } from '../../src/fleet/file-spread.ts';

describe('spread', () => {
  let spread: FileSpread;
  beforeEach(() => {
    spread = createFileSpread();
  });

  it('knows nothing of a repo that nobody has reported', () => {
    expect(spread.servers('web')).to.equal(0);
    expect(spread.drifted('web', 'a')).to.equal(0);
    expect([...spread.entries()]).to.deep.equal([]);
  });

  it('counts the servers of a repo, those in sync too', () => {
    spread.change('web', null, files('a'));
    spread.change('web', null, files());
    spread.change('db', null, files());
    expect([spread.servers('web'), spread.servers('db')]).to.deep.equal([2, 1]);
  });

  it('counts on how many servers of a repo a file differs', () => {
    spread.change('web', null, files('a', 'b'));
    spread.change('web', null, files('a'));
    spread.change('db', null, files('a'));
    expect([spread.drifted('web', 'a'), spread.drifted('web', 'b'), spread.drifted('db', 'a')]).to.deep.equal([
      2, 1, 1,
    ]);
  });

  it('follows files that come and go', () => {
    spread.change('web', null, files('a', 'b'));
    spread.change('web', files('a', 'b'), files('b', 'c'));
    expect(shown()).to.deep.equal({ web: { b: 1, c: 1 } });
  });

  it('does not change with the same list', () => {
    const same = files('a');
    spread.change('web', null, same);
    spread.change('web', same, same);
    expect(spread.servers('web')).to.equal(1);
    expect(shown()).to.deep.equal({ web: { a: 1 } });
  });

  it('forgets a file that differs nowhere, and a repo without servers', () => {
    spread.change('web', null, files('a'));
    spread.change('web', files('a'), files());
    expect(shown()).to.deep.equal({ web: {} });
    spread.change('web', files(), null);
    expect(shown()).to.deep.equal({});
  });

  function shown(): Record<string, Record<string, number>> {
    return Object.fromEntries([...spread.entries()].map(([repo, counts]) => [repo, Object.fromEntries(counts)]));
  }
});

function files(...names: string[]): OpenDrift[] {
  return names.map((name) => ({ name, since: 0, times: 1 }));
}
