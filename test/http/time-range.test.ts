import { expect } from 'chai';
import { toIso } from '../../src/core/timestamp.ts';
import { Refusal } from '../../src/core/refusal.ts';
import { parseRange } from '../../src/http/time-range.ts';
import { NOW } from '../fixtures.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

describe('time range', () => {
  type Query = Parameters<typeof parseRange>[0];

  const ranges: readonly (readonly [what: string, query: Query, from: number, to: number])[] = [
    ['is the last 24 hours when nothing is given', {}, NOW - DAY, NOW],
    ['ends now when only from is given', { from: String(NOW - HOUR) }, NOW - HOUR, NOW],
    ['begins 24 hours before to when only that is given', { to: String(NOW - HOUR) }, NOW - HOUR - DAY, NOW - HOUR],
    ['takes epoch milliseconds', { from: String(NOW - 2), to: String(NOW - 1) }, NOW - 2, NOW - 1],
    ['takes ISO 8601 with a zone', { from: toIso(NOW - 2), to: '2026-04-21T12:32:20+02:00' }, NOW - 2, NOW],
    ['takes a plus that was not encoded', { to: '2026-04-21T12:32:20 02:00' }, NOW - DAY, NOW],
    ['takes a time before 1973 in ISO 8601', { from: '1970-01-01T00:00:00Z' }, 0, NOW],
    ['takes a future', { from: String(NOW + 1), to: String(NOW + 2) }, NOW + 1, NOW + 2],
    ['takes empty values for none', { from: '', to: '', limit: '' }, NOW - DAY, NOW],
    ['takes what Grafana left as it was for none', { from: '${__from}', to: '${__to}', limit: '${n}' }, NOW - DAY, NOW],
  ];
  for (const [what, query, from, to] of ranges) {
    it(what, () => {
      expect(parseRange(query, NOW)).to.deep.equal({ from, to, limit: 10_000 });
    });
  }

  for (const limit of [1, 7, 100_000]) {
    it(`takes limit=${limit}`, () => {
      expect(parseRange({ limit: String(limit) }, NOW).limit).to.equal(limit);
    });
  }

  const refused: readonly (readonly [what: string, query: Query, detail: RegExp])[] = [
    [
      'from after to',
      { from: String(NOW), to: String(NOW - 1) },
      /^from must be before to, but from is 2026-.* and to is/,
    ],
    ['from that is to', { from: String(NOW - 1), to: String(NOW - 1) }, /^from must be before to/],
    ['from in the future without to', { from: String(NOW + 1) }, /^from must be before to/],
    ['seconds', { from: String(NOW / 1000) }, /^from must be in milliseconds; 1776767540 looks like seconds$/],
    ['a time without a zone', { to: '2026-04-21T10:32:20' }, /^to must be epoch milliseconds or an ISO 8601 time/],
    ['a day that does not exist', { to: '2026-02-30T00:00:00Z' }, /^to must be epoch/],
    ['words', { from: 'now-6h' }, /^from must be epoch/],
    ['negative numbers', { from: '-1' }, /^from must be epoch/],
    ['fractions', { from: '1776767540000.5' }, /^from must be epoch/],
    ['a time beyond what there is', { to: '9999999999999999' }, /^to is too far in the future$/],
    ['from twice', { from: ['1776767540000', '1776767540001'] }, /^from must be given once$/],
    ['no rows', { limit: '0' }, /^limit must be a whole number from 1 to 100000$/],
    ['too many rows', { limit: '100001' }, /^limit must/],
    ['a limit that is no number', { limit: '1e3' }, /^limit must/],
    ['a negative limit', { limit: '-5' }, /^limit must/],
    ['limit twice', { limit: ['1', '2'] }, /^limit must be given once$/],
  ];
  for (const [what, query, detail] of refused) {
    it(`refuses ${what}`, () => {
      let refusal: unknown;
      try {
        parseRange(query, NOW);
      } catch (error) {
        refusal = error;
      }
      expect(refusal).to.be.instanceOf(Refusal).and.to.include({ reason: 'bad_query' });
      expect((refusal as Refusal).message).to.match(detail);
    });
  }
});
