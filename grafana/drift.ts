import { BigValueColorMode, BigValueGraphMode, StackingMode } from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

const source = { type: 'prometheus', uid: '${prometheus}' };
const chosen = '{repo=~"$repo", server=~"$server"}';

// Every replica of the service exposes every source: one value per source, before anything is added up.
const driftCount = `max by (repo, server) (gitops_drift_count${chosen})`;
const inSync = `max by (repo, server) (gitops_in_sync${chosen})`;
const stale = `min by (repo, server) (gitops_stale${chosen})`;
const statusSince = `max by (repo, server) (gitops_status_since_timestamp_seconds${chosen})`;
const driftAge = `(time() - ${statusSince}) * on (repo, server) (${driftCount} > bool 0)`;

// Names that other services use too count only where the target is one of ours.
const ours = 'on (job, instance) gitops_build_info';

/** The dashboard «GitOps drift, from Prometheus»: drift over time, how fast it is put right, and how the service itself is doing. */
export function driftDashboard(): dashboard.DashboardBuilder {
  return new dashboard.DashboardBuilder('GitOps drift, from Prometheus')
    .id(null)
    .uid('gitops-drift')
    .description('Drift over time per repo, how long it takes to put right, and the health of gitops-status-server.')
    .tags(['gitops'])
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .refresh('1m')
    .time({ from: 'now-24h', to: 'now' })
    .variables([
      new dashboard.DatasourceVariableBuilder('prometheus').label('Data source').type(source.type),
      labelVariable('repo', 'Repo', 'label_values(gitops_in_sync, repo)'),
      labelVariable('server', 'Server', 'label_values(gitops_in_sync{repo=~"$repo"}, server)'),
    ])
    .link(
      new dashboard.DashboardLinkBuilder('GitOps status')
        .type(dashboard.DashboardLinkType.Dashboards)
        .tags(['gitops'])
        .keepTime(true)
        .includeVars(true),
    )
    .withRow(new dashboard.RowBuilder('Drift'))
    .withPanel(
      number('Sources', `count(${driftCount})`)
        .description('A source is one server compared with one repo.')
        .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Fixed).fixedColor('blue')),
    )
    .withPanel(
      number('In sync', `avg(${inSync})`)
        .unit('percentunit')
        .description('Share of the sources that are in sync. A stale source is not.')
        .thresholds(colors({ value: null, color: 'red' }, { value: 1, color: 'green' })),
    )
    .withPanel(number('Out of sync', `sum(${driftCount} > bool 0)`))
    .withPanel(
      number('Stale', `sum(${stale})`).description('No check within its time: nothing is known about these sources.'),
    )
    .withPanel(number('Drifted files', `sum(${driftCount})`))
    .withPanel(
      number('Oldest drift', `max(${driftAge})`)
        .unit('s')
        .description('How long the source that has been out of sync the longest has been so; 0 when none is.'),
    )
    .withPanel(
      graph('Drifted files, by repo', 'none', [`sum by (repo) (${driftCount})`, '{{repo}}'])
        .stacking({ build: () => ({ mode: StackingMode.Normal, group: 'A' }) })
        .fillOpacity(30),
    )
    .withPanel(graph('Age of the oldest drift, by repo', 's', [`max by (repo) (${driftAge})`, '{{repo}}']))
    .withPanel(graph('Stale sources, by repo', 'none', [`sum by (repo) (${stale})`, '{{repo}}']))
    .withPanel(
      graph('Share of sources in sync, by repo', 'percentunit', [`avg by (repo) (${inSync})`, '{{repo}}']).max(1),
    )
    .withPanel(
      graph(
        'Time to put a drifted file right, over 24 hours',
        's',
        ...quantiles('gitops_drift_duration_seconds_bucket{repo=~"$repo"}', '1d'),
      )
        .description('From the moment a file was first reported to differ to the first report without it.')
        .noValue('No file was put right in this range'),
    )
    .withPanel(filesOnManyServers())
    .withRow(new dashboard.RowBuilder('Reports'))
    .withPanel(
      graph('Reports, by result', 'reqps', [
        'sum by (result) (rate(gitops_reports_total[$__rate_interval]))',
        '{{result}}',
      ]),
    )
    .withPanel(
      graph('Refused reports, by reason', 'reqps', [
        'sum by (reason) (rate(gitops_reports_rejected_total[$__rate_interval]))',
        '{{reason}}',
      ]).noValue('No report was refused'),
    )
    .withPanel(
      graph(
        'Commit to the store',
        's',
        ...quantiles('gitops_store_commit_duration_seconds_bucket', '$__rate_interval'),
      ),
    )
    .withPanel(
      graph('Reports that share a commit, on average', 'none', [
        'sum(rate(gitops_store_commit_reports_sum[$__rate_interval])) / sum(rate(gitops_store_commit_reports_count[$__rate_interval]))',
        'reports',
      ]),
    )
    .withRow(new dashboard.RowBuilder('Service'))
    .withPanel(
      number('Replicas', 'count by (version, store) (gitops_build_info)')
        .description('By version and kind of store.')
        .span(12)
        .height(8)
        .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Fixed).fixedColor('blue')),
    )
    .withPanel(
      graph('Store errors, by operation', 'none', [
        'sum by (operation) (increase(gitops_store_errors_total[$__rate_interval]))',
        '{{operation}}',
      ]).noValue('The store has not failed'),
    )
    .withPanel(
      graph('Requests, by status', 'reqps', [
        `sum by (status) (rate(http_request_duration_seconds_count[$__rate_interval]) and ${ours})`,
        '{{status}}',
      ]),
    )
    .withPanel(
      graph('Slowest 1 % of requests, by route', 's', [
        `histogram_quantile(0.99, sum by (route, le) (rate(http_request_duration_seconds_bucket[$__rate_interval]) and ${ours}))`,
        '{{route}}',
      ]),
    )
    .withPanel(graph('Memory', 'bytes', [`process_resident_memory_bytes and ${ours}`, '{{instance}}']))
    .withPanel(
      graph('CPU', 'percentunit', [`rate(process_cpu_seconds_total[$__rate_interval]) and ${ours}`, '{{instance}}']),
    )
    .withPanel(
      graph('Event loop lag', 's', [`nodejs_eventloop_lag_p99_seconds and ${ours}`, '{{instance}}']).description(
        'The slowest 1 %: how long a request waits before the process turns to it.',
      ),
    );
}

function labelVariable(name: string, label: string, query: string): dashboard.QueryVariableBuilder {
  return new dashboard.QueryVariableBuilder(name)
    .label(label)
    .datasource(source)
    .query({ qryType: 1, query, refId: 'PrometheusVariableQueryEditor-VariableQuery' })
    .definition(query)
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalCaseInsensitiveAsc)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current({ selected: true, text: ['All'], value: ['$__all'] });
}

/** A number of now: green at 0, red above. The expressions give 0, not nothing, where all is well, and nothing where nothing is known. */
function number(title: string, expr: string): stat.PanelBuilder {
  return new stat.PanelBuilder()
    .title(title)
    .datasource(source)
    .span(4)
    .height(4)
    .withTarget(new DataqueryBuilder().refId('A').datasource(source).expr(expr).instant())
    .colorMode(BigValueColorMode.Background)
    .graphMode(BigValueGraphMode.None)
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Thresholds))
    .thresholds(colors({ value: null, color: 'green' }, { value: 1, color: 'red' }))
    .unit('none');
}

function colors(...steps: dashboard.Threshold[]): dashboard.ThresholdsConfigBuilder {
  return new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(steps);
}

function graph(title: string, unit: string, ...series: [expr: string, legend: string][]): timeseries.PanelBuilder {
  const panel = new timeseries.PanelBuilder()
    .title(title)
    .datasource(source)
    .span(12)
    .height(8)
    .unit(unit)
    .min(0)
    .lineWidth(1)
    .fillOpacity(10);
  for (const [index, [expr, legend]] of series.entries()) {
    const refId = String.fromCodePoint(65 + index);
    panel.withTarget(new DataqueryBuilder().refId(refId).datasource(source).expr(expr).legendFormat(legend).range());
  }
  return panel;
}

function quantiles(buckets: string, window: string): [expr: string, legend: string][] {
  return [0.5, 0.9, 0.99].map((q) => [
    `histogram_quantile(${q}, sum by (le) (rate(${buckets}[${window}])))`,
    `${q * 100} % within`,
  ]);
}

function filesOnManyServers(): table.PanelBuilder {
  const expr = 'sort_desc(max by (repo, file) (gitops_file_drifted_servers{repo=~"$repo"}))';
  return new table.PanelBuilder()
    .title('Files that differ on several servers at once')
    .description('A rollout gone wrong looks like this; a single hand edit does not show up here.')
    .datasource(source)
    .span(12)
    .height(8)
    .withTarget(new DataqueryBuilder().refId('A').datasource(source).expr(expr).format(PromQueryFormat.Table).instant())
    .withTransformation({
      id: 'organize',
      options: {
        excludeByName: { Time: true },
        indexByName: { repo: 0, file: 1, Value: 2 },
        renameByName: { repo: 'Repo', file: 'File', Value: 'Servers' },
      },
    })
    .unit('none')
    .noValue('No file differs on more than one server');
}
