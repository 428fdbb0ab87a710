import { expect } from 'chai';
import { toIso } from '../../src/core/timestamp.ts';
import type { Snapshot } from '../../src/core/ledger.ts';
import { createRenderedTexts } from '../../src/fleet/rendered-text.ts';
import type { Source } from '../../src/fleet/source-index.ts';
import { renderRow, toDetail, toReceipt } from '../../src/http/source-json.ts';
import { NOW, storedSource, sourceIndexOf } from '../fixtures.ts';

const drifted = storedSource(7, {
  repo: 'acme/web',
  server: 'web-1',
  files: ['a', 'b'],
  commit: 'a1b2',
  pipelineUrl: 'https://ci.example.org/7',
  lastCheck: '2026-04-21T12:32:15+02:00',
  firstSeen: NOW - 1000,
  statusSince: NOW - 500,
});
const { staleAt } = drifted.snapshot;
const rendered = createRenderedTexts(1_000_000);
const render = (source: Source, now: number): string => renderRow(source, rendered, now);

describe('source JSON', () => {
  describe('the row in /status.json', () => {
    it('is flat and complete', () => {
      expect(JSON.parse(render(sourceOf(drifted), NOW))).to.deep.equal({
        repo: 'acme/web',
        server: 'web-1',
        sync_status: 'OUT_OF_SYNC',
        drift_count: 2,
        files: [{ name: 'a' }, { name: 'b' }],
        files_truncated: false,
        last_check: '2026-04-21T12:32:15+02:00',
        commit: 'a1b2',
        pipeline_url: 'https://ci.example.org/7',
        verdict: 'OUT_OF_SYNC',
        out_of_sync: 1,
        stale: false,
        status_since: toIso(NOW - 500),
        received_at: toIso(NOW),
        stale_at: toIso(staleAt),
        unknown_since: null,
        message: null,
        labels: {},
        last_check_ms: NOW - 5000,
        last_rejected_at: null,
        reported_by: null,
        files_text: 'a, b',
      });
    });

    it('has the same keys for a source that is in sync', () => {
      const row = JSON.parse(render(sourceOf(storedSource(1)), NOW)) as Record<string, unknown>;
      expect(row).to.include({ commit: null, pipeline_url: null, files_text: '', out_of_sync: 0, stale: false });
      expect(row.files).to.deep.equal([]);
    });

    it('never counts a stale source as in sync', () => {
      const row = JSON.parse(render(sourceOf(storedSource(1)), staleAt)) as Record<string, unknown>;
      expect(row).to.include({ sync_status: 'SYNCED', verdict: 'STALE', stale: true, out_of_sync: 1 });
    });

    it('is rendered anew when the source becomes stale, and when it is no longer', () => {
      const source = sourceOf(drifted);
      const fresh = render(source, staleAt - 1);
      expect(render(source, staleAt)).to.include('"STALE"');
      expect(render(source, staleAt - 1)).to.equal(fresh);
    });
  });

  describe('the detail of a source', () => {
    const opened = { repo: 'acme/web', server: 'web-1', name: 'c', times: 3, openedAt: NOW - 90_500, closedAt: NOW };
    const detail = toDetail({ ...drifted, diffs: { a: '-1\n+2\n' }, drifts: [opened] }, NOW + 1500);

    it('has the fields of the row', () => {
      const { files, ...row } = JSON.parse(render(sourceOf(drifted), NOW)) as Record<string, unknown>;
      expect(files).to.have.length(2);
      expect(detail).to.deep.include({ ...row, first_seen: toIso(NOW - 1000) });
    });

    it('has its files with since when, how often and the diff', () => {
      expect(detail.files).to.deep.equal([
        { name: 'a', since: toIso(NOW), times_drifted: 1, diff: '-1\n+2\n' },
        { name: 'b', since: toIso(NOW), times_drifted: 1, diff: null },
      ]);
    });

    it('has open drifts first, which last until now, then closed ones', () => {
      const open = { opened_at: toIso(NOW), closed_at: null, duration_seconds: 1.5 };
      expect(detail.drifts).to.deep.equal([
        { name: 'a', ...open },
        { name: 'b', ...open },
        { name: 'c', opened_at: toIso(NOW - 90_500), closed_at: toIso(NOW), duration_seconds: 90.5 },
      ]);
    });

    it('has no diff for a file without one, whatever its name', () => {
      const names = ['constructor', 'toString', '__proto__'];
      const { files } = toDetail({ ...storedSource(1, { files: names }), diffs: {}, drifts: [] }, NOW);
      expect(files.map(({ name, diff }) => [name, diff])).to.deep.equal(names.map((name) => [name, null]));
    });
  });

  it('the receipt says what the report changed', () => {
    const { snapshot } = drifted;
    const previous: Snapshot = { ...snapshot, toldStatus: 'SYNCED', files: [] };
    const closed = [{ name: 'c', since: NOW, times: 1 }];
    const accepted = { result: 'changed', previous, snapshot, opened: ['a', 'b'], closed } as const;
    expect(toReceipt(accepted, ['extra'], staleAt)).to.deep.equal({
      repo: 'acme/web',
      server: 'web-1',
      result: 'changed',
      verdict: 'STALE',
      previous_status: 'SYNCED',
      drift_count: 2,
      opened: ['a', 'b'],
      closed: ['c'],
      status_since: toIso(NOW - 500),
      stale_at: toIso(staleAt),
      ignored: ['extra'],
    });
    expect(toReceipt({ ...accepted, previous: null }, [], NOW).previous_status).to.equal(null);
  });
});

function sourceOf(stored: typeof drifted): Source {
  return sourceIndexOf([stored]).list()[0] as Source;
}
