import type { ParsedUrlQuery } from 'node:querystring';
import type { Labels } from '../core/report.ts';
import { LABEL_NAME } from '../core/report-schema.ts';
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
  /** Label → values. */
  readonly labels: ReadonlyMap<string, ReadonlySet<string>> | undefined;
};

/** The names of filters in a query. */
export const FILTERS = ['repo', 'server', 'verdict'];
const LABEL_PREFIX = 'label.';
const LABEL = new RegExp(LABEL_NAME);
const MAX_NAMED = 5;

/**
 * Reads `repo`, `server`, `verdict` and `label.NAME`, each a comma list, a repeated key, or what Grafana makes of several values: `{a,b}` and `(a|b)`. Empty
 * values, `*` and variables of Grafana's that were not filled in (`${…}`) select all. What cannot be meant is refused: an answer to
 * something else would look like good news.
 * @param others names that the route knows beside the filters; names that begin with `_` are for caches, and nobody reads them
 * @throws {Refusal} `bad_query`, naming what there is, for other names and for a verdict that is none
 */
export function parseFilter(query: ParsedUrlQuery, others: readonly string[] = []): Filter {
  const known = [...FILTERS, ...others];
  const unknown = Object.keys(query).filter(
    (name) => !known.includes(name) && !isLabelFilter(name) && !name.startsWith('_'),
  );
  if (unknown.length > 0) throw badQuery(`${listed(unknown)}: not known here. There is ${listed(known)}, label.NAME`);
  return {
    repo: parseList(query.repo),
    server: parseList(query.server),
    verdict: parseVerdicts(query.verdict),
    labels: parseLabels(query),
  };
}

export function isFiltering(filter: Filter): boolean {
  return Object.values(filter).some((chosen) => chosen !== undefined);
}

/** Whether the filter selects the source, by its verdict at `now`. */
export function isSelected({ repo, server, verdict, labels }: Filter, { snapshot }: Source, now: number): boolean {
  return (
    (repo === undefined || repo.has(snapshot.repo)) &&
    (server === undefined || server.has(snapshot.server)) &&
    (verdict === undefined || verdict.has(verdictOf(snapshot, now))) &&
    (labels === undefined || hasLabels(snapshot.labels, labels))
  );
}

/** Whether each label that is asked for has one of the values. */
function hasLabels(labels: Labels | null, asked: ReadonlyMap<string, ReadonlySet<string>>): boolean {
  for (const [name, values] of asked) {
    const value = labels?.[name];
    if (value === undefined || !values.has(value)) return false;
  }
  return true;
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

/** Whether it is the name of a filter by a label. */
export function isLabelFilter(name: string): boolean {
  return name.startsWith(LABEL_PREFIX) && LABEL.test(name.slice(LABEL_PREFIX.length));
}

function parseLabels(query: ParsedUrlQuery): Filter['labels'] {
  const labels = new Map<string, ReadonlySet<string>>();
  for (const [name, value] of Object.entries(query)) {
    if (!isLabelFilter(name)) continue;
    const values = labelValuesOf(value);
    if (values.length > 0 && !values.includes('*')) labels.set(name.slice(LABEL_PREFIX.length), new Set(values));
  }
  return labels.size === 0 ? undefined : labels;
}

/** As {@link valuesOf}, but a label's value may have any character save a comma: what looks like several values may be one, too. */
function labelValuesOf(value: string | string[] | undefined): string[] {
  return [value ?? []]
    .flat()
    .map((text) => text.replace(/\$\{[^}]*\}?/g, '').trim())
    .flatMap((text) => itemsOf(text).concat(text.split(',')))
    .map((text) => text.trim())
    .filter((text) => text !== '');
}

function itemsOf(text: string): string[] {
  const [, braced, grouped] = /^(?:\{(.*)\}|\((.*)\))$/.exec(text) ?? [];
  if (braced !== undefined) return braced.split(',');
  return grouped === undefined ? [] : grouped.replaceAll('\\', '').split('|');
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
