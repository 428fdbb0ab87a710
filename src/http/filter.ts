import type { ParsedUrlQuery } from 'node:querystring';
import { type Verdict, verdictOf } from '../core/ledger.ts';
import type { Source } from '../fleet/source-index.ts';

/** The sources that a query selects. An undefined field selects all. */
export type Filter = {
  readonly repo: ReadonlySet<string> | undefined;
  readonly server: ReadonlySet<string> | undefined;
  readonly verdict: ReadonlySet<string> | undefined;
};

/**
 * Reads `repo`, `server` and `verdict`, each a comma list or a repeated key. Empty values, `*` and Grafana variables that were not filled in
 * (`${…}`) select all.
 */
export function parseFilter(query: ParsedUrlQuery): Filter {
  return { repo: parseList(query.repo), server: parseList(query.server), verdict: parseList(query.verdict) };
}

export function isFiltering({ repo, server, verdict }: Filter): boolean {
  return repo !== undefined || server !== undefined || verdict !== undefined;
}

/** Whether the filter selects the source, by its verdict at `now`. */
export function isSelected({ repo, server, verdict }: Filter, { snapshot }: Source, now: number): boolean {
  return (
    (repo === undefined || repo.has(snapshot.repo)) &&
    (server === undefined || server.has(snapshot.server)) &&
    (verdict === undefined || verdict.has(verdictOf(snapshot, now) satisfies Verdict))
  );
}

function parseList(value: string | string[] | undefined): ReadonlySet<string> | undefined {
  const items = [value ?? []]
    .flat()
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '' && !text.startsWith('${'));
  return items.length === 0 || items.includes('*') ? undefined : new Set(items);
}
