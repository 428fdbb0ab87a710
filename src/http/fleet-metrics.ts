import { driftCountOf, syncStatusOf, verdictOf, type Snapshot } from '../core/ledger.ts';
import { compareTexts } from '../core/compare.ts';
import { BUCKETS } from '../core/reconcile-histogram.ts';
import { createTopN } from '../core/top-n.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { RenderedTexts } from '../fleet/rendered-text.ts';
import type { Source } from '../fleet/source-index.ts';

/** The part of the fleet that metrics show. */
type Shown = Pick<Fleet, 'list' | 'fileSpread' | 'reconcileHistograms' | 'rendered' | 'usage'>;

/** Sources rendered before the event loop is free for other requests. */
const PORTION = 2000;
const PORTION_CHARS = 200_000;
/** Of each repo, only the files that differ on the most servers get a series: otherwise the number of series would have no bound. */
const MAX_FILES_PER_REPO = 100;

type SourceGauge = readonly [name: string, help: string, value: (source: Source, now: number) => number | undefined];

/** Gauges per source. Names, types and meaning are a promise to users. An undefined value has no series. */
const SOURCE_GAUGES: readonly SourceGauge[] = [
  ['gitops_drift_count', 'Files that are known to differ from Git.', ({ snapshot }) => driftCountOf(snapshot)],
  [
    'gitops_in_sync',
    '1 only when the newest report says SYNCED and is not stale.',
    ({ snapshot }, now) => isInSync(snapshot, now),
  ],
  [
    'gitops_unknown',
    '1 when the newest check could not tell.',
    ({ snapshot }) => (syncStatusOf(snapshot) === 'UNKNOWN' ? 1 : 0),
  ],
  [
    'gitops_stale',
    '1 when no report arrived in time.',
    ({ snapshot }, now) => (verdictOf(snapshot, now) === 'STALE' ? 1 : 0),
  ],
  ['gitops_last_check_timestamp_seconds', 'When the newest check ran.', ({ snapshot }) => snapshot.lastCheckMs / 1000],
  [
    'gitops_stale_at_timestamp_seconds',
    'From when on the source counts as stale.',
    ({ snapshot }) => snapshot.staleAt / 1000,
  ],
  [
    'gitops_status_since_timestamp_seconds',
    'Since when the source has the status that was last told.',
    ({ snapshot }) => snapshot.statusSince / 1000,
  ],
  [
    'gitops_last_rejected_timestamp_seconds',
    'When a report of the source was last refused.',
    ({ snapshot: { lastRejectedAt } }) => (lastRejectedAt === null ? undefined : lastRejectedAt / 1000),
  ],
];

/**
 * Renders the fleet in Prometheus' text format, in portions of at most {@link PORTION} sources. Each scrape reads the fleet itself, so that
 * values are never out of date and the series of removed sources vanish.
 */
export function* renderFleetMetrics(fleet: Shown, now: number): Generator<string> {
  const sources = fleet.list();
  yield renderVerdicts(sources, now);
  for (const gauge of SOURCE_GAUGES) yield* renderGauge(gauge, sources, fleet.rendered, now);
  yield* renderSourceLabels(sources);
  yield renderUsage(fleet);
  yield* renderFileSpread(fleet, () => true);
  yield* renderReconcileHistograms(fleet, (repo) => fleet.fileSpread.servers(repo) > 0);
}

/** As {@link renderFleetMetrics}, but only the series of these sources, and of the repos that one of them has. */
export function* renderSourceMetrics(fleet: Shown, sources: readonly Source[], now: number): Generator<string> {
  const repos = new Set<string>();
  for (const { snapshot } of sources) repos.add(snapshot.repo);
  const isShown = (repo: string): boolean => repos.has(repo);
  for (const gauge of SOURCE_GAUGES) yield* renderGauge(gauge, sources, fleet.rendered, now);
  yield* renderSourceLabels(sources);
  yield* renderFileSpread(fleet, isShown);
  yield* renderReconcileHistograms(fleet, isShown);
}

function* renderGauge(
  [name, help, value]: SourceGauge,
  sources: readonly Source[],
  rendered: RenderedTexts,
  now: number,
): Generator<string> {
  yield head(name, help);
  for (let start = 0; start < sources.length; start += PORTION) {
    let text = '';
    for (let i = start; i < sources.length && i < start + PORTION; i += 1) {
      const source = sources[i] as Source;
      const number = value(source, now);
      if (number !== undefined) text += `${name}${labelsOf(source, rendered)} ${number}\n`;
    }
    yield text;
  }
}

/** Labels are for joins (`group_left`), as those of kube-state-metrics. Sources without any have no series. */
function* renderSourceLabels(sources: readonly Source[]): Generator<string> {
  const name = 'gitops_source_labels';
  let text = head(name, 'Always 1; the labels are those that the source was posted with.');
  for (const { snapshot } of sources) {
    const { repo, server, labels } = snapshot;
    if (labels === null) continue;
    const prefixed = Object.entries(labels).map(([label, value]) => [`label_${label}`, value]);
    text += `${name}${renderLabels({ repo, server, ...Object.fromEntries(prefixed) })} 1\n`;
    if (text.length > PORTION_CHARS) {
      yield text;
      text = '';
    }
  }
  yield text;
}

/** `{a="b",…}`, with values escaped for the text format. */
export function renderLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, escapeLabel)}"`);
  return `{${pairs.join(',')}}`;
}

function escapeLabel(character: string): string {
  return character === '\n' ? String.raw`\n` : `\\${character}`;
}

function labelsOf(source: Source, rendered: RenderedTexts): string {
  if (source.labels !== undefined) return source.labels;
  const labels = renderLabels({ repo: source.snapshot.repo, server: source.snapshot.server });
  rendered.keepLabels(source, labels);
  return labels;
}

function head(name: string, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n`;
}

function isInSync(snapshot: Snapshot, now: number): number {
  return verdictOf(snapshot, now) === 'SYNCED' ? 1 : 0;
}

function renderVerdicts(sources: readonly Source[], now: number): string {
  const counts = { SYNCED: 0, OUT_OF_SYNC: 0, UNKNOWN: 0, STALE: 0 };
  for (const { snapshot } of sources) counts[verdictOf(snapshot, now)] += 1;
  const lines = Object.entries(counts).map(([verdict, count]) => `gitops_sources{verdict="${verdict}"} ${count}\n`);
  return head('gitops_sources', 'Sources by verdict.') + lines.join('');
}

/** What counts towards the limits. */
function renderUsage({ usage }: Shown): string {
  return (
    renderNumber('gitops_open_drifts', 'Files that differ now, over all sources.', usage.openDrifts) +
    renderNumber('gitops_name_bytes', 'Text of the names of open drifts.', usage.nameBytes) +
    renderNumber('gitops_text_bytes', 'All other text of sources.', usage.textBytes)
  );
}

function renderNumber(name: string, help: string, value: number): string {
  return `${head(name, help)}${name} ${value}\n`;
}

function* renderFileSpread({ fileSpread }: Shown, isShown: (repo: string) => boolean): Generator<string> {
  yield head('gitops_file_drifted_servers', 'On how many servers of the repo the file differs now, where on several.');
  let text = '';
  for (const [repo, files] of fileSpread.entries()) {
    if (!isShown(repo)) continue;
    for (const [file, servers] of widestOf(files)) {
      text += `gitops_file_drifted_servers${renderLabels({ repo, file })} ${servers}\n`;
    }
    if (text.length > PORTION_CHARS) {
      yield text;
      text = '';
    }
  }
  yield text;
}

/** The files that differ on the most servers, widest first; those that differ on one only are left out. */
function widestOf(files: ReadonlyMap<string, number>): (readonly [file: string, servers: number])[] {
  const widest = createTopN<readonly [string, number]>(
    MAX_FILES_PER_REPO,
    ([a, m], [b, n]) => m - n || compareTexts(b, a),
  );
  for (const entry of files) if (entry[1] > 1) widest.push(entry);
  return widest.done().items.toReversed();
}

/** @param isShown not of repos without a source: the series of removed repos must vanish */
function* renderReconcileHistograms(
  { reconcileHistograms }: Shown,
  isShown: (repo: string) => boolean,
): Generator<string> {
  const name = 'gitops_drift_duration_seconds';
  const help = 'How long files stayed different, observed when a report says that they are back.';
  let text = `# HELP ${name} ${help}\n# TYPE ${name} histogram\n`;
  for (const [repo, { counts, sumMs }] of reconcileHistograms) {
    if (!isShown(repo)) continue;
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
