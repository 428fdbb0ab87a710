import { expect } from 'chai';
import * as fc from 'fast-check';
import type { StateChange } from '../../src/core/history.ts';
import type { Verdict } from '../../src/core/ledger.ts';
import { CHANGE_BYTES, createNewestSources } from '../../src/core/newest-sources.ts';
import { runs } from '../property-runs.ts';

const END = 100;

/** `server time verdict …`: a source with these states at these times. */
function source(server: string, ...states: [time: number, verdict: Verdict | null][]): StateChange[] {
  return states.map(([time, verdict]) => ({ time, repo: 'r', server, verdict, driftCount: 0 }));
}

/** A source that was SYNCED at 0, changed at `changedAt`, and is so still. */
function changed(server: string, changedAt: number): StateChange[] {
  return source(server, [0, 'SYNCED'], [changedAt, 'STALE'], [END, 'STALE']);
}

/** The servers that stay. */
function chosen(maxRows: number, sources: readonly (readonly StateChange[])[], maxBytes = Infinity) {
  const newest = createNewestSources(maxRows, maxBytes);
  for (const rows of sources) newest.push(rows);
  const { rows, isCut } = newest.done();
  return { servers: [...new Set(rows.map(({ server }) => server))].toSorted().join(' '), rows, isCut };
}

describe('newest sources', () => {
  it('are none when nothing came', () => {
    expect(createNewestSources(3, 1000).done()).to.deep.equal({ rows: [], isCut: false });
  });

  it('are those that changed last, whole', () => {
    const sources = [changed('a', 10), changed('b', 30), changed('c', 20)];
    expect(chosen(9, sources)).to.include({ servers: 'a b c', isCut: false });
    expect(chosen(8, sources)).to.include({ servers: 'b c', isCut: true });
    expect(chosen(5, sources)).to.include({ servers: 'b', isCut: true });
    expect(chosen(5, sources).rows).to.deep.equal(sources[1]);
  });

  it('do not count the closing row as a change, but a removal, the first row of a life, and a change at the very end', () => {
    const quiet = source('quiet', [0, 'SYNCED'], [END, 'SYNCED']);
    const removed = source('removed', [0, 'SYNCED'], [40, null]);
    const born = source('born', [50, 'SYNCED'], [END, 'SYNCED']);
    const late = source('late', [0, 'SYNCED'], [END, 'STALE']);
    const sources = [quiet, removed, born, late];
    expect(chosen(2, sources).servers).to.equal('late');
    expect(chosen(4, sources).servers).to.equal('born late');
    expect(chosen(6, sources).servers).to.equal('born late removed');
  });

  it('are the first by name where they changed at the same time', () => {
    const sources = ['d', 'b', 'c', 'a'].map((server) => changed(server, 10));
    for (const order of [sources, sources.toReversed()]) expect(chosen(6, order).servers).to.equal('a b');
  });

  it('end with the first that does not fit: none that is left out changed later than one that stays', () => {
    const long = source('long', [0, 'SYNCED'], [1, 'STALE'], [2, 'SYNCED'], [50, 'STALE'], [END, 'STALE']);
    const sources = [changed('a', 10), changed('b', 60), long];
    for (const order of [sources, sources.toReversed()]) expect(chosen(7, order).servers).to.equal('b');
  });

  it('are the newest rows of one that alone has too many', () => {
    const long = source('long', [0, 'SYNCED'], [1, 'STALE'], [2, 'SYNCED'], [50, 'STALE'], [END, 'STALE']);
    const { rows, isCut } = chosen(3, [changed('a', 10), long, changed('b', 20)]);
    expect(rows).to.deep.equal(long.slice(-3));
    expect(isCut).to.equal(true);
  });

  it('fit into the memory for them', () => {
    const bytes = 3 * (CHANGE_BYTES + 2);
    const sources = [changed('a', 10), changed('b', 30), changed('c', 20)];
    expect(chosen(100, sources, 3 * bytes)).to.include({ servers: 'a b c', isCut: false });
    expect(chosen(100, sources, 3 * bytes - 1)).to.include({ servers: 'b c', isCut: true });
    expect(chosen(100, sources, bytes - 1).rows).to.deep.equal(sources[1]?.slice(1));
  });

  it('are the same in whatever order they come', () => {
    const verdicts = fc.constantFrom<Verdict[]>('SYNCED', 'OUT_OF_SYNC', 'STALE');
    const states = fc.uniqueArray(fc.tuple(fc.integer({ min: 0, max: 20 }), verdicts), {
      minLength: 1,
      maxLength: 6,
      selector: ([time]) => time,
    });
    const fleets = fc.array(states, { minLength: 1, maxLength: 1500, size: 'max' }).chain((all) => {
      const sources = all.map((each, i) => {
        const ascending = each.toSorted(([a], [b]) => a - b);
        return source(`s${i}`, ...ascending, [END, ascending.at(-1)?.[1] ?? null]);
      });
      return fc.tuple(fc.constant(sources), fc.shuffledSubarray(sources, { minLength: sources.length }));
    });
    fc.assert(
      fc.property(fleets, fc.integer({ min: 1, max: 400 }), ([sources, shuffled], maxRows) => {
        const ranked = sources
          .map((rows) => ({ rows, changedAt: lastDifference(rows) }))
          .toSorted((a, b) => b.changedAt - a.changedAt || compare(a.rows, b.rows));
        const expected: StateChange[] = [];
        for (const { rows } of ranked) {
          if (expected.length + rows.length > maxRows) break;
          expected.push(...rows);
        }
        if (expected.length === 0) expected.push(...(ranked[0]?.rows.slice(-maxRows) ?? []));
        const total = sources.reduce((sum, { length }) => sum + length, 0);
        const { rows, isCut } = chosen(maxRows, shuffled);
        expect(rows).to.deep.equal(expected.toSorted((a, b) => a.time - b.time || compare([a], [b])));
        expect(isCut).to.equal(expected.length < total);
      }),
      { numRuns: runs(30) },
    );
  }).timeout(runs(60_000));
});

function lastDifference(rows: readonly StateChange[]): number {
  const last = rows.findLast(({ verdict }, i) => i === 0 || verdict !== rows[i - 1]?.verdict);
  return last?.time === END ? END : Math.max(...rows.filter(({ time }) => time < END).map(({ time }) => time));
}

function compare([a]: readonly StateChange[], [b]: readonly StateChange[]): number {
  const [first, second] = [a?.server ?? '', b?.server ?? ''];
  if (first === second) return 0;
  return first < second ? -1 : 1;
}
