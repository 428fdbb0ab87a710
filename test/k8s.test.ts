import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { makeFolder } from './fixtures.ts';
import {
  buildManifests,
  findManifest,
  type Manifest,
  needKubectl,
  OVERLAYS,
  RESTORE,
  TOKENS_EXAMPLE,
} from './manifests.ts';

const run = promisify(execFile);

/** Where kubernetes-models keeps the schema of an object. */
function findModel({ apiVersion, kind }: Manifest): string {
  const library = apiVersion.startsWith('monitoring.coreos.com/')
    ? '@kubernetes-models/prometheus-operator'
    : 'kubernetes-models';
  return `${library}/${apiVersion}/${kind}`;
}

for (const source of [...OVERLAYS, RESTORE, TOKENS_EXAMPLE]) {
  describe(`what is applied from ${source}`, function () {
    this.timeout(120_000);
    let manifests: Manifest[];

    before(async function () {
      needKubectl(this);
      manifests = await buildManifests(source);
    });

    it("passes Kubernetes' and the Prometheus operator's own schemas", async () => {
      for (const manifest of manifests) {
        const { [manifest.kind]: Model } = (await import(findModel(manifest))) as Record<string, ModelClass>;
        if (Model === undefined) throw new Error(`there is no schema of ${manifest.kind}`);
        new Model(manifest).validate();
      }
    });

    // The schemas let unknown fields pass, so a misspelt one would be found in the cluster only. TypeScript refuses them in an
    // object literal, at any depth.
    it('has no field that Kubernetes does not know', async () => {
      const { path: folder, remove } = makeFolder();
      try {
        await symlink(resolve('node_modules'), join(folder, 'node_modules'));
        await writeFile(join(folder, 'manifests.ts'), manifests.map(toTypedLiteral).join('\n'));
        await writeFile(join(folder, 'tsconfig.json'), TSCONFIG);
        const { stdout } = await run('node_modules/.bin/tsc', ['--project', folder]).catch(
          (error: { stdout: string }) => error,
        );
        expect(stdout).to.equal('');
      } finally {
        remove();
      }
    });

    it('is small enough for `kubectl apply`, which keeps a copy of each object in an annotation', () => {
      for (const manifest of manifests) {
        expect(JSON.stringify(manifest).length, manifest.metadata.name).to.be.below(262_144);
      }
    });
  });
}

for (const overlay of OVERLAYS) {
  describe(`the objects of ${overlay}`, function () {
    this.timeout(120_000);
    let manifests: Manifest[];

    before(async function () {
      needKubectl(this);
      manifests = await buildManifests(overlay);
    });

    it('have names of their own and one label in common', () => {
      const names = manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      expect(new Set(names).size).to.equal(names.length);
      for (const { metadata } of manifests) {
        expect(metadata.labels, metadata.name).to.include({ 'app.kubernetes.io/name': 'gitops-status-server' });
      }
    });

    it('are all in the same namespace', () => {
      const namespaces = new Set(manifests.map((it) => it.metadata.namespace));
      expect([...namespaces]).to.deep.equal([overlay === 'k8s/base' ? undefined : 'observability-stack']);
    });
  });
}

type ModelClass = new (manifest: Manifest) => { validate(): void };

const TSCONFIG = JSON.stringify({
  compilerOptions: { noEmit: true, strict: true, skipLibCheck: true, module: 'nodenext', target: 'esnext', types: [] },
  files: ['manifests.ts'],
});

function toTypedLiteral(manifest: Manifest, index: number): string {
  return `export const object${index}: import('${findModel(manifest)}').I${manifest.kind} = ${JSON.stringify(manifest, null, 2)};`;
}

describe('k8s/README.md', function () {
  this.timeout(120_000);
  let text: string;

  before(async () => {
    text = await readFile('k8s/README.md', 'utf8');
  });

  it('has the one command that installs', () => {
    expect(text).to.match(/^kubectl apply -k k8s\/overlays\/observability-stack$/m);
  });

  it('names no file or folder of this repository that does not exist', () => {
    const paths = [...text.matchAll(/\b(?:k8s|src)\/[\w./-]*\w/g)].map(([path]) => path);
    expect(paths).to.include('k8s/restore.yaml');
    expect(paths.filter((path) => !existsSync(path))).to.deep.equal([]);
  });

  it('shows an overlay that can be built', async function () {
    needKubectl(this);
    const [, overlay = ''] = /```yaml\n(apiVersion: kustomize[^]*?)```/.exec(text) ?? [];
    const { path, remove } = makeFolder();
    try {
      await cp('k8s', join(path, 'k8s'), { recursive: true });
      await cp('grafana', join(path, 'grafana'), { recursive: true });
      await mkdir(join(path, 'k8s/overlays/mine'));
      await writeFile(join(path, 'k8s/overlays/mine/kustomization.yaml'), overlay);
      const manifests = await buildManifests(join(path, 'k8s/overlays/mine'));
      const { template, volumeClaimTemplates } = findManifest(manifests, 'StatefulSet').spec ?? {};
      expect(template?.spec?.containers[0]?.image).to.equal('registry.example.com/gitops-status-server:0.1.0');
      expect(volumeClaimTemplates?.[0]?.spec?.storageClassName).to.equal('fast-ssd');
    } finally {
      remove();
    }
  });
});
