import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { parse } from 'yaml';
import { renderOpenApi } from '../../src/http/openapi.ts';
import { isMissing } from '../process.ts';

const rulesFile = 'prometheus/rules/gitops.rules.yml';
const testsFile = 'prometheus/tests/gitops.test.yml';

const runbook = readFileSync('docs/runbook.md', 'utf8');
const rules: RuleFile = parse(readFileSync(rulesFile, 'utf8'));
const alerts = rules.groups.flatMap((group) => group.rules).filter((rule) => 'alert' in rule);

describe('alert rules', () => {
  it('pass promtool check rules', async function () {
    await runProgram(this, 'promtool', ['check', 'rules', '--lint=all', '--lint-fatal', rulesFile]);
  });

  it('pass their unit tests', async function () {
    this.timeout(60_000);
    await runProgram(this, 'promtool', ['test', 'rules', testsFile]);
  });

  it('each have a unit test in which they do not fire yet, then fire, then resolve', () => {
    const { tests }: TestFile = parse(readFileSync(testsFile, 'utf8'));
    for (const { alert } of alerts) {
      const courses = tests.map(({ alert_rule_test: cases = [] }) =>
        cases.filter((one) => one.alertname === alert).map((one) => (one.exp_alerts.length > 0 ? 'fires' : 'quiet')),
      );
      expect(courses.map((course) => course.join()).join('\n'), alert).to.match(/^quiet,(fires,)+quiet$/m);
    }
  });

  for (const { alert, for: wait, labels, annotations } of alerts) {
    it(`${alert} waits, has a severity, and tells what happened and what to do`, () => {
      expect(wait).to.match(/^\d+[smh]$/);
      expect(labels.severity).to.be.oneOf(['critical', 'warning']);
      expect(annotations).to.have.all.keys('summary', 'description', 'page_url', 'runbook_url');
      expect(annotations.description.length).to.be.greaterThan(100);
    });

    it(`${alert} links to its section in the runbook`, () => {
      expect(annotations.runbook_url).to.match(new RegExp(`docs/runbook\\.md.*#${alert.toLowerCase()}$`));
      expect(runbookSections()).to.include(alert);
    });
  }

  it('have a runbook that asks only for routes that exist', () => {
    const { paths } = JSON.parse(renderOpenApi('0.0.0', undefined)) as { paths: Record<string, unknown> };
    const asked = [...runbook.matchAll(/\$URL([^"?`]+)/g)].map(([, path = '']) =>
      path.replace('REPO', '{repo_name}').replace('SERVER', '{server_name}'),
    );
    expect(asked.length).to.be.greaterThan(0);
    expect(Object.keys(paths)).to.include.members(asked);
  });

  it('have a runbook without sections for alerts that do not exist', () => {
    expect(runbookSections()).to.have.members(alerts.map((rule) => rule.alert));
  });
});

describe('prometheus.yml', () => {
  it('passes promtool check config, its rule files included', async function () {
    const { stdout } = await runProgram(this, 'promtool', ['check', 'config', 'prometheus/prometheus.yml']);
    expect(stdout).to.include('1 rule files found');
  });
});

describe('alertmanager.yml', () => {
  const file = 'prometheus/alertmanager.yml';
  const config: AlertmanagerConfig = parse(readFileSync(file, 'utf8'));

  it('passes amtool check-config', async function () {
    await runProgram(this, 'amtool', ['check-config', file]);
  });

  for (const severity of ['warning', 'critical']) {
    it(`sends what is ${severity} to the team`, async function () {
      const labels = [`severity=${severity}`, 'repo=rsyslog', 'server=rsyslog-lab'];
      const { stdout } = await runProgram(this, 'amtool', [
        'config',
        'routes',
        'test',
        '--config.file',
        file,
        ...labels,
      ]);
      expect(stdout.trim()).to.equal('team');
    });
  }

  it('makes one notification per repo, with what is resolved in it too', () => {
    expect(config.route.group_by).to.deep.equal(['repo']);
    expect(config.receivers[0]?.webhook_configs[0]?.send_resolved).to.equal(true);
  });

  it('inhibits only alerts that exist', () => {
    const named = config.inhibit_rules
      .flatMap((rule) => rule.source_matchers.concat(rule.target_matchers))
      .flatMap((matcher) => matcher.replace(/^alertname=~?"(.*)"$/, '$1').split('|'));
    expect(alerts.map((rule) => rule.alert)).to.include.members(named);
  });
});

async function runProgram(suite: Mocha.Context, program: string, args: string[]): Promise<{ stdout: string }> {
  if (isMissing(program)) suite.skip();
  return promisify(execFile)(program, args);
}

function runbookSections(): string[] {
  return [...runbook.matchAll(/^## (\S+)$/gm)].map(([, title = '']) => title);
}

type RuleFile = { groups: { rules: (Alert | { record: string })[] }[] };
type Alert = {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string };
  annotations: { summary: string; description: string; page_url: string; runbook_url: string };
};
type TestFile = { tests: { alert_rule_test?: { alertname: string; exp_alerts: unknown[] }[] }[] };
type AlertmanagerConfig = {
  route: { group_by: string[] };
  receivers: { webhook_configs: { send_resolved: boolean }[] }[];
  inhibit_rules: { source_matchers: string[]; target_matchers: string[] }[];
};
