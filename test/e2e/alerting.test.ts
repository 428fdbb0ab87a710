import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { makeFolder, reportOf } from '../fixtures.ts';
import { type Service, isMissing, startMain, until } from '../process.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { type Alert, type Labels, type Receiver, matches, startReceiver } from './receiver.ts';

// Debian's name, and that of everybody else.
const alertmanagerProgram =
  ['prometheus-alertmanager', 'alertmanager'].find((name) => !spawnSync(name, ['--version']).error) ??
  'prometheus-alertmanager';

const files = ['rsyslog.conf', 'rsyslog.d/30-lab.conf'];
const lab = { repo: 'rsyslog', server: 'rsyslog-lab' };

describe('alerting from report to notification, with Prometheus and Alertmanager', function () {
  this.timeout(180_000);
  const cleanUps: (() => unknown)[] = [];
  let service: Service;
  let alertmanager: Daemon;
  let receiver: Receiver;

  before(async function () {
    if (isMissing('prometheus') || isMissing(alertmanagerProgram)) this.skip();
    const folder = makeFolder();
    cleanUps.push(folder.remove);
    receiver = await startReceiver();
    cleanUps.push(receiver.stop);
    service = await startMain({ DATA_DIR: join(folder.path, 'data') });
    cleanUps.push(service.kill);

    writeFileSync(join(folder.path, 'alertmanager.yml'), hastenAlertmanager(receiver.url));
    alertmanager = await startDaemon(alertmanagerProgram, (address) => [
      `--config.file=${join(folder.path, 'alertmanager.yml')}`,
      `--storage.path=${join(folder.path, 'alertmanager')}`,
      `--web.listen-address=${address}`,
      '--cluster.listen-address=',
    ]);
    cleanUps.push(alertmanager.stop);

    writeFileSync(join(folder.path, 'gitops.rules.yml'), hastenRules());
    writeFileSync(join(folder.path, 'prometheus.yml'), hastenPrometheus(service.url, alertmanager.url));
    const prometheus = await startDaemon('prometheus', (address) => [
      `--config.file=${join(folder.path, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder.path, 'prometheus')}`,
      `--web.listen-address=${address}`,
    ]);
    cleanUps.push(prometheus.stop);
  });

  after(async () => {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  });

  it('a report of drift leads to a notification that names repo, server and count', async () => {
    await report(files, lab);
    const alert = await notified('firing', 'GitOpsDrift', lab);
    expect(alert.annotations['summary']).to.equal('rsyslog on rsyslog-lab: 2 files differ from Git');
    expect(alert.annotations['page_url']).to.equal(`${service.url}/source/rsyslog/rsyslog-lab`);
    expect(alert.labels).to.deep.equal({ alertname: 'GitOpsDrift', severity: 'warning', ...lab });
  });

  it('a SYNCED report leads to its resolution', async () => {
    await report([], lab);
    await notified('resolved', 'GitOpsDrift', lab);
  });

  it('a CI job that falls silent leads to a notification that its source is stale', async () => {
    const silent = { repo: 'web', server: 'silent' };
    await report([], { ...silent, stale_after_seconds: 5 });
    const alert = await notified('firing', 'GitOpsSourceStale', silent);
    expect(alert.annotations['summary']).to.match(/^web on silent: no check for \d+/);
  });

  it('nobody is told of the drift of a stale source', async () => {
    const gone = { repo: 'web', server: 'gone' };
    const anHourAgo = new Date(Date.now() - 3_600_000).toISOString();
    await report(files, { ...gone, last_check: anHourAgo });
    await notified('firing', 'GitOpsSourceStale', gone);
    await inhibited('GitOpsDrift', gone);
    expect(receiver.find('firing', 'GitOpsDrift', gone)).to.equal(undefined);
  });

  it('a check that cannot tell leads to a notification of its own, for the team of the source', async () => {
    const blind = { repo: 'web', server: 'blind' };
    await report(files, { ...blind, labels: { environment: 'lab', team: 'network' } });
    await notified('firing', 'GitOpsDrift', { ...blind, team: 'network' });
    await report([], { ...blind, sync_status: 'UNKNOWN', message: 'ssh: connect to host blind port 22: timed out' });
    const alert = await notified('firing', 'GitOpsCheckFailing', blind);
    expect(alert.labels).to.deep.equal({
      alertname: 'GitOpsCheckFailing',
      severity: 'warning',
      ...blind,
      team: 'network',
    });
    await inhibited('GitOpsDrift', blind);
  });

  it('the first check that can tell leads to its resolution', async () => {
    const blind = { repo: 'web', server: 'blind' };
    await report([], blind);
    await notified('resolved', 'GitOpsCheckFailing', blind);
  });

  it('without the service there is one notification, and none that its drifts are over', async () => {
    receiver.forget();
    await report(files, lab);
    await notified('firing', 'GitOpsDrift', lab);
    await service.kill();
    await notified('firing', 'GitOpsStatusServerAbsent', {});
    await inhibited('GitOpsDrift', lab);
    expect(receiver.find('resolved', 'GitOpsDrift', lab)).to.equal(undefined);
  });

  async function report(names: string[], changes: Record<string, unknown>): Promise<void> {
    const body = reportOf(names, { last_check: new Date().toISOString(), ...changes });
    expect((await service.post(body)).ok).to.equal(true);
  }

  async function notified(status: string, alertname: string, labels: Labels): Promise<Alert> {
    return timed(`${alertname} is ${status}`, () => receiver.find(status, alertname, labels));
  }

  async function inhibited(alertname: string, labels: Labels): Promise<void> {
    await timed(`${alertname} is inhibited`, async () => {
      const response = await fetch(`${alertmanager.url}/api/v2/alerts`);
      const alerts = (await response.json()) as (Alert & { status: { inhibitedBy: string[] } })[];
      const found = alerts.find((alert) => matches(alert, alertname, labels));
      return found !== undefined && found.status.inhibitedBy.length > 0 ? found : undefined;
    });
  }
});

function hastenPrometheus(serviceUrl: string, alertmanagerUrl: string): string {
  const config: PrometheusConfig = parse(readFileSync('prometheus/prometheus.yml', 'utf8'));
  Object.assign(config.global, { scrape_interval: '1s', evaluation_interval: '1s' });
  config.global.external_labels['gitops_status_url'] = serviceUrl;
  // The rules lie beside it.
  config.rule_files = ['*.rules.yml'];
  for (const { static_configs: targets } of config.alerting.alertmanagers)
    targets[0]!.targets = [new URL(alertmanagerUrl).host];
  for (const { static_configs: targets } of config.scrape_configs) targets[0]!.targets = [new URL(serviceUrl).host];
  return stringify(config);
}

function hastenRules(): string {
  const rules: { groups: { rules: { for?: string }[] }[] } = parse(
    readFileSync('prometheus/rules/gitops.rules.yml', 'utf8'),
  );
  for (const rule of rules.groups.flatMap((group) => group.rules)) {
    if (rule.for !== undefined) rule.for = '1s';
  }
  return stringify(rules);
}

function hastenAlertmanager(webhook: string): string {
  const config: AlertmanagerConfig = parse(readFileSync('prometheus/alertmanager.yml', 'utf8'));
  Object.assign(config.route, { group_wait: '1s', group_interval: '1s' });
  for (const target of config.receivers.flatMap((one) => one.webhook_configs)) target.url = webhook;
  return stringify(config);
}

/** Asks until there is an answer, and prints how long that took. */
async function timed<T>(what: string, ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const start = performance.now();
  const answer = await until(ask);
  console.log(`      ${what} after ${((performance.now() - start) / 1000).toFixed(1)} s`);
  return answer;
}

type Targets = { static_configs: { targets: string[] }[] };
type PrometheusConfig = {
  global: { external_labels: Labels };
  rule_files: string[];
  alerting: { alertmanagers: Targets[] };
  scrape_configs: Targets[];
};
type AlertmanagerConfig = {
  route: { group_wait: string; group_interval: string };
  receivers: { webhook_configs: { url: string }[] }[];
};
