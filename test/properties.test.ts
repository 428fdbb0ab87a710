import { expect } from 'chai';
import * as fc from 'fast-check';
import { type Fleet, createFleet } from '../src/fleet/fleet.ts';
import { toIso } from '../src/core/timestamp.ts';
import { lapseUntil, verdictOf } from '../src/core/ledger.ts';
import { renderLabels } from '../src/http/fleet-metrics.ts';
import { parseReport } from '../src/core/report.ts';
import { openSqlite } from '../src/store/sqlite/sqlite.ts';
import type { ClosedDrift, Store, StoredLapse } from '../src/store/store.ts';
import {
  NOW,
  type Service,
  createClock,
  makeFolder,
  reportBody,
  reportOf,
  startService,
  LIMITS,
  loadAll,
  expectUsage,
  driftsOf,
} from './fixtures.ts';
import { runs } from './property-runs.ts';

const MINUTE = 60_000;
const STALE_AFTER_MS = 10 * MINUTE;

describe('properties', function () {
  this.timeout(runs(240_000));

  describe('any sequence of reports and removals, however batched', () => {
    const folder = makeFolder();
    const clock = createClock();
    let store: Store;
    let fleet: Fleet;
    let run = 0;

    before(open);
    after(async () => {
      await close();
      folder.remove();
    });

    async function open(): Promise<void> {
      store = await openSqlite(folder.path);
      fleet = await createFleet({
        store,
        now: clock.now,
        monotonic: clock.monotonic,
        staleAfterMs: STALE_AFTER_MS,
        limits: LIMITS,
        commitTimeoutMs: 120_000,
        onCommit() {},
        onStored() {},
        onRemoved() {},
        onStoreError(_, error) {
          throw error;
        },
      });
    }

    async function close(): Promise<void> {
      await fleet.drain();
      await store.close();
    }

    const minutes = (min: number, max: number): fc.Arbitrary<number> =>
      fc.integer({ min: min * 60, max: max * 60 }).map((seconds) => seconds * 1000);
    const names = fc
      .subarray(['etc/motd', '__proto__', 'ä "b"\\', '日本'])
      .chain((some) => fc.shuffledSubarray(some, { minLength: some.length }));
    const reportAction = fc.record({
      kind: fc.constant('report' as const),
      server: fc.constantFrom('a', 'b', 'c'),
      names: fc.oneof({ weight: 4, arbitrary: names }, { weight: 1, arbitrary: fc.constant('unknown' as const) }),
      aheadMs: fc.oneof(minutes(-30, 5), fc.constant(0)),
      staleAfter: fc.option(fc.integer({ min: 1, max: 3600 }), { nil: undefined }),
    });
    const removalAction = fc.record({ kind: fc.constant('removal' as const), server: fc.constantFrom('a', 'b', 'c') });
    const batch = fc.record({
      // now and then the clock is set back a little, or steps by hours
      passedMs: fc.oneof(
        { weight: 6, arbitrary: minutes(0, 15) },
        { weight: 1, arbitrary: minutes(-5, 0) },
        { weight: 1, arbitrary: minutes(-3000, 3000) },
        { weight: 2, arbitrary: fc.constant(0) },
      ),
      actions: fc.array(fc.oneof({ weight: 5, arbitrary: reportAction }, { weight: 1, arbitrary: removalAction }), {
        minLength: 1,
        maxLength: 6,
      }),
    });

    it('leaves fleet, database and history as a simple model has them, after a restart too', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(batch, { maxLength: 12 }), async (batches) => {
          run += 1;
          const repo = `run-${run}`;
          const model = createModel(repo);
          for (const { passedMs, actions } of batches) {
            clock.advance(passedMs);
            const now = clock.now();
            const lives = new Map(['a', 'b', 'c'].map((server) => [server, model.life(server)]));
            const expected: unknown[] = [];
            const answers = actions.map(async (action) => {
              if (action.kind === 'removal') {
                const source = fleet.find(repo, action.server);
                expected.push(model.remove(action.server, lives.get(action.server), now));
                return source === undefined ? 0 : fleet.remove([source]);
              }
              const isUnknown = action.names === 'unknown';
              const body = reportOf(action.names === 'unknown' ? [] : action.names, {
                ...(isUnknown && { sync_status: 'UNKNOWN' }),
                repo,
                server: action.server,
                last_check: toIso(now + action.aheadMs),
                stale_after_seconds: action.staleAfter,
              });
              const report = parseReport(body, now);
              expected.push(
                model.report(
                  action.server,
                  action.names,
                  report.lastCheckMs,
                  report.staleAfterMs ?? STALE_AFTER_MS,
                  now,
                ),
              );
              const { result, opened, closed } = await fleet.submit(report, 200);
              return { result, opened: [...opened].toSorted(), closed: closed.map(({ name }) => name).toSorted() };
            });
            expect(await Promise.all(answers)).to.deep.equal(expected);
            await expectAgreement(repo, model);
          }
          await close();
          await open();
          await expectAgreement(repo, model);
        }),
        { numRuns: runs(20) },
      );
    });

    async function expectAgreement(repo: string, model: Model): Promise<void> {
      const now = clock.now();
      const inMemory = fleet.list().filter(({ snapshot }) => snapshot.repo === repo);
      const onDisk = (await loadAll(store)).filter(({ snapshot }) => snapshot.repo === repo);
      expect(inMemory.map(({ id, snapshot }) => ({ id, snapshot }))).to.deep.equal(onDisk);
      expect(onDisk.map(({ snapshot }) => snapshot).map(plain)).to.deep.equal(model.sources());
      expectUsage(fleet);
      for (const { snapshot } of onDisk) {
        expect(verdictOf(snapshot, now)).to.equal(model.verdict(snapshot.server, now));
        expect(snapshot.toldStatus === 'OUT_OF_SYNC').to.equal(snapshot.files.length > 0);
        const lapse = lapseUntil(snapshot, now);
        if (lapse !== null) expect(lapse.to).to.be.above(lapse.from);
      }
      for (const name of ['etc/motd', '__proto__', 'ä "b"\\', '日本']) {
        const drifted = onDisk.filter(({ snapshot }) => snapshot.files.some((file) => file.name === name));
        expect(fleet.fileSpread.drifted(repo, name)).to.equal(drifted.length);
      }
      expect(fleet.fileSpread.servers(repo)).to.equal(onDisk.length);

      const ever = { from: 0, to: Number.MAX_SAFE_INTEGER };
      const drifts = (await driftsOf(store, ever)).filter((drift) => drift.repo === repo);
      expect(drifts.map((drift) => JSON.stringify(drift))).to.have.members(
        model.drifts().map((drift) => JSON.stringify(drift)),
      );
      const lapses = (await store.lapses(ever)).filter((lapse) => lapse.repo === repo);
      expect(lapses.map((lapse) => JSON.stringify(lapse))).to.have.members(
        model.lapses().map((lapse) => JSON.stringify(lapse)),
      );
    }
  });

  describe('over HTTP', () => {
    let service: Service;
    let run = 0;
    before(async () => {
      service = await startService({ maxBodyBytes: 65_536, maxSources: 10_000_000 });
    });
    after(() => service.stop());

    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 50 })
      .filter((text) => text.isWellFormed() && !/\p{Cc}/u.test(text) && [...text].length <= 1024);

    it('any file name comes back as it was, from the list, the detail and the metrics', async () => {
      await fc.assert(
        fc.asyncProperty(name, fc.string({ unit: 'binary', maxLength: 200 }), async (file, diff) => {
          run += 1;
          const repo = `names-${run}`;
          const files = [{ name: file, diff: diff.toWellFormed() }];
          for (const server of ['a', 'b']) {
            const answer = await service.post(reportBody({ repo, server, drift_count: 1, files }));
            expect(answer.status, await answer.text()).to.equal(201);
          }
          const list = (await json(`/status.json?repo=${repo}`)) as { files: unknown[]; files_text: string }[];
          expect(list.map((row) => row.files)).to.deep.equal([[{ name: file }], [{ name: file }]]);
          expect(list[0]?.files_text).to.equal(file);
          const detail = (await json(`/api/status/${repo}/a`)) as { files: { name: string; diff: string }[] };
          // an empty diff counts as absent
          expect(detail.files[0]).to.include({ name: file, diff: files[0]?.diff || null });
          const metrics = await (await service.request('/metrics')).text();
          const line = metrics
            .split('\n')
            .find((text) => text.startsWith(`gitops_file_drifted_servers{repo="${repo}",`));
          expect(labelsOf(line ?? '')).to.deep.equal({ repo, file });
        }),
        { numRuns: runs(30) },
      );
    });

    it('any body gets a 4xx with a problem, never a 5xx', async () => {
      const bodies = fc.oneof(
        fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
        fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
        fc.json().map((text) => Buffer.from(text)),
        fc.integer({ min: 0, max: 230 }).map((end) => Buffer.from(JSON.stringify(reportBody()).slice(0, end - 231))),
      );
      await fc.assert(
        fc.asyncProperty(bodies, async (body) => {
          await expectRefused(await send(body));
        }),
        { numRuns: runs(300) },
      );
    });

    it('any body that is said to be compressed gets a 4xx, never a 5xx', async () => {
      const encodings = fc.constantFrom(
        'gzip',
        'deflate',
        'br',
        'zstd',
        'compress',
        'identity',
        'gzip, br',
        'nonsense',
      );
      await fc.assert(
        fc.asyncProperty(encodings, fc.uint8Array({ maxLength: 100 }), async (encoding, bytes) => {
          await expectRefused(await send(Buffer.from(bytes), { 'Content-Encoding': encoding }));
        }),
        { numRuns: runs(200) },
      );
    });

    it('a report of which any field is anything is taken exactly when it keeps the rules', async () => {
      const fields = [
        'repo',
        'server',
        'sync_status',
        'drift_count',
        'files',
        'last_check',
        'stale_after_seconds',
        'commit',
        'pipeline_url',
        'files_truncated',
        'message',
        'labels',
      ];
      const strange = fc.oneof(
        fc.jsonValue(),
        fc.constantFrom<unknown>(
          'SYNCED',
          0,
          1,
          2,
          [],
          {},
          '',
          null,
          '2026-04-21T10:32:15Z',
          -0,
          'https://x',
          'a'.repeat(201),
        ),
        fc.array(fc.record({ name: fc.jsonValue(), diff: fc.jsonValue() }, { requiredKeys: [] }), { maxLength: 3 }),
      );
      const changes = fc.dictionary(fc.constantFrom(...fields, 'toString', 'hasOwnProperty'), strange, {
        minKeys: 1,
        maxKeys: 3,
      });
      await fc.assert(
        fc.asyncProperty(changes, async (change) => {
          const text = JSON.stringify({ ...reportBody(), ...change });
          const isValid = keepsRules(JSON.parse(text));
          const answer = await send(Buffer.from(text));
          if (isValid) expect(answer.status, await answer.text()).to.be.oneOf([200, 201]);
          else await expectRefused(answer);
        }),
        { numRuns: runs(200), examples: [[{ toString: JSON.parse('{"__proto__":{}}') as unknown }]] },
      );
    });

    it('a HEAD of a compressed stream has no body and disturbs nobody', async () => {
      const answer = await service.request('/metrics', { method: 'HEAD', headers: { 'Accept-Encoding': 'gzip' } });
      expect(answer.status).to.equal(200);
      expect(await answer.text()).to.equal('');
      expect((await service.request('/healthz')).status).to.equal(200);
    });

    it('any path with any method gets an answer, never a 5xx', async () => {
      const part = fc.oneof(
        fc.constantFrom(
          '/',
          'api',
          'status',
          'status.json',
          'metrics',
          '%',
          '%2F',
          '%E0%A4%A',
          '..',
          '?',
          '&',
          '=',
          'repo',
          '${x}',
          '*',
          '\\',
        ),
        fc.string({ maxLength: 5 }).map(encodeURIComponent),
      );
      const path = fc.array(part, { maxLength: 8 }).map((parts) => `/${parts.join('')}`);
      const method = fc.constantFrom('GET', 'HEAD', 'PUT', 'PATCH', 'OPTIONS', 'POST');
      await fc.assert(
        fc.asyncProperty(path, method, async (to, by) => {
          // as text: a path that begins with // is no host
          const answer = await service.request(to, { method: by });
          expect(answer.status, `${by} ${to}: ${await answer.text()}`).to.be.below(500);
        }),
        { numRuns: runs(300) },
      );
    });

    function send(body: Buffer, headers: Record<string, string> = {}): Promise<Response> {
      return service.request('/api/status', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: new Uint8Array(body),
      });
    }

    async function json(path: string): Promise<unknown> {
      return (await service.request(path)).json();
    }

    async function expectRefused(answer: Response): Promise<void> {
      const text = await answer.text();
      expect(answer.status, text).to.be.within(400, 499);
      expect(answer.headers.get('Content-Type')).to.match(/^application\/problem\+json/);
      expect(JSON.parse(text)).to.include({ type: 'about:blank', status: answer.status });
    }
  });

  it('any string survives as a label', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (repo, file) => {
        const labels = renderLabels({ repo, file });
        expect(labels).not.to.include('\n');
        expect(labelsOf(labels)).to.deep.equal({ repo, file });
      }),
      { numRuns: runs(300) },
    );
  });
});

type Life = {
  isTold: boolean;
  unknownSince: number | null;
  firstSeen: number;
  version: number;
  statusSince: number;
  receivedAt: number;
  lastCheckMs: number;
  staleAt: number;
  files: Map<string, { since: number; times: number }>;
  readonly counts: Map<string, number>;
};
type Model = ReturnType<typeof createModel>;

/** What the service promises, said again in the plainest way: one report after another, every interval written down when it ends. */
function createModel(repo: string) {
  const lives = new Map<string, Life>();
  // with the counts of their life, which tell lives apart
  let drifts: [owner: Life['counts'], drift: ClosedDrift][] = [];
  let lapses: [owner: Life['counts'], lapse: StoredLapse][] = [];

  /** When what happens now happened; a clock that was far ahead takes what it has written back with it. */
  function timeOf(life: Life, now: number): number {
    if (life.receivedAt <= now + 5 * MINUTE) return Math.max(now, life.receivedAt);
    const isOther = ([owner]: [Life['counts'], unknown]): boolean => owner !== life.counts;
    drifts = drifts.map((entry) => {
      const [owner, drift] = entry;
      if (isOther(entry) || drift.closedAt <= now) return entry;
      return [owner, { ...drift, openedAt: Math.min(drift.openedAt, now), closedAt: now }];
    });
    lapses = lapses
      .filter((entry) => isOther(entry) || entry[1].from < now)
      .map((entry) => (isOther(entry) ? entry : [entry[0], { ...entry[1], to: Math.min(entry[1].to, now) }]));
    life.firstSeen = Math.min(life.firstSeen, now);
    life.statusSince = Math.min(life.statusSince, now);
    life.receivedAt = now;
    if (life.unknownSince !== null) life.unknownSince = Math.min(life.unknownSince, now);
    life.files = new Map(
      [...life.files].map(([name, drift]) => [name, { ...drift, since: Math.min(drift.since, now) }]),
    );
    return now;
  }

  function end(server: string, life: Life, at: number, keep: readonly string[]): string[] {
    const isStaleFrom = Math.max(life.staleAt, life.receivedAt);
    if (isStaleFrom < at) lapses.push([life.counts, { repo, server, from: isStaleFrom, to: at }]);
    const closed = [...life.files].filter(([name]) => !keep.includes(name));
    for (const [name, { since, times }] of closed) {
      drifts.push([life.counts, { repo, server, name, times, openedAt: since, closedAt: at }]);
    }
    return closed.map(([name]) => name).toSorted();
  }

  return {
    drifts: () => drifts.map(([, drift]) => drift),
    lapses: () => lapses.map(([, lapse]) => lapse),
    life: (server: string) => lives.get(server),

    remove(server: string, wanted: Life | undefined, now: number): number {
      const life = lives.get(server);
      if (life === undefined || life.counts !== wanted?.counts) return 0;
      end(server, life, timeOf(life, now), []);
      lives.delete(server);
      return 1;
    },

    report(
      server: string,
      names: readonly string[] | 'unknown',
      lastCheckMs: number,
      staleAfterMs: number,
      now: number,
    ) {
      const life = lives.get(server);
      if (life !== undefined && lastCheckMs < life.lastCheckMs && life.lastCheckMs <= now + 5 * MINUTE) {
        return { result: 'superseded', opened: [], closed: [] };
      }
      const at = life === undefined ? now : timeOf(life, now);
      const known = [...(life?.files.keys() ?? [])];
      const isUnknown = names === 'unknown';
      const named = isUnknown ? known : names;
      const closed = life === undefined ? [] : end(server, life, at, named);
      const counts = life?.counts ?? new Map<string, number>();
      const opened: string[] = [];
      const files = new Map(
        named.map((name) => {
          const drift = life?.files.get(name);
          if (drift !== undefined) return [name, drift];
          opened.push(name);
          counts.set(name, (counts.get(name) ?? 0) + 1);
          return [name, { since: at, times: counts.get(name) ?? 0 }];
        }),
      );
      const hasStatus =
        life !== undefined && (isUnknown || (life.isTold && (life.files.size === 0) === (names.length === 0)));
      const wasUnknown = life !== undefined && life.unknownSince !== null;
      lives.set(server, {
        ...(life ?? { firstSeen: at }),
        version: (life?.version ?? 0) + 1,
        isTold: !isUnknown || (life?.isTold ?? false),
        unknownSince: isUnknown ? (life?.unknownSince ?? at) : null,
        statusSince: hasStatus ? life.statusSince : at,
        receivedAt: at,
        lastCheckMs,
        staleAt: lastCheckMs + staleAfterMs,
        files,
        counts,
      });
      const result = opened.length + closed.length > 0 || isUnknown !== wasUnknown ? 'changed' : 'unchanged';
      return { result: life === undefined ? 'created' : result, opened: opened.toSorted(), closed };
    },

    verdict(server: string, now: number): string {
      const life = lives.get(server);
      if (life === undefined || now >= life.staleAt || life.lastCheckMs > now + 5 * MINUTE) return 'STALE';
      if (life.unknownSince !== null) return 'UNKNOWN';
      return life.files.size === 0 ? 'SYNCED' : 'OUT_OF_SYNC';
    },

    sources(): unknown[] {
      return [...lives.keys()].toSorted().map((server) => {
        const { firstSeen, version, unknownSince, statusSince, receivedAt, lastCheckMs, staleAt, ...life } = lives.get(
          server,
        ) as Life;
        const files = [...life.files].map(([name, { since, times }]) => ({ name, since, times }));
        return { server, firstSeen, version, unknownSince, statusSince, receivedAt, lastCheckMs, staleAt, files };
      });
    },
  };
}

/** Of a snapshot, what the model knows. */
function plain(snapshot: { readonly [key: string]: unknown }): unknown {
  const { server, firstSeen, version, unknownSince, statusSince, receivedAt, lastCheckMs, staleAt, files } = snapshot;
  return { server, firstSeen, version, unknownSince, statusSince, receivedAt, lastCheckMs, staleAt, files };
}

function keepsRules(value: unknown): boolean {
  try {
    parseReport(value, NOW);
    return true;
  } catch {
    return false;
  }
}

/** Reads labels as the text format defines them. */
function labelsOf(line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  const unescaped: Record<string, string> = { '\\\\': '\\', '\\"': '"', '\\n': '\n' };
  for (const [, label = '', value = ''] of line.matchAll(/(\w+)="((?:[^"\\\n]|\\[\\"n])*)"[,}]/g)) {
    labels[label] = value.replace(/\\[\\"n]/g, (escaped) => unescaped[escaped] ?? escaped);
  }
  return labels;
}
