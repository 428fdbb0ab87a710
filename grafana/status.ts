import { BigValueColorMode, BigValueGraphMode, BigValueTextMode } from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as table from '@grafana/grafana-foundation-sdk/table';
import { type Column, infinityQuery, infinitySource, infinityVariable, inOrder } from './infinity.ts';

const range = { from: '${__timeFrom}', to: '${__timeTo}' };

/** The dashboard «GitOps status»: what every source looks like now and what it looked like before, read from the service. */
export function statusDashboard(): dashboard.DashboardBuilder {
  return new dashboard.DashboardBuilder('GitOps status')
    .id(null)
    .uid('gitops-status')
    .description('Whether the servers still equal Git: every source, every file that differs, and how it came about.')
    .tags(['gitops'])
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .refresh('1m')
    .time({ from: 'now-24h', to: 'now' })
    .variables([
      new dashboard.DatasourceVariableBuilder('infinity').label('Data source').type(infinitySource.type),
      sourceVariable('repo', 'Repo', {}),
      sourceVariable('server', 'Server', { repo: '${repo:csv}' }),
      serviceVariable(),
    ])
    .annotation(driftAnnotation())
    .link(
      new dashboard.DashboardLinkBuilder('GitOps drift, from Prometheus')
        .type(dashboard.DashboardLinkType.Dashboards)
        .tags(['gitops'])
        .keepTime(true)
        .includeVars(true),
    )
    .withPanel(headline())
    .withPanel(sources())
    .withPanel(files())
    .withPanel(timeline());
}

function sourceVariable(name: string, label: string, params: Record<string, string>): dashboard.QueryVariableBuilder {
  return infinityVariable(name, label, { route: '/status.json', selector: name, params })
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalCaseInsensitiveAsc)
    .multi(true)
    .includeAll(true)
    .allValue('*')
    .current({ selected: true, text: ['All'], value: ['$__all'] });
}

/** Where people reach the service, for links to its pages: its PUBLIC_URL. Where that is not set, the viewer can type it in. */
function serviceVariable(): dashboard.QueryVariableBuilder {
  return infinityVariable('service', 'Service URL', { route: '/openapi.json', root: 'servers', selector: 'url' })
    .regex('/^(.*[^/])/')
    .refresh(dashboard.VariableRefresh.OnDashboardLoad)
    .allowCustomValue(true);
}

function driftAnnotation(): dashboard.AnnotationQueryBuilder {
  const columns: Column[] = [
    { selector: 'time', text: 'time', type: 'timestamp_epoch' },
    { selector: 'timeEnd', text: 'timeEnd', type: 'timestamp_epoch' },
    { selector: 'text', text: 'text', type: 'string' },
    { selector: 'tags', text: 'tags', type: 'string' },
  ];
  return new dashboard.AnnotationQueryBuilder()
    .name('Drifts')
    .datasource(infinitySource)
    .enable(true)
    .iconColor('red')
    .target(infinityQuery('/drifts.json', columns, range));
}

function headline(): stat.PanelBuilder {
  const columns: Column[] = [
    { selector: 'sources', text: 'Sources', type: 'number' },
    { selector: 'out_of_sync', text: 'Out of sync', type: 'number' },
    { selector: 'unknown', text: 'Could not tell', type: 'number' },
    { selector: 'stale', text: 'Stale', type: 'number' },
    { selector: 'drift_count', text: 'Drifted files', type: 'number' },
    { selector: 'oldest_drift_since', text: 'Oldest drift', type: 'timestamp' },
  ];
  return new stat.PanelBuilder()
    .title('Now')
    .description(
      'A source is one server compared with one repo. Could not tell: its newest check ran and could not tell. Stale: no check within its time, so nothing is known about it.',
    )
    .datasource(infinitySource)
    .gridPos({ x: 0, y: 0, w: 24, h: 4 })
    .withTarget(infinityQuery('/summary.json', columns))
    .withTransformation(inOrder(columns))
    .reduceOptions({ build: () => ({ calcs: ['lastNotNull'], fields: '/.*/', values: false }) })
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Thresholds))
    .colorMode(BigValueColorMode.Background)
    .graphMode(BigValueGraphMode.None)
    .textMode(BigValueTextMode.ValueAndName)
    .unit('none')
    .thresholds(steps({ value: null, color: 'green' }, { value: 1, color: 'red' }))
    .overrideByName('Sources', [{ id: 'color', value: { mode: 'fixed', fixedColor: 'blue' } }])
    .overrideByName('Could not tell', [threshold({ value: null, color: 'green' }, { value: 1, color: 'purple' })])
    .overrideByName('Stale', [threshold({ value: null, color: 'green' }, { value: 1, color: 'orange' })])
    .overrideByName('Oldest drift', [
      { id: 'unit', value: 'dateTimeFromNow' },
      { id: 'noValue', value: 'none' },
    ]);
}

function sources(): table.PanelBuilder {
  const columns: Column[] = [
    { selector: 'repo', text: 'Repo', type: 'string' },
    { selector: 'server', text: 'Server', type: 'string' },
    { selector: 'verdict', text: 'Status', type: 'string' },
    { selector: 'drift_count', text: 'Drifted files', type: 'number' },
    { selector: 'files_text', text: 'Files', type: 'string' },
    { selector: 'status_since', text: 'Since', type: 'timestamp' },
    { selector: 'last_check', text: 'Last check', type: 'timestamp' },
    { selector: 'commit', text: 'Commit', type: 'string' },
    { selector: 'pipeline_url', text: 'CI run', type: 'string' },
  ];
  return new table.PanelBuilder()
    .title('Sources')
    .description(
      'Status and drifted files are those of the newest report; «Since» is when the reports began to say so.',
    )
    .datasource(infinitySource)
    .gridPos({ x: 0, y: 4, w: 24, h: 10 })
    .withTarget(infinityQuery('/status.json', columns))
    .withTransformation(inOrder(columns))
    .filterable(true)
    .unit('none')
    .noValue('No source has reported yet')
    .overrideByRegexp('.*', [{ id: 'noValue', value: '–' }])
    .overrideByName('Status', [
      { id: 'mappings', value: [verdicts('SYNCED', 'OUT_OF_SYNC', 'STALE', 'UNKNOWN')] },
      { id: 'custom.cellOptions', value: { type: 'color-background', mode: 'basic' } },
      { id: 'custom.width', value: 120 },
    ])
    .overrideByName('Drifted files', [
      threshold({ value: null, color: 'text' }, { value: 1, color: 'red' }),
      { id: 'custom.cellOptions', value: { type: 'color-text' } },
      { id: 'custom.width', value: 120 },
    ])
    .overrideByName('Server', [pageLink()])
    .overrideByName('Since', fromNow())
    .overrideByName('Last check', fromNow())
    .overrideByName('CI run', runLink());
}

function files(): table.PanelBuilder {
  const columns: Column[] = [
    { selector: 'name', text: 'File', type: 'string' },
    { selector: 'repo', text: 'Repo', type: 'string' },
    { selector: 'server', text: 'Server', type: 'string' },
    { selector: 'since', text: 'Since', type: 'timestamp' },
    { selector: 'times_drifted', text: 'Times drifted', type: 'number' },
    { selector: 'servers_drifted', text: 'On servers', type: 'number' },
    { selector: 'servers', text: 'Of servers', type: 'number' },
    { selector: 'last_check', text: 'Last check', type: 'timestamp' },
    { selector: 'commit', text: 'Commit', type: 'string' },
    { selector: 'pipeline_url', text: 'CI run', type: 'string' },
  ];
  return new table.PanelBuilder()
    .title('Files that differ from Git')
    .description(
      '«Times drifted»: how often this file of this server has differed. «On servers», «Of servers»: on how many of the repo’s servers it differs now.',
    )
    .datasource(infinitySource)
    .gridPos({ x: 0, y: 14, w: 24, h: 10 })
    .withTarget(infinityQuery('/files.json', columns))
    .withTransformation(inOrder(columns))
    .filterable(true)
    .unit('none')
    .noValue('No file differs from Git')
    .overrideByRegexp('.*', [{ id: 'noValue', value: '–' }])
    .overrideByName('Server', [pageLink()])
    .overrideByName('Since', fromNow())
    .overrideByName('Last check', fromNow())
    .overrideByName('CI run', runLink());
}

function timeline(): statetimeline.PanelBuilder {
  const columns: Column[] = [
    { selector: 'time', text: 'Time', type: 'timestamp' },
    { selector: 'source', text: 'Source', type: 'string' },
    { selector: 'state', text: 'Status', type: 'number' },
  ];
  return new statetimeline.PanelBuilder()
    .title('Status over time')
    .description(
      'Built from the service’s own record, so it is complete even for times when nobody was scraping. Where a source did not exist, nothing is painted.',
    )
    .datasource(infinitySource)
    .gridPos({ x: 0, y: 24, w: 24, h: 12 })
    .withTarget(infinityQuery('/history.json', columns, range))
    .withTransformation({
      id: 'partitionByValues',
      options: { fields: ['Source'], keepFields: false, naming: { asLabels: true } },
    })
    .displayName('${__field.labels.Source}')
    .unit('none')
    .noValue('No source in this range')
    .mappings([verdicts('0', '1', '2', '3')])
    .mergeValues(true)
    .fillOpacity(80)
    .lineWidth(0)
    .perPage(30);
}

function verdicts(synced: string, outOfSync: string, stale: string, unknown: string): dashboard.ValueMapping {
  return {
    type: dashboard.MappingType.ValueToText,
    options: {
      [synced]: { text: 'In sync', color: 'green', index: 0 },
      [outOfSync]: { text: 'Out of sync', color: 'red', index: 1 },
      [stale]: { text: 'Stale', color: 'orange', index: 2 },
      [unknown]: { text: 'Could not tell', color: 'purple', index: 3 },
    },
  };
}

function steps(...values: dashboard.Threshold[]): dashboard.ThresholdsConfigBuilder {
  return new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(values);
}

function threshold(...values: dashboard.Threshold[]): dashboard.DynamicConfigValue {
  return { id: 'thresholds', value: steps(...values).build() };
}

function fromNow(): dashboard.DynamicConfigValue[] {
  return [
    { id: 'unit', value: 'dateTimeFromNow' },
    { id: 'custom.width', value: 140 },
  ];
}

// A repo or server may contain a slash: percent-encoded, it stays one part of the path.
function pageLink(): dashboard.DynamicConfigValue {
  const url = '${service:raw}/source/${__data.fields.Repo:percentencode}/${__data.fields.Server:percentencode}';
  return { id: 'links', value: [{ title: 'Open the page of this source', url, targetBlank: true }] };
}

function runLink(): dashboard.DynamicConfigValue[] {
  return [
    { id: 'links', value: [{ title: 'Open the CI run', url: '${__value.raw}', targetBlank: true }] },
    { id: 'mappings', value: [{ type: 'regex', options: { pattern: '^http.*', result: { text: 'open', index: 0 } } }] },
    { id: 'custom.width', value: 80 },
  ];
}
