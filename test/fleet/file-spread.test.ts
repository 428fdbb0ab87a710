import { expect } from 'chai';
import type { OpenDrift } from '../../src/core/ledger.ts';
import { type FileSpread, createFileSpread } from '../../src/fleet/file-spread.ts';

describe('file spread', () => {
  let fileSpread: FileSpread;
  beforeEach(() => {
    fileSpread = createFileSpread();
  });

  it('knows nothing of a repo that nobody has reported', () => {
    expect(fileSpread.servers('web')).to.equal(0);
    expect(fileSpread.drifted('web', 'a')).to.equal(0);
    expect([...fileSpread.entries()]).to.deep.equal([]);
  });

  it('counts the servers of a repo, those in sync too', () => {
    fileSpread.change('web', null, files('a'));
    fileSpread.change('web', null, files());
    fileSpread.change('db', null, files());
    expect([fileSpread.servers('web'), fileSpread.servers('db')]).to.deep.equal([2, 1]);
  });

  it('counts on how many servers of a repo a file differs', () => {
    fileSpread.change('web', null, files('a', 'b'));
    fileSpread.change('web', null, files('a'));
    fileSpread.change('db', null, files('a'));
    expect([
      fileSpread.drifted('web', 'a'),
      fileSpread.drifted('web', 'b'),
      fileSpread.drifted('db', 'a'),
    ]).to.deep.equal([2, 1, 1]);
  });

  it('follows files that come and go', () => {
    fileSpread.change('web', null, files('a', 'b'));
    fileSpread.change('web', files('a', 'b'), files('b', 'c'));
    expect(shown()).to.deep.equal({ web: { b: 1, c: 1 } });
  });

  it('does not change with the same list', () => {
    const same = files('a');
    fileSpread.change('web', null, same);
    fileSpread.change('web', same, same);
    expect(fileSpread.servers('web')).to.equal(1);
    expect(shown()).to.deep.equal({ web: { a: 1 } });
  });

  it('forgets a file that differs nowhere, and a repo without servers', () => {
    fileSpread.change('web', null, files('a'));
    fileSpread.change('web', files('a'), files());
    expect(shown()).to.deep.equal({ web: {} });
    fileSpread.change('web', files(), null);
    expect(shown()).to.deep.equal({});
  });

  function shown(): Record<string, Record<string, number>> {
    return Object.fromEntries([...fileSpread.entries()].map(([repo, counts]) => [repo, Object.fromEntries(counts)]));
  }
});

function files(...names: string[]): OpenDrift[] {
  return names.map((name) => ({ name, since: 0, times: 1 }));
}
