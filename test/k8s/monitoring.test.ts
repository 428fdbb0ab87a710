import { readdir, readFile } from 'node:fs/promises';
import { expect } from 'chai';
import type { IConfigMap } from 'kubernetes-models/v1/ConfigMap';
import type { IService } from 'kubernetes-models/v1/Service';
import { parse } from 'yaml';
import { renderComponents } from '../../k8s/generate.ts';
import { buildManifests, findManifest, type Manifest, needKubectl } from './manifests.ts';

describe('the Kubernetes manifests agree with Prometheus and Grafana', function () {
  this.timeout(120_000);
  let manifests: Manifest[];
  let service: IService & Manifest;

  before(async function () {
    needKubectl(this);
    manifests = await buildManifests('k8s/overlays/observability-stack');
    service = findManifest(manifests, 'Service');
  });

  it('on the job: what the scrape configuration calls it, as often', async () => {
    const { global, scrape_configs: jobs } = parse(await readFile('prometheus/prometheus.yml', 'utf8'));
    const { spec } = findManifest(manifests, 'ServiceMonitor');
    expect(jobs.map((job: { job_name: string }) => job.job_name)).to.deep.equal([
      service.metadata.labels?.[spec.jobLabel ?? ''],
    ]);
    expect(spec.endpoints.map(({ port, path, interval }) => [port, path, interval])).to.deep.equal([
      [service.spec?.ports?.[0]?.name, '/metrics', global.scrape_interval],
    ]);
  });

  it('on the instance of a series: the pod, so that it outlives a restart', () => {
    const [endpoint] = findManifest(manifests, 'ServiceMonitor').spec.endpoints;
    expect(endpoint?.relabelings).to.deep.equal([
      { sourceLabels: ['__meta_kubernetes_pod_name'], targetLabel: 'instance' },
    ]);
  });

  it('on what `npm run generate` makes of their files', async () => {
    for (const [file, text] of renderComponents()) {
      expect(await readFile(`k8s/components/${file}`, 'utf8'), file).to.equal(text);
    }
  });

  it('on the alert rules, which are those of prometheus/rules', async () => {
    const rules = parse(await readFile('prometheus/rules/gitops.rules.yml', 'utf8'));
    expect(findManifest(manifests, 'PrometheusRule').spec).to.deep.equal(rules);
  });

  it('on the Infinity data source: the Service under the name that it has in its own namespace', () => {
    const { metadata, stringData = {} } = findManifest(manifests, 'Secret');
    expect(metadata?.labels).to.include({ grafana_datasource: '1' });
    const { datasources } = parse(Object.values(stringData)[0] ?? '');
    expect(datasources).to.have.length(1);
    expect(datasources[0]).to.include({
      type: 'yesoreyeram-infinity-datasource',
      url: `http://${service.metadata.name}`,
    });
    expect(datasources[0].jsonData.allowedHosts).to.deep.equal([`http://${service.metadata.name}/`]);
    expect(service.spec?.ports?.[0]?.port).to.equal(80);
  });

  it('on the dashboards, which are those of grafana/dashboards, all of them', async () => {
    const isDashboard = (it: Manifest) => it.metadata.labels?.grafana_dashboard === '1';
    const shipped = manifests.filter(isDashboard).map((it) => Object.entries((it as IConfigMap & Manifest).data ?? {}));
    const files = await readdir('grafana/dashboards');
    const expected = files.map(async (file) => [[file, await readFile(`grafana/dashboards/${file}`, 'utf8')]]);
    expect(shipped).to.have.deep.members(await Promise.all(expected));
  });

  it('on the label by which kube-prometheus-stack finds them', () => {
    for (const kind of ['ServiceMonitor', 'PrometheusRule'] as const) {
      expect(findManifest(manifests, kind).metadata.labels).to.include({ release: 'kube-prometheus-stack' });
    }
  });
});
