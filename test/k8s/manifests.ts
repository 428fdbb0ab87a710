import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { IPrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import type { IServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import type { IStatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import type { IIngress } from 'kubernetes-models/networking.k8s.io/v1/Ingress';
import type { IConfigMap } from 'kubernetes-models/v1/ConfigMap';
import type { IPod } from 'kubernetes-models/v1/Pod';
import type { ISecret } from 'kubernetes-models/v1/Secret';
import type { IService } from 'kubernetes-models/v1/Service';
import type { IServiceAccount } from 'kubernetes-models/v1/ServiceAccount';
import { parseAllDocuments } from 'yaml';
import { isMissing } from '../process.ts';

const run = promisify(execFile);

/** An object as `kubectl kustomize` prints it; nothing is known of it but what every object has. */
export type Manifest = {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  spec?: unknown;
};

type Kinds = {
  ConfigMap: IConfigMap;
  Ingress: IIngress;
  Pod: IPod;
  PrometheusRule: IPrometheusRule;
  Secret: ISecret;
  Service: IService;
  ServiceAccount: IServiceAccount;
  ServiceMonitor: IServiceMonitor;
  StatefulSet: IStatefulSet;
};

/** The Secrets that access control needs, which are no part of an overlay. */
export const TOKENS_EXAMPLE = 'k8s/tokens.example.yaml';

/** A pod for the time of a restore, which is no part of an overlay. */
export const RESTORE = 'k8s/restore.yaml';

/** Every folder that a user may apply, and the base alone. */
export const OVERLAYS = ['k8s/base', ...readdirSync('k8s/overlays').map((name) => `k8s/overlays/${name}`)];

/** For `before`: without kubectl the suite skips itself on a developer's machine, and fails in CI. */
export function needKubectl(suite: Mocha.Context): void {
  if (isMissing('kubectl')) suite.skip();
}

/** What `kubectl apply` would send to the cluster: of a folder with `-k`, of a file with `-f`. */
export async function buildManifests(source: string): Promise<Manifest[]> {
  const text = source.endsWith('.yaml') ? await readFile(source, 'utf8') : await kustomize(source);
  return parseAllDocuments(text).map((document) => document.toJS() as Manifest);
}

async function kustomize(folder: string): Promise<string> {
  const { stdout } = await run('kubectl', ['kustomize', folder], { maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/** The one object of this kind (and name, where there are several); throws where it is missing. */
export function findManifest<K extends keyof Kinds>(
  manifests: Manifest[],
  kind: K,
  name?: string,
): Kinds[K] & Manifest {
  const found = manifests.filter((it) => it.kind === kind && (name === undefined || it.metadata.name === name));
  if (found.length !== 1) throw new Error(`${found.length} objects are a ${kind} ${name ?? ''}`);
  return found[0] as Kinds[K] & Manifest;
}
