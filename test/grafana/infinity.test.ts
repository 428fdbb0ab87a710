import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { InfinityTarget } from '../../grafana/infinity.ts';
import { type Service, reportOf, startService } from '../fixtures.ts';

const dashboard: Dashboard = JSON.parse(readFileSync('grafana/dashboards/gitops-status.json', 'utf8'));

/** Every query of the dashboard by what it is for: panels, annotations, and the choices of the variables. */
const targets: [string, InfinityTarget][] = [
  ...dashboard.panels.flatMap(({ title, targets: own }) =>
    own.map((target): [string, InfinityTarget] => [title, target]),
  ),
  ...dashboard.annotations.list.map(({ name, target }): [string, InfinityTarget] => [`annotation ${name}`, target]),
  ...dashboard.templating.list.flatMap(({ name, query }): [string, InfinityTarget][] =>
    typeof query === 'object' ? [[`variable ${name}`, query.infinityQuery]] : [],
  ),
];

// Null only where the design says so: everywhere else it would show as a hole.
const nullable = new Set(['commit', 'pipeline_url', 'oldest_drift_since', 'state']);

const hour = 3_600_000;
const fleets: { name: string; fill: (service: Service) => Promise<void>; without: string[] }[] = [
  { name: 'a full fleet', fill: fillFully, without: [] },
  { name: 'a fleet that is all in sync', fill: fillSynced, without: ['/files.json', '/drifts.json'] },
  {
    name: 'an empty fleet',
    fill: async () => {},
    without: ['/status.json', '/files.json', '/history.json', '/drifts.json'],
  },
  { name: 'a stale fleet', fill: fillStale, without: [] },
  {
    name: 'a fleet that was removed',
    fill: fillRemoved,
    without: ['/status.json', '/files.json'],
  },
];

describe('the dashboard GitOps status', () => {
  for (const { name, fill, without } of fleets) {
    describe(`on ${name}`, function () {
      this.timeout(60_000);
      let service: Service;

      before(async () => {
        service = await startService({ publicUrl: 'https://gitops.example.com' });
        await fill(service);
      });
      after(() => service.stop());

      for (const [title, target] of targets) {
        it(`finds what it reads for: ${title}`, async () => {
          const rows = await readRows(service, target, {});
          expect(rows.length > 0, 'has rows').to.equal(!without.includes(target.url));
          for (const row of rows) expectColumns(row, target);
        });
      }
    });
  }

  describe('when the viewer chooses', function () {
    this.timeout(60_000);
    let service: Service;

    before(async () => {
      service = await startService();
      await fillFully(service);
    });
    after(() => service.stop());

    for (const [title, target] of targets.filter(([, { url_options }]) => url_options.params.length > 1)) {
      it(`several repos, it shows those and no other: ${title}`, async () => {
        const chosen = await readRows(service, target, { repo: 'rsyslog,nothing-here' });
        const none = await readRows(service, target, { repo: 'nothing-here' });
        if (target.url === '/summary.json') {
          expect(chosen[0]).to.include({ sources: 4 });
          expect(none[0]).to.include({ sources: 0, drift_count: 0 });
        } else {
          expect(new Set(chosen.map((row) => row['repo']))).to.deep.equal(new Set(['rsyslog']));
          expect(none).to.deep.equal([]);
        }
      });

      it(`nothing, or the variable was not filled in, it shows all: ${title}`, async () => {
        const all = await readRows(service, target, {});
        expect(await readRows(service, target, { repo: '', server: '' })).to.have.length(all.length);
        expect(await readRows(service, target, { repo: '${repo:csv}', server: '${server:csv}' })).to.have.length(
          all.length,
        );
      });
    }

    it('the headline says what the tables say', async () => {
      const [summary] = await readRows(service, queryOf('/summary.json'), {});
      const sources = await readRows(service, queryOf('/status.json'), {});
      const count = (verdict: string): number => sources.filter((row) => row['verdict'] === verdict).length;
      expect(summary).to.include({ sources: sources.length, out_of_sync: count('OUT_OF_SYNC'), stale: count('STALE') });
    });

    it('the timeline begins and ends with the state of every source', async () => {
      const rows = await readRows(service, queryOf('/history.json'), {});
      const times = rows.map((row) => Date.parse(String(row['time'])));
      expect(times).to.deep.equal(times.toSorted((a, b) => a - b));
      const sources = new Set(rows.map((row) => row['source']));
      const last = rows.filter((row) => row['time'] === rows.at(-1)?.['time']);
      expect(new Set(last.map((row) => row['source']))).to.deep.equal(sources);
    });

    it('the timeline paints a removed source no further, until it is back', async () => {
      const states = async (): Promise<unknown[]> => {
        const rows = await readRows(service, queryOf('/history.json'), {});
        return rows.filter(({ source }) => source === 'rsyslog/lab-5').map(({ state }) => state);
      };
      await report(service, 'rsyslog', 'lab-5', ['rsyslog.conf']);
      service.clock.advance(60_000);
      await remove(service, 'rsyslog', 'lab-5');
      service.clock.advance(60_000);
      expect(await states()).to.deep.equal([1, null]);
      await report(service, 'rsyslog', 'lab-5', []);
      service.clock.advance(60_000);
      expect(await states()).to.deep.equal([1, null, 0, 0]);
    });
  });
});

function queryOf(url: string): InfinityTarget {
  const found = targets.find(([title, target]) => target.url === url && !title.startsWith('variable'));
  if (found === undefined) throw new Error(`no panel reads ${url}`);
  return found[1];
}

/** What the plugin does: calls the URL with its variables and time macros filled in, and takes the rows under the root. */
async function readRows(service: Service, target: InfinityTarget, chosen: Record<string, string>): Promise<Row[]> {
  const variables: Record<string, string> = {
    '${repo:csv}': chosen['repo'] ?? '*',
    '${server:csv}': chosen['server'] ?? '*',
    '${__timeFrom}': String(service.clock.now() - 24 * hour),
    '${__timeTo}': String(service.clock.now()),
  };
  const url = new URL(target.url, service.url);
  for (const { key, value } of target.url_options.params) url.searchParams.append(key, variables[value] ?? value);
  const answer = await fetch(url);
  expect(answer.status, url.href).to.equal(200);
  const body: unknown = await answer.json();
  const rows: unknown = target.root_selector === '' ? body : Object(body)[target.root_selector];
  return Array.isArray(rows) ? rows : [Object(rows)];
}

function expectColumns(row: Row, { columns }: InfinityTarget): void {
  for (const { selector, type } of columns) {
    expect(row, `a row of ${JSON.stringify(row)}`).to.have.property(selector);
    const value = row[selector];
    if (value === null) expect(nullable, 'null').to.include(selector);
    else if (type === 'timestamp')
      expect(value, selector).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/);
    else expect(value, selector).to.be.a(type === 'timestamp_epoch' ? 'number' : type);
  }
}

async function fillFully(service: Service): Promise<void> {
  const both = ['rsyslog.conf', 'rsyslog.d/30-lab.conf'];
  const run = { commit: '4f2a91c', pipeline_url: 'https://ci.example.com/runs/17' };
  await report(service, 'rsyslog', 'lab-1', both, run);
  await report(service, 'rsyslog', 'lab-4', both);
  service.clock.advance(hour);
  await report(service, 'rsyslog', 'lab-1', []);
  service.clock.advance(hour);
  await report(service, 'rsyslog', 'lab-1', ['rsyslog.conf'], run);
  await report(service, 'rsyslog', 'lab-2', both);
  await report(service, 'rsyslog', 'lab-3', []);
  await report(service, 'acme/web', 'web-1', ['nginx.conf']);
}

async function fillSynced(service: Service): Promise<void> {
  for (const server of ['lab-1', 'lab-2']) await report(service, 'rsyslog', server, []);
  service.clock.advance(60_000);
}

async function fillStale(service: Service): Promise<void> {
  await report(service, 'rsyslog', 'lab-1', []);
  await report(service, 'rsyslog', 'lab-2', ['rsyslog.conf']);
  service.clock.advance(hour);
}

async function fillRemoved(service: Service): Promise<void> {
  await report(service, 'rsyslog', 'lab-1', ['rsyslog.conf']);
  service.clock.advance(60_000);
  await remove(service, 'rsyslog', 'lab-1');
  service.clock.advance(hour);
}

async function remove(service: Service, repo: string, server: string): Promise<void> {
  expect((await service.request(`/api/status/${repo}/${server}`, { method: 'DELETE' })).status).to.equal(204);
}

async function report(service: Service, repo: string, server: string, names: string[], more = {}): Promise<void> {
  const last_check = new Date(service.clock.now()).toISOString();
  const { status } = await service.post(reportOf(names, { repo, server, last_check, ...more }));
  expect(status, `${repo} on ${server}`).to.be.within(200, 201);
}

type Row = Record<string, unknown>;
type Dashboard = {
  panels: { title: string; targets: InfinityTarget[] }[];
  annotations: { list: { name: string; target: InfinityTarget }[] };
  templating: { list: { name: string; query: string | { infinityQuery: InfinityTarget } }[] };
};
