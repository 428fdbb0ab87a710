import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parser } from '@prometheus-io/lezer-promql';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { type Service, makeFolder, reportOf, startService } from '../fixtures.ts';
import { isMissing } from '../process.ts';

const dashboard: Dashboard = JSON.parse(readFileSync('grafana/dashboards/gitops-drift.json', 'utf8'));
const { groups }: RuleFile = parse(readFileSync('prometheus/rules/gitops.rules.yml', 'utf8'));
const rules = groups.flatMap((group) => group.rules);

const expressions: [string, string][] = [
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ refId, expr }): [string, string] => [`${title}, ${refId}`, expr]),
  ),
  ...dashboard.templating.list.flatMap(({ name, definition }): [string, string][] =>
    definition === undefined ? [] : [[`variable ${name}`, toSelector(definition)]],
  ),
  ...rules.map(({ alert, record, expr }): [string, string] => [alert ?? record ?? '', expr]),
];

// What Prometheus adds to every series that it scrapes.
const scrapeLabels = ['job', 'instance'];

describe('every PromQL expression of dashboards and rules', function () {
  this.timeout(60_000);
  let service: Service;
  let exposed: Map<string, Set<string>>;

  before(async () => {
    service = await startService();
    await fill(service);
    exposed = readSeries(await (await service.request('/metrics')).text());
    for (const { record } of rules) {
      if (record !== undefined) exposed.set(record, new Set(record.slice(0, record.indexOf(':')).split('_')));
    }
  });
  after(() => service.stop());

  it('is one that Prometheus accepts', async function () {
    const records = expressions.map(([, expr], index) => ({ record: `expression_${index}`, expr: fillIn(expr) }));
    await promtool(this, ['check', 'rules', '--lint=none'], { groups: [{ name: 'all', rules: records }] });
  });

  for (const [title, expr] of expressions) {
    it(`names only metrics and labels that exist: ${title}`, () => {
      const { metrics, labels } = readNames(fillIn(expr));
      expect(metrics).to.have.length.above(0);
      for (const name of metrics) expect([...exposed.keys()]).to.include(name);
      const known = new Set(scrapeLabels);
      for (const name of metrics) for (const label of exposed.get(name) ?? []) known.add(label);
      expect([...known]).to.include.members(labels);
    });
  }
});

describe('the numbers of the dashboard GitOps drift', () => {
  // one source drifted 600 s before 6,000, the other since the beginning, but it has been put right
  const drifted = { drift_count: 2, in_sync: 0, stale: 0, status_since_timestamp_seconds: 5400 };
  const synced = { drift_count: 0, in_sync: 1, stale: 0, status_since_timestamp_seconds: 0 };
  const stale = { drift_count: 0, in_sync: 0, stale: 1, status_since_timestamp_seconds: 0 };
  const cases: { name: string; sources: Record<string, number>[]; numbers: Record<string, number> | undefined }[] = [
    {
      name: 'tell what differs, since when, and what is not known, each source once however many replicas there are',
      sources: [drifted, synced, synced, stale],
      numbers: { Sources: 4, 'In sync': 0.5, 'Out of sync': 1, Stale: 1, 'Drifted files': 2, 'Oldest drift': 600 },
    },
    {
      name: 'are 0, not missing, where all is well',
      sources: [synced, synced],
      numbers: { Sources: 2, 'In sync': 1, 'Out of sync': 0, Stale: 0, 'Drifted files': 0, 'Oldest drift': 0 },
    },
    { name: 'are missing, not 0, where nothing is known', sources: [], numbers: undefined },
  ];

  for (const { name, sources, numbers } of cases) {
    it(name, async function () {
      const series = sources.flatMap((source, index) =>
        Object.entries(source).flatMap(([metric, value]) =>
          ['a', 'b'].map((instance) => ({
            series: `gitops_${metric}{instance="${instance}", repo="rsyslog", server="lab-${index}"}`,
            values: `${value}x100`,
          })),
        ),
      );
      const stats = dashboard.panels.filter(({ type, title }) => type === 'stat' && title !== 'Replicas');
      const queries = stats.map(({ title, targets = [] }) => ({
        expr: fillIn(targets[0]?.expr ?? ''),
        eval_time: '100m',
        exp_samples: numbers === undefined ? [] : [{ labels: '{}', value: numbers[title] }],
      }));
      const tests = [{ interval: '1m', input_series: series, promql_expr_test: queries }];
      await promtool(this, ['test', 'rules'], { evaluation_interval: '1m', tests });
    });
  }
});

/** Runs promtool over a file of this content. */
async function promtool(suite: Mocha.Context, command: string[], content: object): Promise<void> {
  if (isMissing('promtool')) suite.skip();
  const folder = makeFolder();
  try {
    const file = join(folder.path, 'content.yml');
    writeFileSync(file, stringify(content));
    await promisify(execFile)('promtool', [...command, file]);
  } finally {
    folder.remove();
  }
}

function fillIn(expr: string): string {
  return expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$(repo|server)\b/g, '.*');
}

/** `label_values(metric, label)`, a query of Grafana's own, as the PromQL expression that it asks for. */
function toSelector(query: string): string {
  const [, metric, label] = query.match(/^label_values\((.*), (\w+)\)$/) ?? [];
  return `count by (${label}) (${metric})`;
}

function readNames(expr: string): { metrics: string[]; labels: string[] } {
  const metrics: string[] = [];
  const labels: string[] = [];
  parser.parse(expr).iterate({
    enter({ type, from, to }) {
      if (type.isError) throw new Error(`does not parse at ${from}: ${expr}`);
      if (type.name === 'Identifier') metrics.push(expr.slice(from, to));
      if (type.name === 'LabelName') labels.push(expr.slice(from, to));
    },
  });
  return { metrics, labels };
}

function readSeries(text: string): Map<string, Set<string>> {
  const series = new Map<string, Set<string>>();
  for (const [, name = '', labels = ''] of text.matchAll(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/gm)) {
    const known = series.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) known.add(label);
    series.set(name, known);
  }
  return series;
}

/** Enough for every family of metrics to have a series. */
async function fill({ clock, post }: Service): Promise<void> {
  await post(reportOf(['rsyslog.conf'], { server: 'lab-1', labels: { team: 'network' } }));
  await post(reportOf(['rsyslog.conf'], { server: 'lab-2' }));
  await post(reportOf(['rsyslog.conf'], { server: 'lab-3' }));
  await post(reportOf([], { server: 'lab-3', last_check: new Date(clock.now()).toISOString() }));
  const refused = await post(reportOf([], { server: 'lab-3', drift_count: 'many' }));
  expect(refused.status).to.equal(422);
}

type Dashboard = {
  panels: { type: string; title: string; targets?: { refId: string; expr: string }[] }[];
  templating: { list: { name: string; definition?: string }[] };
};
type RuleFile = { groups: { rules: { alert?: string; record?: string; expr: string }[] }[] };
