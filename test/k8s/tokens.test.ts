import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import { parse, parseAllDocuments } from 'yaml';
import { type Scope, parseTokens } from '../../src/access/tokens.ts';
import { makeFolder, reportBody, startService } from '../fixtures.ts';
import { buildManifests, findManifest, type Manifest, needKubectl, TOKENS_EXAMPLE } from './manifests.ts';

const run = promisify(execFile);

describe('access control in Kubernetes', function () {
  this.timeout(120_000);
  let folder: ReturnType<typeof makeFolder>;
  let readme: string;
  before(async () => {
    folder = makeFolder();
    readme = await readFile('k8s/README.md', 'utf8');
  });
  after(() => folder.remove());

  const secretOf = (manifests: Manifest[], name: string): Record<string, string> =>
    findManifest(manifests, 'Secret', name).stringData ?? {};

  /** Types what README.md says, all but what goes to the cluster. Resolves with what it printed and the Secrets that it made. */
  async function followReadme(): Promise<{ printed: string; secrets: Manifest[] }> {
    const [, commands = ''] = /```sh\n(ci=[^]*?)```/.exec(readme) ?? [];
    expect(commands).to.contain(TOKENS_EXAMPLE).and.contain('apply -f tokens.yaml');
    const here = commands.replace(/^kubectl .*$/m, '').replace(TOKENS_EXAMPLE, resolve(TOKENS_EXAMPLE));
    const { stdout } = await run('bash', ['-euc', here], { cwd: folder.path });
    const text = await readFile(join(folder.path, 'tokens.yaml'), 'utf8');
    return { printed: stdout, secrets: parseAllDocuments(text).map((document) => document.toJS() as Manifest) };
  }

  it('takes no example for the real thing', async () => {
    const { 'tokens.json': text = '' } = secretOf(await buildManifests(TOKENS_EXAMPLE), 'gitops-status-tokens');
    expect(() => parseTokens(text)).to.throw(/\/tokens\/0\/sha256 must be the SHA-256/);
  });

  it('works as README.md says: three tokens, each for what it is for', async () => {
    const { printed, secrets } = await followReadme();
    const [, ci = '', onCall = ''] = /CI jobs: (\S+)\n.* by hand: (\S+)\n/.exec(printed) ?? [];
    const { token: reader = '' } = secretOf(secrets, 'gitops-status-reader');
    expect(new Set([ci, onCall, reader].map((token) => token.length))).to.deep.equal(new Set([64]));
    const tokens = parseTokens(secretOf(secrets, 'gitops-status-tokens')['tokens.json'] ?? '');
    const service = await startService({ tokens: () => tokens });
    try {
      const scopesOf = async (token: string): Promise<Scope[]> => {
        const headers = { Authorization: `Bearer ${token}` };
        const attempts = {
          report: await service.post(reportBody(), headers),
          read: await service.request('/metrics', { headers }),
          delete: await service.request('/api/status?repo=rsyslog', { method: 'DELETE', headers }),
        };
        return (Object.keys(attempts) as Scope[]).filter((scope) => attempts[scope].ok);
      };
      expect(await scopesOf(ci)).to.deep.equal(['report']);
      expect(await scopesOf(reader)).to.deep.equal(['read']);
      expect(await scopesOf(onCall)).to.deep.equal(['read', 'delete']);
      expect(await scopesOf('')).to.deep.equal([]);
    } finally {
      await service.stop();
    }
  });

  describe('in the overlay public', () => {
    let manifests: Manifest[];
    let example: Manifest[];
    before(async function () {
      needKubectl(this);
      manifests = await buildManifests('k8s/overlays/public');
      example = await buildManifests(TOKENS_EXAMPLE);
    });

    it('is on: the service reads the file that the Secret brings, as the group that it runs as', () => {
      const pod = findManifest(manifests, 'StatefulSet').spec?.template.spec as IPodSpec;
      const [container] = pod.containers;
      const settings = findManifest(manifests, 'ConfigMap', container?.envFrom?.[0]?.configMapRef?.name).data ?? {};
      const mount = container?.volumeMounts?.find(({ name }) => name === 'tokens');
      const secret = pod.volumes?.find(({ name }) => name === 'tokens')?.secret;
      // a mount with subPath would never change
      expect(mount).to.deep.equal({ name: 'tokens', mountPath: '/etc/gitops-status', readOnly: true });
      const [key = ''] = Object.keys(secretOf(example, secret?.secretName ?? ''));
      expect(settings.TOKENS_FILE).to.equal(`${mount?.mountPath}/${key}`);
      expect(secret?.defaultMode).to.equal(0o440);
    });

    it('is on for Prometheus and Grafana: both have the token of one Secret', () => {
      const [endpoint] = findManifest(manifests, 'ServiceMonitor').spec.endpoints;
      const { name = '', key = '' } = endpoint?.authorization?.credentials ?? {};
      expect(secretOf(example, name)).to.have.property(key);

      const [text = ''] = Object.values(secretOf(manifests, 'gitops-status-datasource'));
      const [source] = parse(text).datasources;
      expect(source).to.include({ type: 'yesoreyeram-infinity-datasource', uid: 'gitops-status' });
      expect(source.jsonData).to.include({ auth_method: 'bearerToken', customHealthCheckUrl: '/summary.json' });
      const [, variable = ''] = /^\$\{(\w+)\}$/.exec(source.secureJsonData.bearerToken) ?? [];
      const [, values = ''] = /```yaml\n(grafana:\n {2}envValueFrom:[^]*?)```/.exec(readme) ?? [];
      expect(parse(values).grafana.envValueFrom).to.deep.equal({ [variable]: { secretKeyRef: { name, key } } });
    });

    it('brings none of the Secrets that are yours alone', () => {
      const secrets = manifests.filter(({ kind }) => kind === 'Secret').map(({ metadata }) => metadata.name);
      expect(secrets).to.deep.equal(['gitops-status-datasource']);
      expect(example.map(({ metadata }) => metadata.name)).to.deep.equal([
        'gitops-status-tokens',
        'gitops-status-reader',
      ]);
    });
  });

  it('can be had without monitoring and ingress', async function () {
    needKubectl(this);
    await cp('k8s', join(folder.path, 'k8s'), { recursive: true });
    await mkdir(join(folder.path, 'k8s/overlays/mine'));
    const overlay = 'resources: [../../base]\ncomponents: [../../components/tokens]\n';
    await writeFile(join(folder.path, 'k8s/overlays/mine/kustomization.yaml'), overlay);
    const manifests = await buildManifests(join(folder.path, 'k8s/overlays/mine'));
    const { template } = findManifest(manifests, 'StatefulSet').spec ?? {};
    expect(template?.spec?.volumes?.map(({ name }) => name)).to.deep.equal(['tokens']);
    expect(manifests.map(({ kind }) => kind)).to.not.include('ServiceMonitor');
  });
});
