import { expect } from 'chai';
import { parseTimestamp, toIso } from '../../src/core/timestamp.ts';

const AT = Date.UTC(2026, 3, 21, 10, 32, 15);

describe('timestamp', () => {
  const readable: readonly (readonly [text: string, ms: number, what: string])[] = [
    ['2026-04-21T10:32:15Z', AT, 'RFC 3339 in UTC'],
    ['2026-04-21t10:32:15z', AT, 'lower-case letters'],
    ['2026-04-21 10:32:15Z', AT, 'a space instead of T, as `date --rfc-3339=seconds` writes'],
    ['2026-04-21T12:32:15+02:00', AT, 'an offset, as `date -Is` writes'],
    ['2026-04-21T12:32:15+0200', AT, 'an offset without colon, as `date +%FT%T%z` writes'],
    ['2026-04-21T12:32:15+02', AT, 'an offset of whole hours'],
    ['2026-04-21T05:02:15-05:30', AT, 'an offset west of Greenwich'],
    ['2026-04-21T10:32Z', AT - 15_000, 'no seconds'],
    ['2026-04-21T10:32:15.5Z', AT + 500, 'a fraction of one digit'],
    ['2026-04-21T10:32:15,250Z', AT + 250, 'a fraction after a comma'],
    ['2026-04-21T10:32:15.123456+00:00', AT + 123, 'microseconds, as Python writes; cut, not rounded'],
    ['2026-04-21T10:32:15.9999999999999Z', AT + 999, 'more digits than anyone has a use for'],
    ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29), 'the leap day of a leap year'],
    ['2000-02-29T00:00:00Z', Date.UTC(2000, 1, 29), 'the leap day of a century that has one'],
    ['2016-12-31T23:59:60Z', Date.UTC(2017, 0, 1), 'a leap second'],
    ['0100-01-01T00:00:00Z', Date.UTC(100, 0, 1), 'the first year that is taken'],
    ['9999-12-31T23:59:59Z', Date.UTC(9999, 11, 31, 23, 59, 59), 'the last year'],
  ];
  for (const [text, ms, what] of readable) {
    it(`reads ${what}: ${text}`, () => {
      expect(parseTimestamp(text)).to.equal(ms);
    });
  }

  const unreadable: readonly (readonly [text: string, what: string])[] = [
    ['', 'nothing'],
    ['2026-04-21T10:32:15', 'no zone'],
    ['2026-04-21', 'no time'],
    ['yesterday', 'no date'],
    ['1776767535', 'a number of seconds'],
    [' 2026-04-21T10:32:15Z', 'a space before it'],
    ['2026-04-21T10:32:15Z\n', 'a line feed after it'],
    ['2026-00-21T10:32:15Z', 'month 0'],
    ['2026-13-21T10:32:15Z', 'month 13'],
    ['2026-04-00T10:32:15Z', 'day 0'],
    ['2026-04-31T10:32:15Z', 'day 31 of April'],
    ['2026-02-29T10:32:15Z', 'the leap day of another year'],
    ['1900-02-29T10:32:15Z', 'the leap day of a century that has none'],
    ['2026-04-21T24:00:00Z', 'hour 24'],
    ['2026-04-21T10:60:00Z', 'minute 60'],
    ['2026-04-21T10:32:61Z', 'second 61'],
    ['2026-04-21T10:32:15+24:00', 'a zone of 24 hours'],
    ['2026-04-21T10:32:15+02:60', 'a zone of 60 minutes'],
    ['2026-04-21T10:32:15.Z', 'a point without a fraction'],
    ['0099-01-01T00:00:00Z', 'a year before 100'],
    ['12026-04-21T10:32:15Z', 'a year of five digits'],
  ];
  for (const [text, what] of unreadable) {
    it(`refuses ${what}: ${JSON.stringify(text)}`, () => {
      expect(parseTimestamp(text)).to.be.NaN;
    });
  }

  it('writes UTC with milliseconds', () => {
    expect(toIso(AT)).to.equal('2026-04-21T10:32:15.000Z');
  });

  it('reads what it writes', () => {
    expect(parseTimestamp(toIso(AT + 7))).to.equal(AT + 7);
  });
});
