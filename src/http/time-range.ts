import type { ParsedUrlQuery } from 'node:querystring';
import { parseTimestamp } from '../core/timestamp.ts';
import type { Range } from '../store/store.ts';
import { badQuery } from './filter.ts';

const DAY_MS = 24 * 60 * 60_000;
const DEFAULT_LIMIT = 10_000;
const MAX_LIMIT = 100_000;
/** 1973 in milliseconds; as seconds it is the year 5138. */
const MIN_EPOCH_MS = 1e11;

/** The names that {@link parseRange} reads. */
export const RANGE_NAMES = ['from', 'to', 'limit'];

/**
 * Reads `from` and `to` (epoch milliseconds or ISO 8601, by default the last 24 hours) and `limit` (by default 10,000 rows). Empty values and
 * Grafana variables that were not filled in (`${…}`) count as not given.
 * @throws {Refusal} `bad_query` for an invalid range or limit
 */
export function parseRange(query: ParsedUrlQuery, now: number): Range & { readonly limit: number } {
  const to = parseTime('to', single(query, 'to')) ?? now;
  const from = parseTime('from', single(query, 'from')) ?? to - DAY_MS;
  if (from >= to) throw badQuery(`from must be before to, but from is ${show(from)} and to is ${show(to)}`);
  const limit = single(query, 'limit') ?? String(DEFAULT_LIMIT);
  if (!/^\d{1,6}$/.test(limit) || Number(limit) < 1 || Number(limit) > MAX_LIMIT) {
    throw badQuery(`limit must be a whole number from 1 to ${MAX_LIMIT}`);
  }
  return { from, to, limit: Number(limit) };
}

function single(query: ParsedUrlQuery, name: string): string | undefined {
  const value = query[name];
  if (Array.isArray(value)) throw badQuery(`${name} must be given once`);
  return value === undefined || value === '' || value.startsWith('${') ? undefined : value;
}

function parseTime(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  // a plus that is not encoded arrives as a space
  const isNumber = /^\d{1,16}$/.test(text);
  const ms = isNumber ? Number(text) : parseTimestamp(text.replace(' ', '+'));
  if (Number.isNaN(ms)) throw badQuery(`${name} must be epoch milliseconds or an ISO 8601 time with a zone`);
  if (isNumber && ms < MIN_EPOCH_MS) throw badQuery(`${name} must be in milliseconds; ${text} looks like seconds`);
  if (ms > 8.64e15) throw badQuery(`${name} is too far in the future`);
  return ms;
}

function show(ms: number): string {
  return new Date(ms).toISOString();
}
