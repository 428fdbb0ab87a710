import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

const RULES = '../prometheus/rules/gitops.rules.yml';
const DATA_SOURCES = '../grafana/provisioning/datasources/gitops.yml';

type DataSource = { type: string; jsonData?: object; secureJsonData?: object };

/** What `npm run generate` writes into k8s/components: the text of each file by its path in there. */
export function renderComponents(): Map<string, string> {
  return new Map([
    ['monitoring/prometheusrule.yaml', renderPrometheusRule(read(RULES))],
    ['monitoring/datasource.yaml', renderDataSource(read(DATA_SOURCES))],
    ['tokens/datasource.yaml', renderDataSource(read(DATA_SOURCES), withToken)],
  ]);
}

/** The rule file, comments included, as the object from which the Prometheus operator takes it. */
function renderPrometheusRule(rules: string): string {
  return `# Made from prometheus/rules/gitops.rules.yml by \`npm run generate\`: edit that file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gitops-status-server
spec:
${rules.replaceAll(/^(?=.)/gm, '  ')}`;
}

/**
 * The Infinity data source as a Secret for the sidecar of kube-prometheus-stack's Grafana. The sidecar looks in Grafana's own
 * namespace, where the Service answers to its bare name; the Prometheus data source is the stack's own.
 */
function renderDataSource(provisioning: string, change = (source: DataSource): DataSource => source): string {
  const { apiVersion, datasources } = parse(
    provisioning.replaceAll('${GITOPS_STATUS_URL}', 'http://gitops-status-server'),
  ) as {
    apiVersion: number;
    datasources: DataSource[];
  };
  const infinity = datasources.filter(({ type }) => type === 'yesoreyeram-infinity-datasource');
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'gitops-status-datasource', labels: { grafana_datasource: '1' } },
    stringData: { 'gitops-status.yaml': stringify({ apiVersion, datasources: infinity.map(change) }) },
  };
  return `# Made from grafana/provisioning/datasources/gitops.yml by \`npm run generate\`: edit that file.
${stringify(secret, { singleQuote: true })}`;
}

/** Grafana fills in the variable from its own environment. Its health check asks for what needs the token. */
function withToken(source: DataSource): DataSource {
  return {
    ...source,
    jsonData: { ...source.jsonData, auth_method: 'bearerToken', customHealthCheckUrl: '/summary.json' },
    secureJsonData: { bearerToken: '${GITOPS_STATUS_TOKEN}' },
  };
}

function read(path: string): string {
  return readFileSync(new URL(path, import.meta.url), 'utf8');
}

if (import.meta.main) {
  for (const [path, text] of renderComponents()) writeFileSync(new URL(`components/${path}`, import.meta.url), text);
}
