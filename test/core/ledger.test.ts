import { expect } from 'chai';
import { type Advance, type Snapshot, advance, lapseUntil, verdictOf } from '../../src/core/ledger.ts';
import { parseReport } from '../../src/core/report.ts';
import { NOW, reportOf } from '../fixtures.ts';

const MINUTE = 60_000;
const STALE_AFTER_MS = 10 * MINUTE;
const CHECKED = Date.UTC(2026, 3, 21, 10, 32, 15);

/** A source that reported `a` and `b` at NOW, after a check at CHECKED. */
const drifted = first(['a', 'b']);
const synced = first([]);

describe('ledger', () => {
  describe('a first report', () => {
    it('creates the source as of now', () => {
      expect(drifted).to.deep.equal({
        repo: 'rsyslog',
        server: 'rsyslog-lab',
        version: 1,
        toldStatus: 'OUT_OF_SYNC',
        files: [
          { name: 'a', since: NOW, times: 1 },
          { name: 'b', since: NOW, times: 1 },
        ],
        lastCheck: '2026-04-21T10:32:15Z',
        lastCheckMs: CHECKED,
        commit: null,
        pipelineUrl: null,
        reportedBy: null,
        hidden: null,
        unknownSince: null,
        message: null,
        truncatedCount: null,
        labels: null,
        lastRejectedAt: null,
        doubtedAt: null,
        firstSeen: NOW,
        statusSince: NOW,
        receivedAt: NOW,
        staleAt: CHECKED + STALE_AFTER_MS,
      });
    });

    it('opens a drift for each of its files and ends nothing', () => {
      const advanced = advance(null, toReport(['a', 'b']), NOW, STALE_AFTER_MS);
      expect(advanced).to.include({ result: 'created', hasSameFiles: false, lapse: null });
      expect(advanced).to.deep.include({ opened: ['a', 'b'], closed: [] });
    });
  });

  type Names = readonly string[];
  type Row = readonly [
    what: string,
    before: Names,
    after: Names,
    result: Advance['result'],
    opened: Names,
    closed: Names,
  ];
  const rows: readonly Row[] = [
    ['still in sync', [], [], 'unchanged', [], []],
    ['the same files', ['a', 'b'], ['a', 'b'], 'unchanged', [], []],
    ['the same files in another order', ['a', 'b'], ['b', 'a'], 'unchanged', [], []],
    ['a first file differs', [], ['a'], 'changed', ['a'], []],
    ['another file differs', ['a'], ['a', 'b'], 'changed', ['b'], []],
    ['one of two is back', ['a', 'b'], ['b'], 'changed', [], ['a']],
    ['one is back, another differs', ['a'], ['b'], 'changed', ['b'], ['a']],
    ['all are back', ['a', 'b'], [], 'changed', [], ['a', 'b']],
    ['names that objects have anyway', ['constructor'], ['__proto__', 'constructor'], 'changed', ['__proto__'], []],
  ];
  describe('the next report', () => {
    const at = NOW + 2 * MINUTE;
    for (const [what, before, after, result, opened, closed] of rows) {
      it(`${what}: [${before.join()}] then [${after.join()}] is ${result}`, () => {
        const advanced = accepted(first(before), after, at);
        const { next } = advanced;
        expect(advanced.result).to.equal(result);
        expect(advanced.opened).to.deep.equal(opened);
        expect(advanced.closed.map(({ name }) => name)).to.deep.equal(closed);
        expect(advanced.hasSameFiles).to.equal(before.join() === after.join());
        expect(next.files.map(({ name }) => name)).to.deep.equal(after);
        const isNewStatus = (before.length === 0) !== (after.length === 0);
        expect(next.statusSince).to.equal(isNewStatus ? at : NOW);
        expect(next).to.include({ version: 2, firstSeen: NOW, receivedAt: at });
      });
    }

    it('keeps since when a file differs for as long as it is reported, in whatever order', () => {
      const { next } = accepted(drifted, ['c', 'b', 'a'], at);
      expect(next.files).to.deep.equal([
        { name: 'c', since: at, times: 0 },
        { name: 'b', since: NOW, times: 1 },
        { name: 'a', since: NOW, times: 1 },
      ]);
    });

    it('tells since when a file had differed that is back', () => {
      expect(accepted(drifted, ['b'], at).closed).to.deep.equal([{ name: 'a', since: NOW, times: 1 }]);
    });

    it('replaces commit and URL, and takes them away when they are no longer sent', () => {
      const changes = { commit: 'a1b2', pipeline_url: 'https://ci.example.org/7' };
      const { next } = accepted(synced, [], at, changes);
      expect(next).to.include({ commit: 'a1b2', pipelineUrl: 'https://ci.example.org/7' });
      expect(accepted(next, [], at).next).to.include({ commit: null, pipelineUrl: null });
    });

    it('has its text of last_check kept as it was sent', () => {
      const { next } = accepted(synced, [], at, { last_check: '2026-04-21T12:34:15+02:00' });
      expect(next).to.include({ lastCheck: '2026-04-21T12:34:15+02:00', lastCheckMs: CHECKED + 2 * MINUTE });
    });

    it('is superseded when a newer check is known', () => {
      const late = toReport([], { last_check: '2026-04-21T10:32:14.999Z' });
      expect(advance(drifted, late, at, STALE_AFTER_MS)).to.equal(null);
    });

    it('is applied when its check has the same time, also written with another zone', () => {
      const again = toReport(['b'], { last_check: '2026-04-21T12:32:15.000+02:00' });
      expect(advance(drifted, again, at, STALE_AFTER_MS)).to.include({ result: 'changed' });
    });

    it('never ends an interval before it began, though the clock was set back', () => {
      const { next, closed } = accepted(drifted, ['b', 'c'], NOW - 5 * MINUTE);
      expect(next).to.include({ receivedAt: NOW, statusSince: NOW, firstSeen: NOW });
      expect(next.files.map(({ since }) => since)).to.deep.equal([NOW, NOW]);
      expect(closed.map(({ since }) => since)).to.deep.equal([NOW]);
    });

    it('leaves the snapshot before it as it was', () => {
      const copy = structuredClone(drifted);
      accepted(drifted, ['c'], at);
      expect(drifted).to.deep.equal(copy);
    });
  });

  describe('staleness', () => {
    it('counts from the check, not from the arrival of its report', () => {
      const late = advance(null, toReport([]), NOW + 9 * MINUTE, STALE_AFTER_MS)?.next as Snapshot;
      expect(late.staleAt).to.equal(CHECKED + STALE_AFTER_MS);
    });

    it("follows the report's own stale_after_seconds before the default", () => {
      const { next } = accepted(synced, [], NOW, { stale_after_seconds: 3600 });
      expect(next.staleAt).to.equal(CHECKED + 60 * MINUTE);
      expect(accepted(next, [], NOW).next.staleAt, 'a report without it').to.equal(CHECKED + STALE_AFTER_MS);
    });

    const verdicts: readonly (readonly [what: string, snapshot: Snapshot, now: number, verdict: string])[] = [
      ['just before', synced, synced.staleAt - 1, 'SYNCED'],
      ['just before', drifted, drifted.staleAt - 1, 'OUT_OF_SYNC'],
      ['from the very millisecond on', synced, synced.staleAt, 'STALE'],
      ['from the very millisecond on', drifted, drifted.staleAt, 'STALE'],
      ['long after', synced, synced.staleAt + 1e12, 'STALE'],
    ];
    for (const [what, snapshot, now, verdict] of verdicts) {
      it(`makes the verdict of a source that is ${snapshot.toldStatus} ${verdict} ${what}`, () => {
        expect(verdictOf(snapshot, now)).to.equal(verdict);
      });
    }

    const stale = CHECKED + STALE_AFTER_MS;
    const lapses: readonly (readonly [what: string, at: number, lapse: unknown])[] = [
      ['before it was stale', stale - 1, null],
      ['in the millisecond in which it becomes stale', stale, null],
      ['a millisecond later', stale + 1, { from: stale, to: stale + 1 }],
      ['a day later', stale + 86_400_000, { from: stale, to: stale + 86_400_000 }],
    ];
    for (const [what, at, lapse] of lapses) {
      it(`a report that comes ${what} ends ${lapse === null ? 'no lapse' : 'the lapse'}`, () => {
        expect(lapseUntil(drifted, at)).to.deep.equal(lapse);
        expect(accepted(drifted, ['a', 'b'], at).lapse).to.deep.equal(lapse);
      });
    }

    it('of a report that was stale on arrival begins with its arrival', () => {
      const arrived = CHECKED + 60 * MINUTE;
      const late = advance(null, toReport([]), arrived, STALE_AFTER_MS)?.next as Snapshot;
      expect(verdictOf(late, arrived)).to.equal('STALE');
      expect(lapseUntil(late, arrived + 5)).to.deep.equal({ from: arrived, to: arrived + 5 });
    });

    it('ends no lapse in the millisecond in which it arrived', () => {
      const arrived = CHECKED + 60 * MINUTE;
      const late = advance(null, toReport([]), arrived, STALE_AFTER_MS)?.next as Snapshot;
      expect(lapseUntil(late, arrived)).to.equal(null);
    });
  });
});

function toReport(names: readonly string[], changes: Record<string, unknown> = {}) {
  return parseReport(reportOf(names, changes), NOW);
}

function first(names: readonly string[]): Snapshot {
  return (advance(null, toReport(names), NOW, STALE_AFTER_MS) as Advance).next;
}

function accepted(
  previous: Snapshot,
  names: readonly string[],
  at: number,
  changes: Record<string, unknown> = {},
): Advance {
  const advanced = advance(previous, toReport(names, changes), at, STALE_AFTER_MS);
  expect(advanced).not.to.equal(null);
  return advanced as Advance;
}
