import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import type { IStatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import type { IVolumeMount } from 'kubernetes-models/v1/VolumeMount';
import type { IService } from 'kubernetes-models/v1/Service';
import { HELP, parseConfig } from '../../src/config.ts';
import { startService } from '../fixtures.ts';
import { buildManifests, findManifest, type Manifest, needKubectl, RESTORE } from './manifests.ts';

const NAME = 'gitops-status-server';

describe('the Kubernetes manifests agree', function () {
  this.timeout(120_000);
  let manifests: Manifest[];
  let service: IService & Manifest;
  let statefulSet: IStatefulSet & Manifest;
  let pod: IPodSpec;
  let container: IContainer;
  let settings: Record<string, string>;
  let lastStage: string;

  before(async function () {
    needKubectl(this);
    // the largest overlay: it contains all others
    manifests = await buildManifests('k8s/overlays/public');
    service = findManifest(manifests, 'Service');
    statefulSet = findManifest(manifests, 'StatefulSet');
    pod = statefulSet.spec?.template.spec as IPodSpec;
    container = pod.containers[0] as IContainer;
    const settingsName = container.envFrom?.[0]?.configMapRef?.name ?? '';
    settings = findManifest(manifests, 'ConfigMap', settingsName).data ?? {};
    const dockerfile = await readFile('Dockerfile', 'utf8');
    lastStage = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
  });

  function inDockerfile(instruction: RegExp): string {
    const [, value] = instruction.exec(lastStage) ?? [];
    if (value === undefined) throw new Error(`no ${instruction} in the Dockerfile`);
    return value;
  }

  describe('with the code', () => {
    it('on the settings: names it knows, values it accepts, its own defaults in the base', () => {
      const { PUBLIC_URL, TOKENS_FILE: _, ...base } = settings;
      for (const name of Object.keys(settings)) expect(HELP).to.match(new RegExp(`^  ${name} `, 'm'));
      expect(parseConfig(base)).to.deep.equal(parseConfig({}));
      // that a default holds is no reason not to see it
      expect(Object.keys(base)).to.have.members([
        'STALE_AFTER',
        'EXPIRE_AFTER',
        'HISTORY_RETENTION',
        'MAX_BODY_BYTES',
        'MAX_SOURCES',
        'LOG_LEVEL',
      ]);
      expect(parseConfig({ ...base, PUBLIC_URL }).publicUrl).to.equal(PUBLIC_URL);
    });

    it('on the port it listens on', () => {
      expect(container.ports).to.deep.equal([{ name: 'http', containerPort: parseConfig({}).port }]);
    });

    it('on the probes: alive while it answers, ready while a report would be stored', async () => {
      const running = await startService();
      try {
        for (const [probe, path] of [
          [container.startupProbe, '/healthz'],
          [container.livenessProbe, '/healthz'],
          [container.readinessProbe, '/readyz'],
        ] as const) {
          expect(probe?.httpGet).to.deep.equal({ path, port: container.ports?.[0]?.name });
          expect((await running.request(path)).status, path).to.equal(200);
        }
      } finally {
        await running.stop();
      }
    });

    it('on one process with one volume, which outlives it', () => {
      const { replicas, volumeClaimTemplates, persistentVolumeClaimRetentionPolicy } = statefulSet.spec ?? {};
      expect(replicas).to.equal(1);
      expect(volumeClaimTemplates?.map(({ spec }) => spec?.accessModes)).to.deep.equal([['ReadWriteOnce']]);
      expect(persistentVolumeClaimRetentionPolicy).to.deep.equal({ whenDeleted: 'Retain', whenScaled: 'Retain' });
    });

    it('on needing nothing of the cluster: no token, no environment of other services', () => {
      const account = findManifest(manifests, 'ServiceAccount');
      expect(pod.serviceAccountName).to.equal(account.metadata.name);
      expect(account.automountServiceAccountToken).to.equal(false);
      expect(pod.enableServiceLinks).to.equal(false);
    });

    it('on the version', async () => {
      const { version } = JSON.parse(await readFile('package.json', 'utf8'));
      expect(container.image).to.equal(`${NAME}:${version}`);
    });
  });

  describe('with the image', () => {
    it('on its version, for an image that is built without arguments', async () => {
      const { version } = JSON.parse(await readFile('package.json', 'utf8'));
      expect(inDockerfile(/^ARG VERSION=(.+)$/m)).to.equal(version);
    });

    it('on its port', () => {
      expect(inDockerfile(/^EXPOSE (.+)$/m)).to.equal(String(container.ports?.[0]?.containerPort));
      expect(inDockerfile(/\bPORT=(\d+)/)).to.equal(String(container.ports?.[0]?.containerPort));
    });

    it('on the user, to whom the compile cache belongs', () => {
      const { runAsUser, runAsGroup, fsGroup } = pod.securityContext ?? {};
      expect(`${runAsUser}:${runAsGroup}`).to.equal(inDockerfile(/^USER (.+)$/m));
      expect(fsGroup).to.equal(runAsGroup);
    });

    it('on the folder that holds the data, which is a volume that outlives the pod', () => {
      expect(container.volumeMounts).to.deep.include({ name: 'data', mountPath: inDockerfile(/\bDATA_DIR=(\S+)/) });
      const isWritable = ({ readOnly }: IVolumeMount): boolean => readOnly !== true;
      expect(container.volumeMounts?.filter(isWritable).map(({ name }) => name)).to.deep.equal(['data']);
      expect(statefulSet.spec?.volumeClaimTemplates?.map((claim) => claim.metadata?.name)).to.deep.equal(['data']);
    });
  });

  describe('with each other', () => {
    it('on the address that the CI jobs post to', () => {
      expect([service.metadata.name, service.metadata.namespace]).to.deep.equal([NAME, 'observability-stack']);
      expect(service.spec?.ports?.map(({ port, targetPort }) => [port, targetPort])).to.deep.equal([[80, 'http']]);
      expect(statefulSet.spec?.serviceName).to.equal(service.metadata.name);
      // a service that is not ready says why
      expect(service.spec?.publishNotReadyAddresses).to.equal(true);
    });

    it('on the labels by which they find each other', () => {
      const labels = statefulSet.spec?.template.metadata?.labels;
      expect(labels).to.include(service.spec?.selector);
      expect(labels).to.include(statefulSet.spec?.selector.matchLabels);
      const policies = manifests.filter((it) => it.kind === 'NetworkPolicy') as (INetworkPolicy & Manifest)[];
      for (const policy of policies) expect(labels).to.include(policy.spec?.podSelector?.matchLabels);
      const monitor = findManifest(manifests, 'ServiceMonitor');
      expect(service.metadata.labels).to.include(monitor.spec.selector.matchLabels);
    });

    it('on who may come in: CI, Grafana, Prometheus and the ingress, each to the one port', () => {
      const rules = manifests
        .filter((it) => it.kind === 'NetworkPolicy')
        .flatMap((it) => (it as INetworkPolicy & Manifest).spec?.ingress ?? []);
      for (const { ports } of rules) expect(ports).to.deep.equal([{ port: 'http' }]);
      const peers = rules.flatMap(({ from }) => from ?? []);
      expect(
        peers.map(({ namespaceSelector, podSelector }) => [namespaceSelector?.matchLabels, podSelector?.matchLabels]),
      ).to.deep.equal([
        [{ 'gitops-status-server/client': 'true' }, undefined],
        [undefined, { 'gitops-status-server/client': 'true' }],
        [undefined, { 'app.kubernetes.io/name': 'grafana' }],
        [undefined, { 'app.kubernetes.io/name': 'prometheus' }],
        [{ 'kubernetes.io/metadata.name': 'ingress-nginx' }, { 'app.kubernetes.io/name': 'ingress-nginx' }],
      ]);
    });

    it('on who may go out: nobody; and each policy is in force', () => {
      const policies = manifests.filter((it) => it.kind === 'NetworkPolicy') as (INetworkPolicy & Manifest)[];
      expect(policies.map(({ metadata, spec }) => [metadata.name, spec?.policyTypes, spec?.egress])).to.deep.equal([
        [NAME, ['Ingress', 'Egress'], []],
        [`${NAME}-ingress`, ['Ingress'], undefined],
      ]);
    });

    it('on the host under which users reach it, and on how large a report may be', () => {
      const { metadata, spec } = findManifest(manifests, 'Ingress');
      const host = new URL(settings.PUBLIC_URL ?? '').hostname;
      expect(spec?.tls).to.deep.equal([{ hosts: [host], secretName: `${NAME}-tls` }]);
      const backend = { service: { name: service.metadata.name, port: { name: 'http' } } };
      expect(spec?.rules).to.deep.equal([{ host, http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } }]);
      expect(metadata?.annotations).to.deep.equal({
        'nginx.ingress.kubernetes.io/proxy-body-size': `${Number(settings.MAX_BODY_BYTES) / 1024 ** 2}m`,
        // a stream of events has a comment every 15 s, but only a change writes more
        'nginx.ingress.kubernetes.io/proxy-read-timeout': '3600',
      });
    });

    it('on what a restore needs: the image, the user and the volume of the service', async () => {
      const { metadata, spec } = findManifest(await buildManifests(RESTORE), 'Pod');
      const restore = spec as IPodSpec;
      // nothing is to be sent there
      expect(metadata.labels).to.equal(undefined);
      expect(restore.securityContext).to.deep.equal(pod.securityContext);
      expect(restore.containers[0]).to.include({ image: container.image });
      expect(container.volumeMounts).to.deep.include.members(restore.containers[0]?.volumeMounts ?? []);
      expect(restore.volumes?.[0]?.persistentVolumeClaim).to.deep.equal({ claimName: `data-${NAME}-0` });
    });

    it('with k8s/README.md on what it asks for', async () => {
      const readme = (await readFile('k8s/README.md', 'utf8')).replaceAll(/\s+/g, ' ');
      const [, cpu, memory, limit] = /requests \((\w+), (\w+)\).*memory limit \((\w+)\)/.exec(readme) ?? [];
      expect(container.resources).to.deep.equal({ requests: { cpu, memory }, limits: { memory: limit } });
      const [, gibibytes] = /the volume \((\d+) GiB\)/.exec(readme) ?? [];
      expect(statefulSet.spec?.volumeClaimTemplates?.[0]?.spec?.resources?.requests).to.deep.equal({
        storage: `${gibibytes}Gi`,
      });
    });

    it('on a stop: the pod gets more time than the service takes', () => {
      expect(pod.terminationGracePeriodSeconds).to.be.greaterThan(10);
    });
  });
});
