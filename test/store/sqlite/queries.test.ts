import { expect } from 'chai';
import type { Store } from '../../../src/store/store.ts';
import { seedFolder } from '../../../bench/seed.ts';
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
        if (outcome !== reason) expect(outcome).to.have.property('rows').that.has.length(100_000);
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
});
