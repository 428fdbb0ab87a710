import { expect } from 'chai';
import { renderFleetMetrics, renderLabels } from '../../../src/http/fleet-metrics.ts';
import { type Metrics, createMetrics } from '../../../src/http/metrics.ts';
import { type SourceIndex, keyOf } from '../../../src/fleet/source-index.ts';
import type { StoredSource } from '../../../src/store/store.ts';
import { NOW, storedSource, sourceIndexOf, LIMITS } from '../../fixtures.ts';

describe('metrics', () => {
  let metrics: Metrics;
  beforeEach(() => {
    metrics = createMetrics({
      version: '1.2.3',
      store: 'sqlite 3',
      connections: () => 7,
      limits: LIMITS,
      maxConnections: 2000,
    });
  });

  describe('of a source', () => {
    const source = storedSource(1, {
      repo: 'acme/web',
      server: 'web-1',
      files: ['a', 'b'],
      lastCheckMs: 1_776_767_535_250,
      statusSince: 1_776_000_000_000,
    });
    const labels = '{repo="acme/web",server="web-1"}';

    it('are what its snapshot says', async () => {
      const samples = await scrape([source]);
      expect(samples.get(`gitops_drift_count${labels}`)).to.equal('2');
      expect(samples.get(`gitops_in_sync${labels}`)).to.equal('0');
      expect(samples.get(`gitops_stale${labels}`)).to.equal('0');
      expect(samples.get(`gitops_last_check_timestamp_seconds${labels}`)).to.equal('1776767535.25');
      expect(samples.get(`gitops_status_since_timestamp_seconds${labels}`)).to.equal('1776000000');
    });

    it('never say in sync when stale', async () => {
      const fresh = storedSource(1, { staleAt: NOW + 1 });
      const lab = '{repo="web",server="lab"}';
      const before = await scrape([fresh], NOW);
      expect([before.get(`gitops_in_sync${lab}`), before.get(`gitops_stale${lab}`)]).to.deep.equal(['1', '0']);
      const after = await scrape([fresh], NOW + 1);
      expect([after.get(`gitops_in_sync${lab}`), after.get(`gitops_stale${lab}`)]).to.deep.equal(['0', '1']);
      expect(after.get(`gitops_drift_count${lab}`)).to.equal('0');
    });

    it('tell of a refused report only where there was one', async () => {
      const sourceIndex = sourceIndexOf([source]);
      const name = `gitops_last_rejected_timestamp_seconds${labels}`;
      expect((await scrape(sourceIndex)).has(name)).to.equal(false);
      for (const each of sourceIndex.list()) sourceIndex.mark(each, { lastRejectedAt: 1_776_767_535_000 });
      expect((await scrape(sourceIndex)).get(name)).to.equal('1776767535');
    });

    it('vanish with it', async () => {
      const sourceIndex = sourceIndexOf([source]);
      await scrape(sourceIndex);
      sourceIndex.put(keyOf('acme/web', 'web-1'), null);
      expect([...(await scrape(sourceIndex)).keys()].filter((series) => series.includes('web-1'))).to.deep.equal([]);
    });
  });

  it('count the sources by verdict', async () => {
    const samples = await scrape([
      storedSource(1, { server: 'a' }),
      storedSource(2, { server: 'b' }),
      storedSource(3, { server: 'c', files: ['x'] }),
      storedSource(4, { server: 'd', staleAt: NOW }),
    ]);
    expect(samples.get('gitops_sources{verdict="SYNCED"}')).to.equal('2');
    expect(samples.get('gitops_sources{verdict="OUT_OF_SYNC"}')).to.equal('1');
    expect(samples.get('gitops_sources{verdict="STALE"}')).to.equal('1');
  });

  it('have a number for every verdict without any source', async () => {
    const samples = await scrape([]);
    for (const verdict of ['SYNCED', 'OUT_OF_SYNC', 'STALE']) {
      expect(samples.get(`gitops_sources{verdict="${verdict}"}`)).to.equal('0');
    }
  });

  describe('of files on several servers', () => {
    it('leave out those that differ on one server only', async () => {
      const samples = await scrape([
        storedSource(1, { repo: 'web', server: 'a', files: ['motd', 'sshd_config'] }),
        storedSource(2, { repo: 'web', server: 'b', files: ['motd'] }),
        storedSource(3, { repo: 'db', server: 'a', files: ['motd'] }),
      ]);
      expect(spreadOf(samples)).to.deep.equal({ 'gitops_file_drifted_servers{repo="web",file="motd"}': '2' });
    });

    it('are at most the hundred widest of a repo', async () => {
      const names = Array.from({ length: 105 }, (_, i) => `f${String(i).padStart(3, '0')}`);
      const samples = await scrape([
        storedSource(1, { server: 'a', files: names }),
        storedSource(2, { server: 'b', files: names }),
        storedSource(3, { server: 'c', files: ['f104'] }),
      ]);
      const shown = Object.keys(spreadOf(samples)).map((series) => /file="(.*)"/.exec(series)?.[1]);
      expect(shown).to.deep.equal(['f104', ...names.slice(0, 99)]);
    });
  });

  it('render every source of a fleet that needs several portions', async () => {
    const sources = Array.from({ length: 4001 }, (_, i) =>
      storedSource(i + 1, { server: `s${String(i).padStart(4, '0')}` }),
    );
    const samples = await scrape(sources);
    const counts = [...samples.keys()].filter((series) => series.startsWith('gitops_drift_count'));
    expect(counts).to.deep.equal(
      sources.map(({ snapshot }) => `gitops_drift_count{repo="web",server="${snapshot.server}"}`),
    );
  });

  it('render the file spread of very many repos', async () => {
    const sources = Array.from({ length: 3000 }, (_, i) =>
      storedSource(i + 1, { repo: `repo-${Math.floor(i / 2)}`, server: `s${i}`, files: ['etc/some/file'] }),
    );
    expect(Object.keys(spreadOf(await scrape(sources)))).to.have.length(1500);
  });

  it('have help and type before each family, and each family once', async () => {
    const text = await render(sourceIndexOf([storedSource(1, { files: ['a'] })]));
    const families = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name]) => name as string);
    expect(new Set(families).size).to.equal(families.length);
    expect(families).to.include.members([
      'gitops_drift_count',
      'gitops_in_sync',
      'gitops_stale',
      'gitops_last_check_timestamp_seconds',
      'gitops_status_since_timestamp_seconds',
      'gitops_last_rejected_timestamp_seconds',
      'gitops_file_drifted_servers',
      'gitops_sources',
      'gitops_reports_total',
      'gitops_reports_rejected_total',
      'gitops_store_commit_duration_seconds',
      'gitops_store_commit_reports',
      'gitops_store_errors_total',
      'http_request_duration_seconds',
      'gitops_log_lines_dropped_total',
      'gitops_build_info',
      'process_resident_memory_bytes',
    ]);
    const helped = [...text.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name);
    expect(helped).to.deep.equal(families);
    for (const name of samplesOf(text).keys()) {
      const family = name.replace(/\{.*/, '');
      expect(families).to.include(families.includes(family) ? family : family.replace(/_(bucket|sum|count)$/, ''));
    }
  });

  it('count reports by what became of them', async () => {
    metrics.reportAccepted('created');
    metrics.reportAccepted('unchanged');
    metrics.reportAccepted('unchanged');
    metrics.reportRejected('invalid');
    const samples = await scrape([]);
    expect(samples.get('gitops_reports_total{result="created"}')).to.equal('1');
    expect(samples.get('gitops_reports_total{result="unchanged"}')).to.equal('2');
    expect(samples.get('gitops_reports_total{result="rejected"}')).to.equal('1');
    expect(samples.get('gitops_reports_rejected_total{reason="invalid"}')).to.equal('1');
  });

  it('begin at 0, so that the first event counts as an increase', async () => {
    const samples = await scrape([]);
    for (const series of [
      ...['created', 'changed', 'unchanged', 'superseded', 'rejected'].map(
        (r) => `gitops_reports_total{result="${r}"}`,
      ),
      ...[
        'malformed',
        'invalid',
        'too_large',
        'unauthorized',
        'forbidden',
        'too_many_sources',
        'store_unavailable',
      ].map((reason) => `gitops_reports_rejected_total{reason="${reason}"}`),
      'gitops_store_errors_total{operation="commit"}',
      'gitops_log_lines_dropped_total',
    ]) {
      expect(samples.get(series), series).to.equal('0');
    }
  });

  it('observe commits, requests, failures of the store and lines that the log lost', async () => {
    metrics.commitDone(250, 16);
    metrics.requestDone('GET', '/status.json', 200, 2000);
    metrics.storeFailed('commit');
    metrics.logLinesDropped(3);
    const samples = await scrape([]);
    expect(samples.get('gitops_store_commit_duration_seconds_sum')).to.equal('0.25');
    expect(samples.get('gitops_store_commit_reports_sum')).to.equal('16');
    expect(samples.get('http_request_duration_seconds_sum{method="GET",route="/status.json",status="200"}')).to.equal(
      '2',
    );
    expect(samples.get('gitops_store_errors_total{operation="commit"}')).to.equal('1');
    expect(samples.get('gitops_log_lines_dropped_total')).to.equal('3');
  });

  it('tell whether the tokens file could be used when it was last read', async () => {
    const value = async (): Promise<string | undefined> =>
      (await scrape([])).get('gitops_tokens_last_reload_successful');
    expect(await value()).to.equal('1');
    metrics.tokensRead(false);
    expect(await value()).to.equal('0');
    metrics.tokensRead(true);
    expect(await value()).to.equal('1');
  });

  it('say what runs', async () => {
    const series = [...(await scrape([])).keys()].find((name) => name.startsWith('gitops_build_info'));
    expect(series).to.equal(`gitops_build_info{version="1.2.3",node="${process.version}",store="sqlite 3"}`);
  });

  describe('labels', () => {
    const table: readonly (readonly [value: string, escaped: string])[] = [
      ['plain', 'plain'],
      ['', ''],
      ['say "hi"', String.raw`say \"hi\"`],
      [String.raw`C:\etc`, String.raw`C:\\etc`],
      ['two\nlines', String.raw`two\nlines`],
      [String.raw`\n`, String.raw`\\n`],
      ['a,b}={', 'a,b}={'],
      ['日本 ä \u2028 \t', '日本 ä \u2028 \t'],
    ];
    for (const [value, escaped] of table) {
      it(`have ${JSON.stringify(value)} escaped as ${JSON.stringify(escaped)}`, () => {
        expect(renderLabels({ name: value })).to.equal(`{name="${escaped}"}`);
      });
    }

    it('come in the order in which they were given', () => {
      expect(renderLabels({ repo: 'b', file: 'a' })).to.equal('{repo="b",file="a"}');
    });
  });

  async function scrape(sources: readonly StoredSource[] | SourceIndex, now = NOW): Promise<Map<string, string>> {
    return samplesOf(await render('put' in sources ? sources : sourceIndexOf(sources), now));
  }

  async function render(sourceIndex: SourceIndex, now = NOW): Promise<string> {
    const { list, fileSpread, rendered, usage } = sourceIndex;
    const shown = { list, fileSpread, rendered, usage, reconcileHistograms: new Map() };
    const portions = renderFleetMetrics(shown, now);
    return (await metrics.render()) + [...portions].join('');
  }
});

function samplesOf(text: string): Map<string, string> {
  expect(text.endsWith('\n')).to.equal(true);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const samples = new Map<string, string>();
  for (const line of lines) {
    const end = line.lastIndexOf(' ');
    expect(samples.has(line.slice(0, end)), line).to.equal(false);
    samples.set(line.slice(0, end), line.slice(end + 1));
  }
  return samples;
}

function spreadOf(samples: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries([...samples].filter(([series]) => series.startsWith('gitops_file_drifted_servers')));
}
