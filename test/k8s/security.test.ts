import { expect } from 'chai';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import { buildManifests, findManifest, needKubectl, OVERLAYS, RESTORE } from './manifests.ts';

// https://kubernetes.io/docs/concepts/security/pod-security-standards/: `restricted`, which contains `baseline`

for (const source of [...OVERLAYS, RESTORE]) {
  describe(`the pod of ${source}, by the restricted pod-security standard`, function () {
    this.timeout(120_000);
    let pod: IPodSpec;
    let containers: IPodSpec['containers'];

    before(async function () {
      needKubectl(this);
      const manifests = await buildManifests(source);
      const isPod = manifests.some(({ kind }) => kind === 'Pod');
      pod = (
        isPod ? findManifest(manifests, 'Pod').spec : findManifest(manifests, 'StatefulSet').spec?.template.spec
      ) as IPodSpec;
      containers = [...pod.containers, ...(pod.initContainers ?? [])];
    });

    it('shares no namespace with its node', () => {
      expect([pod.hostNetwork, pod.hostPID, pod.hostIPC]).to.deep.equal([undefined, undefined, undefined]);
    });

    it('is not privileged', () => {
      for (const { securityContext } of containers) expect(securityContext?.privileged ?? false).to.be.false;
    });

    it('drops all capabilities and adds none', () => {
      for (const { securityContext } of containers)
        expect(securityContext?.capabilities).to.deep.equal({ drop: ['ALL'] });
    });

    it('cannot gain privileges', () => {
      for (const { securityContext } of containers) expect(securityContext?.allowPrivilegeEscalation).to.be.false;
    });

    it('runs as a user and group other than root', () => {
      expect(pod.securityContext?.runAsNonRoot).to.be.true;
      expect(pod.securityContext?.runAsUser).to.be.greaterThan(0);
      expect(pod.securityContext?.runAsGroup).to.be.greaterThan(0);
      for (const { securityContext } of containers) {
        expect(securityContext).to.not.have.any.keys('runAsNonRoot', 'runAsUser', 'runAsGroup');
      }
    });

    it("keeps the runtime's seccomp profile, AppArmor, SELinux and /proc defaults", () => {
      expect(pod.securityContext?.seccompProfile).to.deep.equal({ type: 'RuntimeDefault' });
      for (const context of [pod.securityContext, ...containers.map((it) => it.securityContext)]) {
        expect(context).to.not.have.any.keys(
          'appArmorProfile',
          'seLinuxOptions',
          'procMount',
          'sysctls',
          'windowsOptions',
        );
      }
      for (const { securityContext } of containers) expect(securityContext).to.not.have.property('seccompProfile');
    });

    it('mounts no volumes but those of allowed types', () => {
      const types = (pod.volumes ?? []).flatMap(({ name: _name, ...kind }) => Object.keys(kind));
      expect([
        'configMap',
        'csi',
        'downwardAPI',
        'emptyDir',
        'ephemeral',
        'persistentVolumeClaim',
        'projected',
        'secret',
      ]).to.include.members(types);
    });

    it('takes no port of its node, and its probes and hooks stay with the pod', () => {
      for (const { ports = [], livenessProbe, readinessProbe, startupProbe, lifecycle } of containers) {
        expect(ports.map((port) => port.hostPort)).to.deep.equal(ports.map(() => undefined));
        for (const probe of [livenessProbe, readinessProbe, startupProbe])
          expect(probe?.httpGet ?? {}).to.not.have.property('host');
        expect(lifecycle).to.be.undefined;
      }
    });

    it('writes nowhere but to its volume, and holds no token of the cluster (beyond the standard)', () => {
      for (const { securityContext } of containers) expect(securityContext?.readOnlyRootFilesystem).to.be.true;
      expect(pod.automountServiceAccountToken).to.be.false;
    });
  });
}
