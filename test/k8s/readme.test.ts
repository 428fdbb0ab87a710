import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { makeFolder } from '../fixtures.ts';
import { buildManifests, findManifest, type Manifest, needKubectl, RESTORE } from './manifests.ts';
import { isMissing } from '../process.ts';

const run = promisify(execFile);

describe('k8s/README.md', function () {
  this.timeout(120_000);
  let folder: ReturnType<typeof makeFolder>;
  let text: string;
  let commands: string;

  before(async () => {
    folder = makeFolder();
    for (const part of ['k8s', 'grafana']) await cp(part, join(folder.path, part), { recursive: true });
    text = await readFile('k8s/README.md', 'utf8');
    commands = [...text.matchAll(/```sh\n([^]*?)```/g)].map(([, block = '']) => block).join('\n');
  });
  after(() => folder.remove());

  it('has the one command that installs', () => {
    expect(text).to.match(/^kubectl apply -k k8s\/overlays\/observability-stack$/m);
  });

  it('names no file or folder of this repository that does not exist', () => {
    const paths = [...text.matchAll(/\b(?:k8s|src|prometheus)\/[\w./-]*\w/g)].map(([path]) => path);
    expect(paths).to.include('k8s/restore.yaml');
    expect(paths.filter((path) => !existsSync(path))).to.deep.equal([]);
  });

  it('leads only to sections that it has', () => {
    const sections = [...text.matchAll(/^## (.+)$/gm)].map(([, title = '']) =>
      title.toLowerCase().replaceAll(' ', '-'),
    );
    const links = [...text.matchAll(/\]\(#([^)]+)\)/g)].map(([, link]) => link);
    expect(links).to.include('sizing');
    expect(sections).to.include.members(links);
  });

  it('asks for no object that does not exist', async function () {
    needKubectl(this);
    const manifests = await buildManifests('k8s/overlays/observability-stack');
    const { metadata, spec } = findManifest(manifests, 'StatefulSet');
    const restore = (await buildManifests(RESTORE)).map((manifest) => manifest.metadata.name);
    const [claim] = spec?.volumeClaimTemplates ?? [];
    const known = [metadata.name, `${metadata.name}-0`, `${claim?.metadata?.name}-${metadata.name}-0`, ...restore];
    // statefulset NAME, pod/NAME, exec NAME, cp NAME:/path
    const words = commands.split(/\s+/).map((word) => word.replace(/^pod\//, '').replace(/:\/.*/, ''));
    const named = words.filter((word) => /^(data-)?gitops[\w-]*$/.test(word));
    expect(named.length).to.be.above(10);
    expect(known).to.include.members(named);
    const pods = words.filter((_, index) => /^(exec|cp|pod)$/.test(words[index - 1] ?? ''));
    expect([`${metadata.name}-0`, ...restore, 'backup.db']).to.include.members(pods);
    for (const [, namespace] of commands.matchAll(/ -n (\S+)/g)) expect(namespace).to.equal(metadata.namespace);
  });

  it('shows an overlay that can be built', async function () {
    needKubectl(this);
    const [, overlay = ''] = /```yaml\n(apiVersion: kustomize[^]*?)```/.exec(text) ?? [];
    const manifests = await buildIn('mine', overlay);
    const { template, volumeClaimTemplates } = findManifest(manifests, 'StatefulSet').spec ?? {};
    expect(template?.spec?.containers[0]?.image).to.equal('registry.example.com/gitops-status-server:0.1.0');
    expect(volumeClaimTemplates?.[0]?.spec?.storageClassName).to.equal('fast-ssd');
    for (const kind of ['ServiceMonitor', 'PrometheusRule'] as const) {
      expect(findManifest(manifests, kind).metadata.labels).to.include({ release: 'my-stack' });
    }
  });

  it('is right that a copy of the overlay public needs nothing but its PUBLIC_URL', async function () {
    needKubectl(this);
    const overlay = await readFile('k8s/overlays/public/kustomization.yaml', 'utf8');
    const manifests = await buildIn('ours', overlay.replace('gitops-status.example.org', 'status.acme.test'));
    const { spec } = findManifest(manifests, 'Ingress');
    expect(spec?.rules?.[0]?.host).to.equal('status.acme.test');
    expect(spec?.tls?.[0]?.hosts).to.deep.equal(['status.acme.test']);
    expect(manifests.map((manifest) => stringify(manifest)).join('')).to.not.contain('example.org');
  });

  it("restores with the image that runs, whatever the overlay's name for it is", async () => {
    const [line = ''] = /^sed .*k8s\/restore.yaml/m.exec(commands) ?? [];
    const image = 'registry.example.com/team/gitops:2.0.0@sha256:0123';
    const { stdout } = await run('bash', ['-c', line], { env: { ...process.env, image } });
    const [pod] = [parse(stdout) as Manifest & { spec: { containers: { image: string }[] } }];
    expect(pod.spec.containers.map((container) => container.image)).to.deep.equal([image]);
  });

  describe('shows values for kube-prometheus-stack', () => {
    let values: Values;
    before(() => {
      values = parse(/```yaml\n(grafana:\n {2}plugins[^]*?)```/.exec(text)?.[1] ?? '') as Values;
    });

    it('that give alerts the links that prometheus.yml gives them', async () => {
      const config = parse(await readFile('prometheus/prometheus.yml', 'utf8'));
      const { externalLabels, additionalAlertRelabelConfigs } = values.prometheus.prometheusSpec;
      expect(Object.keys(externalLabels)).to.deep.equal(Object.keys(config.global.external_labels));
      expect(additionalAlertRelabelConfigs).to.deep.equal(config.alerting.alert_relabel_configs);
    });

    it('that send our alerts, and only these, to the team', async function () {
      if (isMissing('amtool')) this.skip();
      const { inhibit_rules: inhibitRules } = parse(await readFile('prometheus/alertmanager.yml', 'utf8'));
      const { route, ...config } = values.alertmanager.config;
      const file = join(folder.path, 'alertmanager.yml');
      // the stack's own receiver stays where ours does not match
      const whole = { ...config, route: { receiver: 'null', ...route }, inhibit_rules: inhibitRules };
      await writeFile(file, stringify(whole));
      const receiverOf = async (...labels: string[]): Promise<string> =>
        (await run('amtool', ['config', 'routes', 'test', '--config.file', file, ...labels])).stdout.trim();
      expect(await receiverOf('alertname=GitOpsDrift', 'repo=web', 'severity=warning')).to.equal('team');
      expect(await receiverOf('alertname=KubePodCrashLooping', 'severity=warning')).to.equal('null');
      expect(await receiverOf('alertname=Watchdog')).to.equal('null');
    });
  });

  async function buildIn(name: string, overlay: string): Promise<Manifest[]> {
    const path = join(folder.path, 'k8s/overlays', name);
    await mkdir(path);
    await writeFile(join(path, 'kustomization.yaml'), overlay);
    return buildManifests(path);
  }
});

type Values = {
  prometheus: {
    prometheusSpec: { externalLabels: Record<string, string>; additionalAlertRelabelConfigs: unknown[] };
  };
  alertmanager: { config: { route: object; receivers: object[] } };
};
