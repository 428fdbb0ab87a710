import { parse } from 'node:querystring';
import { expect } from 'chai';
import { isFiltering, isSelected, parseFilter } from '../../src/http/filter.ts';
import { Refusal } from '../../src/core/refusal.ts';
import { type Source, keyOf } from '../../src/fleet/source-index.ts';
import { NOW, storedSource, sourceIndexOf } from '../fixtures.ts';

const sources = [
  storedSource(1, { repo: 'acme/web', server: 'web-1', toldStatus: 'SYNCED' }),
  storedSource(2, { repo: 'acme/web', server: 'web-2', toldStatus: 'OUT_OF_SYNC' }),
  storedSource(3, { repo: 'rsyslog', server: 'lab', toldStatus: 'SYNCED', staleAt: NOW }),
  storedSource(4, { repo: 'rsyslog', server: 'web-1', toldStatus: 'OUT_OF_SYNC', staleAt: NOW }),
];

describe('filter', () => {
  const everything: readonly string[] = [
    '',
    '_=1732540000',
    '_cb[]=x',
    'repo=',
    'repo=*',
    'repo=rsyslog,*',
    'repo=,,',
    'repo=${repo:csv}',
    'repo=%20',
    'repo=*&server=&verdict=${verdict}',
    'repo={}',
    'repo=()',
    'repo={rsyslog,*}',
    'repo=${repo:regex}&repo=${__all',
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
    ['verdict=synced', [1]],
    ['verdict=Out_Of_Sync,stale', [2, 3, 4]],
    ['server={web-1,web-2}', [1, 2, 4]],
    ['server={web-1}', [1, 4]],
    ['server=(web-1|web-2)', [1, 2, 4]],
    ['server=web-1|lab', [1, 3, 4]],
    ['server={web-1,lab}&server=web-2', [1, 2, 3, 4]],
    ['server=(web\\-1|lab)', [1, 3, 4]],
    ['server=${server},lab', [3]],
    ['server=lab,${server:csv}', [3]],
    ['verdict={synced,stale}', [1, 3, 4]],
    ['verdict=(SYNCED|STALE)', [1, 3, 4]],
    ['repo=$repo', []],
    ['repo=nowhere', []],
    ['repo=rsys', []],
  ];
  for (const [query, ids] of some) {
    it(`selects ${ids.length === 0 ? 'nothing' : ids.join(' and ')} with "?${query}"`, () => {
      expect(isFiltering(parseFilter(parse(query)))).to.equal(true);
      expect(selected(query)).to.deep.equal(ids);
    });
  }

  const refused: readonly (readonly [query: string, says: RegExp])[] = [
    ['status=OUT_OF_SYNC', /^status: not known here. There is repo, server, verdict, label.NAME$/],
    ['server[]=web-1', /^server\[\]: not known/],
    ['Repo=rsyslog', /^Repo: not known/],
    ['repo=rsyslog&sync_status=SYNCED&servers=a', /^sync_status, servers: not known/],
    ['from=1', /^from: not known/],
    ['=', /not known/],
    ['verdict=green', /^verdict: green is none. There is SYNCED, OUT_OF_SYNC, UNKNOWN, STALE$/],
    ['verdict=SYNCED,in_sync', /^verdict: in_sync is none/],
    ['verdict=0', /^verdict: 0 is none/],
    [`${'x'.repeat(500)}=1`, /^x{200}…: not known/],
    ['a&b&c&d&e&f&g', /^a, b, c, d, e and 2 more: not known/],
  ];
  for (const [query, says] of refused) {
    it(`refuses "?${query.slice(0, 40)}"`, () => {
      const error = catchError(() => parseFilter(parse(query)));
      expect(error).to.be.instanceOf(Refusal).and.include({ reason: 'bad_query' });
      expect(error.message).to.match(says);
    });
  }

  it('takes the names that a route knows beside', () => {
    expect(isFiltering(parseFilter(parse('from=1&limit=2'), ['from', 'limit']))).to.equal(false);
  });

  it('goes by the verdict of the time that it is asked for', () => {
    const filter = parseFilter({ verdict: 'STALE' });
    const [fresh] = sourceIndexOf(sources).list();
    expect(isSelected(filter, fresh as Source, NOW)).to.equal(false);
    expect(isSelected(filter, fresh as Source, NOW + 600_000)).to.equal(true);
  });
});

function catchError(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was refused');
}

function selected(query: string): number[] {
  const sourceIndex = sourceIndexOf(sources);
  const filter = parseFilter(parse(query));
  const all = sources.map(({ snapshot }) => sourceIndex.find(keyOf(snapshot.repo, snapshot.server)) as Source);
  return all.filter((source) => isSelected(filter, source, NOW)).map(({ id }) => id);
}
