import { execFile } from 'node:child_process';
import { symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { makeFolder } from '../fixtures.ts';
import { buildManifests, type Manifest, needKubectl, OVERLAYS, RESTORE, TOKENS_EXAMPLE } from './manifests.ts';

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
        // it exits with 2 where it found something, and then says what
        const found = await run('node_modules/.bin/tsc', ['--project', folder]).catch(
          (error: Error & { code: unknown; stdout: string }) => {
            if (error.code !== 2) throw error;
            return error;
          },
        );
        expect(found.stdout).to.equal('');
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
