import type { ParsedUrlQuery } from 'node:querystring';
import { VERDICTS, type Verdict, verdictOf } from '../core/ledger.ts';
import { Refusal } from '../core/refusal.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Source } from '../fleet/source-index.ts';
import { shorten } from './target.ts';

/** The sources that a query selects. An undefined field selects all. */
export type Filter = {
  readonly repo: ReadonlySet<string> | undefined;
  readonly server: ReadonlySet<string> | undefined;
  readonly verdict: ReadonlySet<Verdict> | undefined;
};

/** The names of filters in a query. */
export const FILTERS = ['repo', 'server', 'verdict'];
const MAX_NAMED = 5;

/**
 * Reads `repo`, `server` and `verdict`, each a comma list, a repeated key, or what Grafana makes of several values: `{a,b}` and `(a|b)`. Empty
 * values, `*` and variables of Grafana's that were not filled in (`${…}`) select all. What cannot be meant is refused: an answer to
 * something else would look like good news.
 * @param others names that the route knows beside the filters; names that begin with `_` are for caches, and nobody reads them
 * @throws {Refusal} `bad_query`, naming what there is, for other names and for a verdict that is none
 */
export function parseFilter(query: ParsedUrlQuery, others: readonly string[] = []): Filter {
  const known = [...FILTERS, ...others];
  const unknown = Object.keys(query).filter((name) => !known.includes(name) && !name.startsWith('_'));
  if (unknown.length > 0) throw badQuery(`${listed(unknown)}: not known here. There is ${listed(known)}`);
  return {
    repo: parseList(query.repo),
    server: parseList(query.server),
    verdict: parseVerdicts(query.verdict),
  };
}

export function isFiltering({ repo, server, verdict }: Filter): boolean {
  return repo !== undefined || server !== undefined || verdict !== undefined;
}

/** Whether the filter selects the source, by its verdict at `now`. */
export function isSelected({ repo, server, verdict }: Filter, { snapshot }: Source, now: number): boolean {
  return (
    (repo === undefined || repo.has(snapshot.repo)) &&
    (server === undefined || server.has(snapshot.server)) &&
    (verdict === undefined || verdict.has(verdictOf(snapshot, now)))
  );
}

/** The selected sources, sorted by repo, then server. */
export function selectSources(fleet: Pick<Fleet, 'list' | 'listOf'>, filter: Filter, now: number): readonly Source[] {
  if (!isFiltering(filter)) return fleet.list();
  const candidates = filter.repo ? [...filter.repo].toSorted().flatMap(fleet.listOf) : fleet.list();
  return candidates.filter((source) => isSelected(filter, source, now));
}

/** The values that are named, without what stands for all. A name has none of the characters that are taken off here. */
export function valuesOf(value: string | string[] | undefined): string[] {
  return [value ?? []]
    .flat()
    .flatMap((text) => text.replace(/\$\{[^}]*\}?|[{}()\\]/g, '').split(/[,|]/))
    .map((text) => text.trim())
    .filter((text) => text !== '');
}

export function badQuery(detail: string): Refusal {
  return new Refusal('bad_query', detail);
}

function parseList(value: string | string[] | undefined): ReadonlySet<string> | undefined {
  const values = valuesOf(value);
  return values.length === 0 || values.includes('*') ? undefined : new Set(values);
}

function parseVerdicts(value: string | string[] | undefined): ReadonlySet<Verdict> | undefined {
  const values = parseList(value);
  if (values === undefined) return undefined;
  const verdicts = new Set<Verdict>();
  const unknown: string[] = [];
  for (const text of values) {
    const verdict = VERDICTS.find((each) => each === text.toUpperCase());
    if (verdict === undefined) unknown.push(text);
    else verdicts.add(verdict);
  }
  if (unknown.length > 0) throw badQuery(`verdict: ${listed(unknown)} is none. There is ${listed(VERDICTS)}`);
  return verdicts;
}

function listed(names: readonly string[]): string {
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : '';
  return (
    names
      .slice(0, MAX_NAMED)
      .map((name) => shorten(name))
      .join(', ') + more
  );
}
