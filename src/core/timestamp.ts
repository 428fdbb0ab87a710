/** How far ahead of the service's clock the time of a check may lie. */
export const MAX_AHEAD_MS = 5 * 60_000;

const ISO_8601 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)$/;
const ZONE = /(?:[Zz]|[+-]\d\d(?::?\d\d)?)$/;
const DAYS_IN_MONTH = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/**
 * Reads an ISO 8601 date and time with a zone: RFC 3339, and what `date -Is`, `date +%FT%T%z` and Python's `isoformat()` write.
 * A leap second (`:60`) counts as the first second of the next minute.
 * @returns milliseconds since the epoch; NaN for anything else, including impossible dates and a missing zone
 */
export function parseTimestamp(text: string): number {
  const match = ISO_8601.exec(text);
  if (match === null) return Number.NaN;
  const [, year, month, day, hour, minute, second, fraction, sign, zoneHour, zoneMinute] = match;
  const [y, mo, d] = [Number(year), Number(month), Number(day)];
  const [h, mi, s] = [Number(hour), Number(minute), Number(second ?? 0)];
  const [zh, zm] = [Number(zoneHour ?? 0), Number(zoneMinute ?? 0)];
  if (d < 1 || d > daysIn(y, mo) || h > 23 || mi > 59 || s > 60 || zh > 23 || zm > 59) return Number.NaN;
  const ms = fraction === undefined ? 0 : Math.floor(Number(`0.${fraction}`) * 1000);
  const zoneMs = (zh * 60 + zm) * (sign === '-' ? -60_000 : 60_000);
  // Date.UTC would read the years 0 to 99 as 1900 to 1999
  if (y < 100) return Number.NaN;
  return Date.UTC(y, mo - 1, d, h, mi, s, ms) - zoneMs;
}

/**
 * Rewrites a timestamp as RFC 3339 and keeps its zone: a blank becomes `T`, missing seconds become `:00`, `+0200` and `+02` become `+02:00`.
 * @param text that {@link parseTimestamp} can read
 */
export function completeTimestamp(text: string): string {
  const [, year, month, day, hour, minute, second, , sign, zoneHour, zoneMinute] = ISO_8601.exec(text) ?? [];
  if (year === undefined) return text;
  // digits beyond the ninth are kept, as all else that was sent
  const fraction = /[.,](\d+)/.exec(text)?.[1];
  const date = `${year}-${month}-${day}${text[10] === 't' ? 't' : 'T'}${hour}:${minute}:${second ?? '00'}`;
  const zone = sign === undefined ? text.at(-1) : `${sign}${zoneHour}:${zoneMinute ?? '00'}`;
  return `${date}${fraction === undefined ? '' : `.${fraction}`}${zone}`;
}

/** Whether it is a date and time to which nothing but the zone is missing. */
export function lacksZone(text: string): boolean {
  return !ZONE.test(text) && !Number.isNaN(parseTimestamp(`${text}Z`));
}

/** Milliseconds since the epoch → `2026-04-21T10:32:15.000Z`. */
export function toIso(ms: number): string {
  return new Date(ms).toISOString();
}

function daysIn(year: number, month: number): number {
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  return month === 2 && isLeap ? 29 : (DAYS_IN_MONTH[month - 1] ?? 0);
}
