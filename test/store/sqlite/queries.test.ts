import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'chai';
import type { Store } from '../../../src/store/store.ts';
import { seedFolder } from '../../../bench/seed.ts';
import { migrate } from '../../../src/store/sqlite/migrations.ts';
import { openSqlite } from '../../../src/store/sqlite/sqlite.ts';
import { driftsOf, loadAll, makeFolder } from '../../fixtures.ts';
import { removalChange } from '../drivers.ts';

describe('long queries of the past', function () {
  this.timeout(60_000);

  const EVER = { from: 0, to: 1e13 };
  let folder: ReturnType<typeof makeFolder>;
  let store: Store;

  before(async () => {
    folder = makeFolder();
    seedFolder(folder.path, { sources: 1000, closedDrifts: 300 });
    store = await openSqlite(folder.path);
  });
  after(async () => {
    await store.close();
    folder.remove();
  });

  it('take turns: a short one and a detail are answered before long ones that came first', async () => {
    const order: string[] = [];
    const long = store.drifts(EVER, 100_000).then(() => order.push('long'));
    const history = store.history(EVER, Date.now(), 100_000).then(() => order.push('long'));
    const short = driftsOf(store, EVER, 10, { repos: ['repo-1'], servers: ['server-1'] }).then(() =>
      order.push('short'),
    );
    const detail = store.detail('repo-1', 'server-1', 50).then(() => order.push('detail'));
    await Promise.all([long, history, short, detail]);
    expect(order).to.deep.equal(['detail', 'short', 'long', 'long']);
  });

  it('end with their reader: others run in their place, and nothing is left of them', async () => {
    const reason = new Error('gone');
    for (let round = 0; round < 10; round += 1) {
      const controllers = Array.from({ length: 4 }, () => new AbortController());
      const outcomes = controllers.map(({ signal }, i) =>
        (i % 2 === 0
          ? store.drifts(EVER, 100_000, {}, signal)
          : store.history(EVER, Date.now(), 100_000, {}, signal)
        ).catch((error: unknown) => error),
      );
      // at different places: before it runs, while it runs, while pages are fetched
      await new Promise((resolve) => setTimeout(resolve, round * 20));
      for (const controller of controllers) controller.abort(reason);
      for (const outcome of await Promise.all(outcomes)) {
        if (outcome === reason) continue;
        // history has whole sources
        const { length } = (outcome as { rows: unknown[] }).rows;
        expect(length).to.be.within(99_000, 100_000);
      }
    }
    expect(await driftsOf(store, EVER, 5)).to.have.length(5);
  });

  it('refuse more at a time than they have connections for', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => store.drifts(EVER, 10)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).to.have.length(4);
    expect(await driftsOf(store, EVER, 5)).to.have.length(5);
  });

  it('see one instant, whatever is written between their slices', async () => {
    const [source] = await loadAll(store);
    if (source === undefined) throw new Error('there is no source');
    const selection = { repos: [source.snapshot.repo] };
    const read = () => driftsOf(store, EVER, 1_000_000, selection);
    const before = await read();
    const reading = read();
    await store.commit([removalChange(source, Date.now())]);
    expect(await reading).to.have.length(before.length);
    expect(await read()).to.have.length(before.length + 2);
  });

  it('give as many rows as fit into memory, the newest, and tell that there are more', async () => {
    const { rows, isCut } = await store.drifts(EVER, 1_000_000);
    expect(isCut).to.equal(true);
    expect(rows.length).to.be.within(100_000, 250_000);
    expect(rows.at(-1)).to.deep.equal((await driftsOf(store, EVER, 1))[0]);
  });

  it('give as many whole sources as fit into memory, and tell that there are more', async () => {
    const { rows, isCut } = await store.history(EVER, Date.now(), 1_000_000);
    expect(isCut).to.equal(true);
    expect(rows.length).to.be.within(100_000, 250_000);
    const counts = new Map<string, number>();
    for (const { server } of rows) counts.set(server, (counts.get(server) ?? 0) + 1);
    for (const [server, count] of counts) expect(count, server).to.be.within(600, 610);
  });
});

describe('history of more removed sources than are in memory at a time', function () {
  this.timeout(60_000);

  const END = 1_000_000;
  let folder: ReturnType<typeof makeFolder>;
  let store: Store;
  let insert: (server: string, firstSeen: number, removedAt: number | null) => void;

  /** Fills an empty database with lives, in one transaction. */
  async function open(fill: () => void): Promise<void> {
    const db = new DatabaseSync(join(folder.path, 'gitops-status.db'));
    migrate(db);
    const statement =
      db.prepare(`INSERT INTO sources (repo, server, version, sync_status, last_check, first_seen, status_since,
      received_at, stale_at, removed_at, files) VALUES ('r', ?, 1, 'SYNCED', '1970-01-01T00:00:00Z', ?, 0, 0, 1e12, ?, '[]')`);
    insert = (...values) => void statement.run(...values);
    db.exec('BEGIN');
    fill();
    db.exec('COMMIT');
    db.close();
    store = await openSqlite(folder.path);
  }

  beforeEach(() => {
    folder = makeFolder();
  });
  afterEach(async () => {
    await store.close();
    folder.remove();
  });

  it('is whole: each source once, with all its lives', async () => {
    const expected: [time: number, server: string, verdict: string | null][] = [];
    const live = (server: string, from: number, to: number | null): void => {
      insert(server, from, to);
      expected.push([from, server, 'SYNCED'], to === null ? [END, server, 'SYNCED'] : [to, server, null]);
    };
    await open(() => {
      for (let i = 0; i < 60_000; i += 1) live(`s${i}`, i, i + 100_000);
      for (let i = 0; i < 60_000; i += 60) live(`s${i}`, i + 200_000, i + 300_000);
      for (let i = 0; i < 60_000; i += 120) live(`s${i}`, i + 400_000, null);
    });
    const { rows, isCut } = await store.history({ from: 0, to: END }, END, 1_000_000);
    expect(isCut).to.equal(false);
    const inOrder = (lines: string[]): string[] => lines.toSorted();
    expect(inOrder(rows.map(({ time, server, verdict }) => `${time} ${server} ${verdict}`))).to.deep.equal(
      inOrder(expected.map((row) => row.join(' ').replace(/ $/, ' null'))),
    );
  });

  it('is refused where one source alone lived more often', async () => {
    await open(() => {
      for (let i = 0; i < 50_001; i += 1) insert('s', 2 * i, 2 * i + 1);
    });
    const outcome = await store.history({ from: 0, to: END }, END, 10).catch((error: unknown) => error);
    expect(outcome).to.include({ reason: 'query_timeout' });
    expect((await store.history({ from: 50_000, to: END }, END, 10)).rows).to.have.length(10);
  });
});
