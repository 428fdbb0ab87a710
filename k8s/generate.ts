import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

const RULES = '../prometheus/rules/gitops.rules.yml';
const DATA_SOURCES = '../grafana/provisioning/datasources/gitops.yml';

/** What `npm run generate` writes into k8s/components/monitoring: the text of each file by its name. */
export function renderMonitoring(): Map<string, string> {
  return new Map([
    ['prometheusrule.yaml', renderPrometheusRule(read(RULES))],
    ['datasource.yaml', renderDataSource(read(DATA_SOURCES))],
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
function renderDataSource(provisioning: string): string {
  const { apiVersion, datasources } = parse(
    provisioning.replaceAll('${GITOPS_STATUS_URL}', 'http://gitops-status-server'),
  ) as {
    apiVersion: number;
    datasources: { type: string }[];
  };
  const infinity = datasources.filter(({ type }) => type === 'yesoreyeram-infinity-datasource');
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'gitops-status-datasource', labels: { grafana_datasource: '1' } },
    stringData: { 'gitops-status.yaml': stringify({ apiVersion, datasources: infinity }) },
  };
  return `# Made from grafana/provisioning/datasources/gitops.yml by \`npm run generate\`: edit that file.
${stringify(secret, { singleQuote: true })}`;
}

function read(path: string): string {
  return readFileSync(new URL(path, import.meta.url), 'utf8');
}

if (import.meta.main) {
  for (const [name, text] of renderMonitoring())
    writeFileSync(new URL(`components/monitoring/${name}`, import.meta.url), text);
}
