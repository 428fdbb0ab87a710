import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import { QueryVariableBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

/** One column of an Infinity query: what it reads from each row, the title it gets, and the type that the JSON value has. */
export type Column = {
  selector: string;
  text: string;
  type: 'string' | 'number' | 'boolean' | 'timestamp' | 'timestamp_epoch';
};

/** A query of the Infinity data source: a route of the service, its parameters, and the columns made of its rows. */
export type InfinityTarget = {
  refId: string;
  datasource: { type: string; uid: string };
  type: 'json';
  source: 'url';
  format: 'table';
  parser: 'backend';
  url: string;
  url_options: { method: 'GET'; data: ''; params: { key: string; value: string }[]; headers: [] };
  root_selector: string;
  columns: (Column & { timestampFormat: '' })[];
  computed_columns: [];
  filterExpression: '';
  filters: [];
};

/** The Infinity data source that the viewer has chosen; the dashboard has a variable of this name. */
export const infinitySource = { type: 'yesoreyeram-infinity-datasource', uid: '${infinity}' };

/** A query of `route`, narrowed by the dashboard's variables `repo` and `server`. */
export function infinityQuery(
  route: string,
  columns: Column[],
  params: Record<string, string> = {},
): Builder<Dataquery> {
  // Without the csv format several chosen values would come as the glob {a,b}.
  const target = infinityTarget(route, '', columns, { repo: '${repo:csv}', server: '${server:csv}', ...params });
  return { build: () => ({ ...target, _implementsDataqueryVariant() {} }) };
}

/** A dashboard variable whose values are what `selector` reads from each row of `route`, under `root` where the rows are not on top. */
export function infinityVariable(
  name: string,
  label: string,
  query: { route: string; root?: string; selector: string; params?: Record<string, string> },
): QueryVariableBuilder {
  const columns: Column[] = [{ selector: query.selector, text: '__value', type: 'string' }];
  const target = infinityTarget(query.route, query.root ?? '', columns, query.params ?? {});
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(infinitySource)
    .query({ queryType: 'infinity', refId: 'A', query: '', infinityQuery: target });
}

/** Puts a table's columns into the order in which they were declared: the plugin sorts them by title. */
export function inOrder(columns: Column[]): { id: string; options: unknown } {
  const indexByName = Object.fromEntries(columns.map(({ text }, index) => [text, index]));
  return { id: 'organize', options: { indexByName, excludeByName: {}, renameByName: {} } };
}

// Everything that the plugin would otherwise guess is written out: its two halves guess differently.
function infinityTarget(
  route: string,
  root: string,
  columns: Column[],
  params: Record<string, string>,
): InfinityTarget {
  return {
    refId: 'A',
    datasource: infinitySource,
    type: 'json',
    source: 'url',
    format: 'table',
    parser: 'backend',
    url: route,
    url_options: {
      method: 'GET',
      data: '',
      params: Object.entries(params).map(([key, value]) => ({ key, value })),
      headers: [],
    },
    root_selector: root,
    columns: columns.map(({ selector, text, type }) => ({ selector, text, type, timestampFormat: '' })),
    computed_columns: [],
    filterExpression: '',
    filters: [],
  };
}
