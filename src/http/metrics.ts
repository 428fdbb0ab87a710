import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { BUCKETS } from '../core/reconcile-histogram.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { type Snapshot, verdictOf } from '../core/ledger.ts';
import type { RejectReason } from './problem.ts';
import type { Source } from '../fleet/source-index.ts';

/** What of the fleet metrics show. */
type Shown = Pick<Fleet, 'list' | 'fileSpread' | 'reconcileHistograms'>;

export type Metrics = {
  readonly contentType: string;
  reportAccepted(result: string): void;
  reportRejected(reason: RejectReason): void;
  commitDone(durationMs: number, reports: number): void;
  storeFailed(operation: string): void;
  tokensRead(isSuccess: boolean): void;
  requestDone(method: string, route: string, status: number, durationMs: number): void;
  /** Prometheus text format, in portions of at most {@link PORTION} sources. */
  render(fleet: Shown, now: number): AsyncGenerator<string>;
};

const PORTION = 2000;
const PORTION_CHARS = 200_000;
/** The widest of each repo; the rest would be series without number. */
const MAX_FILES_PER_REPO = 100;
/** Gauges of prom-client's that end in `_total`, which is for counters; each says again what `nodejs_active_…` says by type. */
const MISNAMED_DEFAULTS = ['handles', 'requests', 'resources'].map((what) => `nodejs_active_${what}_total`);
const RESULTS = ['created', 'changed', 'unchanged', 'superseded', 'rejected'];
const REASONS: readonly RejectReason[] = [
  'malformed',
  'invalid',
  'too_large',
  'unsupported_media_type',
  'unauthorized',
  'forbidden',
  'too_many_sources',
  'store_unavailable',
  'internal',
];

/** Per source. Names, types and meaning are the design's promise. A value that is undefined has no series. */
const SOURCE_GAUGES: readonly (readonly [
  name: string,
  help: string,
  value: (source: Source, now: number) => number | undefined,
])[] = [
  ['gitops_drift_count', 'Files that differ from Git, by the newest report.', ({ snapshot }) => snapshot.files.length],
  [
    'gitops_in_sync',
    '1 only when the newest report says SYNCED and is not stale.',
    ({ snapshot }, now) => isInSync(snapshot, now),
  ],
  [
    'gitops_stale',
    '1 when no report arrived in time.',
    ({ snapshot }, now) => (verdictOf(snapshot, now) === 'STALE' ? 1 : 0),
  ],
  ['gitops_last_check_timestamp_seconds', 'When the newest check ran.', ({ snapshot }) => snapshot.lastCheckMs / 1000],
  [
    'gitops_status_since_timestamp_seconds',
    'Since when the source has its sync_status.',
    ({ snapshot }) => snapshot.statusSince / 1000,
  ],
  [
    'gitops_last_rejected_timestamp_seconds',
    'When a report of the source was last refused.',
    ({ lastRejectedAt }) => (lastRejectedAt === 0 ? undefined : lastRejectedAt / 1000),
  ],
];

/** prom-client keeps what this process counts; what the fleet knows is written from the fleet itself, so that it is never out of date. */
export function createMetrics(build: { version: string; store: string }): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED_DEFAULTS) registry.removeSingleMetric(name);

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
  const commitDuration = new Histogram({
    name: 'gitops_store_commit_duration_seconds',
    help: 'How long group commits took.',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const commitReports = new Histogram({
    name: 'gitops_store_commit_reports',
    help: 'How many reports shared a commit.',
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
    registers,
  });
  const storeErrors = new Counter({
    name: 'gitops_store_errors_total',
    help: 'Failed store operations.',
    labelNames: ['operation'],
    registers,
  });
  const requestDuration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'How long requests took to answer.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const tokensRead = new Gauge({
    name: 'gitops_tokens_last_reload_successful',
    help: '0 when TOKENS_FILE has changed and cannot be used: the tokens before that still count.',
    registers,
  });
  new Gauge({
    name: 'gitops_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node', 'store'],
    registers,
  }).set({ version: build.version, node: process.version, store: build.store }, 1);

  // a series that begins at 0 lets rate() see the first event
  for (const result of RESULTS) reports.inc({ result }, 0);
  for (const reason of REASONS) rejected.inc({ reason }, 0);
  for (const operation of ['commit', 'ready', 'prune']) storeErrors.inc({ operation }, 0);
  tokensRead.set(1);

  return {
    contentType: registry.contentType,
    reportAccepted: (result) => reports.inc({ result }),
    reportRejected(reason) {
      reports.inc({ result: 'rejected' });
      rejected.inc({ reason });
    },
    commitDone(durationMs, count) {
      commitDuration.observe(durationMs / 1000);
      commitReports.observe(count);
    },
    storeFailed: (operation) => storeErrors.inc({ operation }),
    tokensRead: (isSuccess) => tokensRead.set(isSuccess ? 1 : 0),
    requestDone: (method, route, status, durationMs) =>
      requestDuration.observe({ method, route, status }, durationMs / 1000),

    async *render(fleet, now) {
      yield await registry.metrics();
      yield renderVerdicts(fleet.list(), now);
      for (const [name, help, value] of SOURCE_GAUGES) {
        const sources = fleet.list();
        yield head(name, help);
        for (let start = 0; start < sources.length; start += PORTION) {
          let text = '';
          for (let i = start; i < sources.length && i < start + PORTION; i += 1) {
            const source = sources[i] as Source;
            const number = value(source, now);
            if (number !== undefined) text += `${name}${labelsOf(source)} ${number}\n`;
          }
          yield text;
        }
      }
      yield* renderFileSpread(fleet);
      yield* renderReconcileHistograms(fleet);
    },
  };
}

/** `{a="b",…}` with the values escaped as the text format wants it. */
export function renderLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, escapeLabel)}"`);
  return `{${pairs.join(',')}}`;
}

function escapeLabel(character: string): string {
  return character === '\n' ? String.raw`\n` : `\\${character}`;
}

function labelsOf(source: Source): string {
  source.labels ??= renderLabels({ repo: source.snapshot.repo, server: source.snapshot.server });
  return source.labels;
}

function head(name: string, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n`;
}

function isInSync(snapshot: Snapshot, now: number): number {
  return verdictOf(snapshot, now) === 'SYNCED' ? 1 : 0;
}

function renderVerdicts(sources: readonly Source[], now: number): string {
  const counts = { SYNCED: 0, OUT_OF_SYNC: 0, STALE: 0 };
  for (const { snapshot } of sources) counts[verdictOf(snapshot, now)] += 1;
  const lines = Object.entries(counts).map(([verdict, count]) => `gitops_sources{verdict="${verdict}"} ${count}\n`);
  return head('gitops_sources', 'Sources by verdict.') + lines.join('');
}

function* renderFileSpread({ fileSpread }: Shown): Generator<string> {
  yield head('gitops_file_drifted_servers', 'On how many servers of the repo the file differs now, where on several.');
  let text = '';
  for (const [repo, files] of fileSpread.entries()) {
    const shared = [...files].filter(([, servers]) => servers > 1);
    shared.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
    for (const [file, servers] of shared.slice(0, MAX_FILES_PER_REPO)) {
      text += `gitops_file_drifted_servers${renderLabels({ repo, file })} ${servers}\n`;
    }
    if (text.length > PORTION_CHARS) {
      yield text;
      text = '';
    }
  }
  yield text;
}

/** Of repos that still have a source: what is gone must not linger. */
function* renderReconcileHistograms({ reconcileHistograms, fileSpread }: Shown): Generator<string> {
  const name = 'gitops_drift_duration_seconds';
  const help = 'How long files stayed different, observed when a report says that they are back.';
  let text = `# HELP ${name} ${help}\n# TYPE ${name} histogram\n`;
  for (const [repo, { counts, sumMs }] of reconcileHistograms) {
    if (fileSpread.servers(repo) === 0) continue;
    let total = 0;
    for (const [index, count] of counts.entries()) {
      total += count;
      text += `${name}_bucket${renderLabels({ repo, le: String(BUCKETS[index] ?? '+Inf') })} ${total}\n`;
    }
    text += `${name}_sum${renderLabels({ repo })} ${sumMs / 1000}\n${name}_count${renderLabels({ repo })} ${total}\n`;
    if (text.length > PORTION_CHARS) {
      yield text;
      text = '';
    }
  }
  yield text;
}
