import { parse } from 'node:querystring';
import { expect } from 'chai';
import { isFiltering, isSelected, parseFilter } from '../../src/http/filter.ts';
import { type Source, keyOf } from '../../src/fleet/source-index.ts';
import { NOW, storedSource, sourceIndexOf } from '../fixtures.ts';

const sources = [
  storedSource(1, { repo: 'acme/web', server: 'web-1', syncStatus: 'SYNCED' }),
  storedSource(2, { repo: 'acme/web', server: 'web-2', syncStatus: 'OUT_OF_SYNC' }),
  storedSource(3, { repo: 'rsyslog', server: 'lab', syncStatus: 'SYNCED', staleAt: NOW }),
  storedSource(4, { repo: 'rsyslog', server: 'web-1', syncStatus: 'OUT_OF_SYNC', staleAt: NOW }),
];

describe('filter', () => {
  const everything: readonly string[] = [
    '',
    'other=1',
    'repo=',
    'repo=*',
    'repo=rsyslog,*',
    'repo=,,',
    'repo=${repo:csv}',
    'repo=%20',
    'repo=*&server=&verdict=${verdict}',
  ];
  for (const query of everything) {
    it(`selects everything with "?${query}"`, () => {
      expect(isFiltering(parseFilter(parse(query)))).to.equal(false);
      expect(selected(query)).to.deep.equal([1, 2, 3, 4]);
    });
  }

  const some: readonly (readonly [query: string, ids: readonly number[]])[] = [
    ['repo=rsyslog', [3, 4]],
    ['repo=acme%2Fweb', [1, 2]],
    ['server=web-1', [1, 4]],
    ['server=web-1,web-2', [1, 2, 4]],
    ['server=web-1&server=web-2', [1, 2, 4]],
    ['server=web-1, web-2', [1, 2, 4]],
    ['server=web-1&server=', [1, 4]],
    ['repo=rsyslog&server=web-1', [4]],
    ['repo=${repo}&server=lab', [3]],
    ['verdict=SYNCED', [1]],
    ['verdict=OUT_OF_SYNC', [2]],
    ['verdict=STALE', [3, 4]],
    ['verdict=STALE,OUT_OF_SYNC&repo=rsyslog', [3, 4]],
    ['verdict=synced', []],
    ['repo=nowhere', []],
    ['repo=rsys', []],
  ];
  for (const [query, ids] of some) {
    it(`selects ${ids.length === 0 ? 'nothing' : ids.join(' and ')} with "?${query}"`, () => {
      expect(isFiltering(parseFilter(parse(query)))).to.equal(true);
      expect(selected(query)).to.deep.equal(ids);
    });
  }

  it('goes by the verdict of the time that it is asked for', () => {
    const filter = parseFilter({ verdict: 'STALE' });
    const [fresh] = sourceIndexOf(sources).list();
    expect(isSelected(filter, fresh as Source, NOW)).to.equal(false);
    expect(isSelected(filter, fresh as Source, NOW + 600_000)).to.equal(true);
  });
});

function selected(query: string): number[] {
  const sourceIndex = sourceIndexOf(sources);
  const filter = parseFilter(parse(query));
  const all = sources.map(({ snapshot }) => sourceIndex.find(keyOf(snapshot.repo, snapshot.server)) as Source);
  return all.filter((source) => isSelected(filter, source, NOW)).map(({ id }) => id);
}
