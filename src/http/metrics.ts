import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { REFUSAL_REASONS, type RefusalReason } from '../core/refusal.ts';
import type { Limits } from '../fleet/usage.ts';
import { PROBLEMS } from './problem.ts';
import { PROTOCOL_ERROR_CODES } from './node-errors.ts';

/** What this process counts. What the fleet knows is in `fleet-metrics.ts`. */
export type Metrics = {
  readonly contentType: string;
  reportAccepted(result: string): void;
  reportRejected(reason: RefusalReason): void;
  commitDone(durationMs: number, reports: number): void;
  storeFailed(operation: string): void;
  tokensRead(isSuccess: boolean): void;
  logLinesDropped(lines: number): void;
  requestDone(method: string, route: string, status: number, durationMs: number): void;
  protocolError(code: (typeof PROTOCOL_ERROR_CODES)[number]): void;
  /** Prometheus' text format. */
  render(): Promise<string>;
};

export type MetricsOptions = {
  readonly version: string;
  readonly store: string;
  /** How many connections there are now. */
  readonly connections: () => number;
  readonly limits: Limits;
  readonly maxConnections: number;
};

/** Gauges of prom-client's that end in `_total`, which is for counters; each says again what `nodejs_active_…` says by type. */
const MISNAMED_DEFAULTS = ['handles', 'requests', 'resources'].map((what) => `nodejs_active_${what}_total`);
const RESULTS = ['created', 'changed', 'unchanged', 'superseded', 'rejected'];
const STORE_OPERATIONS = ['commit', 'ready', 'prune'];

export function createMetrics({ connections, limits, maxConnections, ...build }: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED_DEFAULTS) registry.removeSingleMetric(name);
  const reports = reportMetrics(registers);
  const store = storeMetrics(registers);
  const requestDone = requestMetrics(registers);
  const tokensRead = tokensMetric(registers);
  const protocolError = protocolErrorMetric(registers);
  gaugeConnections(connections, registers);
  describeLimits(limits, maxConnections, registers);
  const logLinesDropped = logMetric(registers);
  describeBuild(build, registers);

  return {
    contentType: registry.contentType,
    ...reports,
    ...store,
    requestDone,
    protocolError,
    tokensRead,
    logLinesDropped,
    render: () => registry.metrics(),
  };
}

// Below, a series that begins at 0 lets rate() see the first event.

function reportMetrics(registers: Registry[]): Pick<Metrics, 'reportAccepted' | 'reportRejected'> {
  const reports = new Counter({
    name: 'gitops_reports_total',
    help: 'Reports by what became of them.',
    labelNames: ['result'],
    registers,
  });
  const rejected = new Counter({
    name: 'gitops_reports_rejected_total',
    help: 'Refused reports by reason.',
    labelNames: ['reason'],
    registers,
  });
  for (const result of RESULTS) reports.inc({ result }, 0);
  for (const reason of REFUSAL_REASONS) if (PROBLEMS[reason].isForReports) rejected.inc({ reason }, 0);

  return {
    reportAccepted: (result) => reports.inc({ result }),
    reportRejected(reason) {
      reports.inc({ result: 'rejected' });
      rejected.inc({ reason });
    },
  };
}

function storeMetrics(registers: Registry[]): Pick<Metrics, 'commitDone' | 'storeFailed'> {
  const duration = new Histogram({
    name: 'gitops_store_commit_duration_seconds',
    help: 'How long group commits took.',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const size = new Histogram({
    name: 'gitops_store_commit_reports',
    help: 'How many reports shared a commit.',
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
    registers,
  });
  const errors = new Counter({
    name: 'gitops_store_errors_total',
    help: 'Failed store operations.',
    labelNames: ['operation'],
    registers,
  });
  for (const operation of STORE_OPERATIONS) errors.inc({ operation }, 0);

  return {
    commitDone(durationMs, count) {
      duration.observe(durationMs / 1000);
      size.observe(count);
    },
    storeFailed: (operation) => errors.inc({ operation }),
  };
}

function requestMetrics(registers: Registry[]): Metrics['requestDone'] {
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'How long requests took to answer.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  return (method, route, status, durationMs) => duration.observe({ method, route, status }, durationMs / 1000);
}

function protocolErrorMetric(registers: Registry[]): Metrics['protocolError'] {
  const errors = new Counter({
    name: 'http_protocol_errors_total',
    help: 'What was refused before it was a request.',
    labelNames: ['code'],
    registers,
  });
  for (const code of PROTOCOL_ERROR_CODES) errors.inc({ code }, 0);
  return (code) => errors.inc({ code });
}

function gaugeConnections(connections: () => number, registers: Registry[]): void {
  new Gauge({
    name: 'gitops_connections',
    help: 'Open connections, idle ones too.',
    registers,
    collect() {
      this.set(connections());
    },
  });
}

function describeLimits(limits: Limits, maxConnections: number, registers: Registry[]): void {
  const gauge = new Gauge({
    name: 'gitops_limit',
    help: 'How much there may be of what is limited.',
    labelNames: ['limit'],
    registers,
  });
  gauge.set({ limit: 'sources' }, limits.maxSources);
  gauge.set({ limit: 'open_drifts' }, limits.maxOpenDrifts);
  gauge.set({ limit: 'name_bytes' }, limits.maxNameBytes);
  gauge.set({ limit: 'text_bytes' }, limits.maxTextBytes);
  gauge.set({ limit: 'connections' }, maxConnections);
}

function tokensMetric(registers: Registry[]): Metrics['tokensRead'] {
  const gauge = new Gauge({
    name: 'gitops_tokens_last_reload_successful',
    help: '0 when TOKENS_FILE has changed and cannot be used: the tokens before that still count.',
    registers,
  });
  gauge.set(1);
  return (isSuccess) => gauge.set(isSuccess ? 1 : 0);
}

function logMetric(registers: Registry[]): Metrics['logLinesDropped'] {
  const dropped = new Counter({
    name: 'gitops_log_lines_dropped_total',
    help: 'Lines of the log that standard output did not take.',
    registers,
  });
  return (lines) => dropped.inc(lines);
}

function describeBuild({ version, store }: { version: string; store: string }, registers: Registry[]): void {
  const gauge = new Gauge({
    name: 'gitops_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node', 'store'],
    registers,
  });
  gauge.set({ version, node: process.version, store }, 1);
}
