import { expect } from 'chai';
import { toIso } from '../../../src/core/timestamp.ts';
import { type Clock, NOW, type Service, createClock, makeFolder, reportOf, startService } from '../../fixtures.ts';

const MINUTE = 60_000;
const MESSAGE = 'web-1: unreachable\n\tssh: connect to host web-1 port 22: No route to host';

type Row = Record<string, unknown>;

describe('a check that could not tell', () => {
  let folder: ReturnType<typeof makeFolder>;
  let clock: Clock;
  let service: Service;

  beforeEach(async () => {
    folder = makeFolder();
    clock = createClock();
    service = await startService({ dataDir: folder.path, clock });
  });
  afterEach(async () => {
    await service.stop();
    folder.remove();
  });

  async function restart(): Promise<void> {
    await service.stop();
    service = await startService({ dataDir: folder.path, clock });
  }

  async function post(names: readonly string[] | 'unknown', changes: Row = {}): Promise<Row> {
    const isUnknown = names === 'unknown';
    const status = isUnknown ? { sync_status: 'UNKNOWN', message: MESSAGE } : {};
    const body = reportOf(isUnknown ? [] : names, { last_check: toIso(clock.now()), ...status, ...changes });
    const response = await service.post(body);
    expect(response.status).to.be.oneOf([200, 201]);
    return (await response.json()) as Row;
  }

  async function get<T>(path: string): Promise<T> {
    return (await (await service.request(path)).json()) as T;
  }

  const row = async (): Promise<Row> => (await get<Row[]>('/status.json'))[0] as Row;

  async function gauges(): Promise<Record<string, string>> {
    const text = await (await service.request('/metrics')).text();
    const lines = text.matchAll(/^(gitops_(?:drift_count|in_sync|unknown|stale))\{.*\} (.+)$/gm);
    return Object.fromEntries([...lines].map(([, name, value]) => [name, value]));
  }

  async function history(): Promise<unknown[]> {
    const rows = await get<Row[]>(`/history.json?from=${NOW}&to=${clock.now()}`);
    return rows.map((each) => [(Number(each.time_ms) - NOW) / MINUTE, each.verdict, each.state, each.drift_count]);
  }

  for (const names of [[], ['a', 'b']]) {
    const told = names.length === 0 ? 'SYNCED' : 'OUT_OF_SYNC';
    describe(`after it had told ${told}`, () => {
      beforeEach(async () => {
        await post(names);
        clock.advance(MINUTE);
      });

      it('is UNKNOWN, never in sync, and keeps what was known', async () => {
        const receipt = await post('unknown');
        expect(receipt).to.deep.include({
          result: 'changed',
          verdict: 'UNKNOWN',
          previous_status: told,
          drift_count: names.length,
          opened: [],
          closed: [],
          status_since: toIso(NOW),
        });
        const expected = {
          sync_status: 'UNKNOWN',
          verdict: 'UNKNOWN',
          out_of_sync: 1,
          stale: false,
          drift_count: names.length,
          files_text: names.join(', '),
          status_since: toIso(NOW),
          unknown_since: toIso(NOW + MINUTE),
          message: MESSAGE,
        };
        for (let restarts = 0; restarts < 2; restarts += 1) {
          expect(await row()).to.include(expected);
          expect(await get('/api/status/rsyslog/rsyslog-lab')).to.include(expected);
          expect(await get<Row[]>('/files.json')).to.have.lengthOf(names.length);
          expect(await get('/summary.json')).to.include({ unknown: 1, synced: 0, out_of_sync: 0, stale: 0 });
          expect(await gauges()).to.deep.equal({
            gitops_drift_count: String(names.length),
            gitops_in_sync: '0',
            gitops_unknown: '1',
            gitops_stale: '0',
          });
          expect(await get<Row[]>('/status.json?verdict=unknown')).to.have.lengthOf(1);
          expect(await get<Row[]>(`/status.json?verdict=${told}`)).to.have.lengthOf(0);
          expect(await (await service.request('/metrics')).text()).to.contain('gitops_sources{verdict="UNKNOWN"} 1\n');
          await restart();
        }
      });

      it('ends with the next report that tells, and is told by history', async () => {
        await post('unknown');
        clock.advance(MINUTE);
        expect(await post('unknown')).to.include({ result: 'unchanged', previous_status: 'UNKNOWN' });
        clock.advance(MINUTE);
        const receipt = await post(names);
        expect(receipt).to.deep.include({ result: 'changed', verdict: told, opened: [], closed: [] });
        expect(receipt).to.include({ previous_status: 'UNKNOWN', status_since: toIso(NOW) });
        expect(await row()).to.include({ verdict: told, unknown_since: null, message: null });
        clock.advance(MINUTE);
        const state = names.length === 0 ? 0 : 1;
        const expected = [
          [0, told, state, names.length],
          [1, 'UNKNOWN', 3, names.length],
          [3, told, state, names.length],
          [4, told, state, names.length],
        ];
        expect(await history()).to.deep.equal(expected);
        await restart();
        expect(await history()).to.deep.equal(expected);
      });

      it('becomes STALE when it is not repeated', async () => {
        await post('unknown');
        clock.advance(10 * MINUTE);
        expect(await row()).to.include({ sync_status: 'UNKNOWN', verdict: 'STALE', stale: true });
        expect(await gauges()).to.include({ gitops_unknown: '1', gitops_stale: '1', gitops_in_sync: '0' });
        expect((await history()).slice(1)).to.deep.equal([
          [1, 'UNKNOWN', 3, names.length],
          [11, 'STALE', 2, names.length],
        ]);
      });

      it('closes a drift no sooner than a report tells so', async () => {
        await post('unknown');
        clock.advance(MINUTE);
        const receipt = await post([]);
        expect(receipt.closed).to.have.members(names);
        expect(receipt).to.include({ drift_count: 0 });
      });
    });
  }

  it('keeps the diffs that were known', async () => {
    await post(['a'], { files: [{ name: 'a', diff: '-x\n+y\n' }] });
    await post('unknown');
    const { files } = await get<{ files: Row[] }>('/api/status/rsyslog/rsyslog-lab');
    expect(files[0]).to.include({ name: 'a', diff: '-x\n+y\n' });
  });

  it('may be the first thing that is known of a source', async () => {
    expect(await post('unknown')).to.include({ result: 'created', previous_status: null, status_since: toIso(NOW) });
    clock.advance(MINUTE);
    await post('unknown');
    await restart();
    expect(await row()).to.include({ verdict: 'UNKNOWN', status_since: toIso(NOW), drift_count: 0 });
    clock.advance(MINUTE);
    const receipt = await post([]);
    expect(receipt).to.include({
      result: 'changed',
      previous_status: 'UNKNOWN',
      status_since: toIso(NOW + 2 * MINUTE),
    });
    expect(await history()).to.deep.equal([
      [0, 'UNKNOWN', 3, 0],
      [2, 'SYNCED', 0, 0],
    ]);
  });

  it('of 1970 declares a source that was never checked', async () => {
    const declaration = { last_check: '1970-01-01T00:00:00Z', message: undefined };
    expect(await post('unknown', declaration)).to.include({ result: 'created', verdict: 'STALE' });
    await restart();
    expect(await row()).to.include({ verdict: 'STALE', last_check_ms: 0, message: null });
    expect(await post([])).to.include({ result: 'changed', verdict: 'SYNCED' });
    expect(await post('unknown', declaration)).to.include({ result: 'superseded', verdict: 'SYNCED' });
  });

  for (const last_check of ['1970-01-01T00:00:00+01:00', '1969-12-31T23:00:00Z', '0100-01-01T00:00:00Z']) {
    it(`may have been at ${last_check}, also after a restart`, async () => {
      expect(await post('unknown', { last_check })).to.include({ result: 'created', verdict: 'STALE' });
      await restart();
      expect(await row()).to.include({ verdict: 'STALE', last_check });
      expect((await service.request('/api/status/rsyslog/rsyslog-lab')).status).to.equal(200);
      expect(await (await service.request('/history.json')).json()).to.not.deep.equal([]);
    });
  }

  it('ends with the removal of its source', async () => {
    await post([]);
    clock.advance(MINUTE);
    await post('unknown');
    clock.advance(MINUTE);
    await service.request('/api/status/rsyslog/rsyslog-lab', { method: 'DELETE' });
    clock.advance(MINUTE);
    await post([]);
    clock.advance(MINUTE);
    const rows = await history();
    expect(rows[0]).to.deep.equal([0, 'SYNCED', 0, 0]);
    expect(rows[1]).to.deep.equal([1, 'UNKNOWN', 3, 0]);
    expect(rows.at(-1)).to.deep.equal([4, 'SYNCED', 0, 0]);
  });

  describe('is refused', () => {
    const refused: readonly (readonly [what: string, changes: Row, pointer: string])[] = [
      ['with files', { files: [{ name: 'a' }], drift_count: 1 }, '/files'],
      ['with a count', { drift_count: 3 }, '/drift_count'],
      ['with truncated files', { files_truncated: true }, '/files_truncated'],
      ['with a message of 2,001 characters', { message: 'x'.repeat(2001) }, '/message'],
      ['with an escape sequence in its message', { message: 'a\u001b[31mb' }, '/message'],
      ['with a message that is a number', { message: 5 }, '/message'],
    ];
    for (const [what, changes, pointer] of refused) {
      it(what, async () => {
        const body = reportOf([], { sync_status: 'UNKNOWN', ...changes });
        const response = await service.post(body);
        expect(response.status).to.equal(422);
        const { errors } = (await response.json()) as { errors: { pointer: string }[] };
        expect(errors.map((error) => error.pointer)).to.include(pointer);
      });
    }
  });

  it('may say nothing, or 2,000 characters with line breaks', async () => {
    for (const message of [undefined, null, '', 'ü'.repeat(1999) + '\n']) {
      await post('unknown', { message });
      expect((await row()).message).to.equal(message === undefined || message === '' ? null : message);
    }
  });

  it('has no message with another status: it is not stored, and named in ignored', async () => {
    expect((await post([], { message: MESSAGE })).ignored).to.deep.equal(['message']);
    expect((await row()).message).to.equal(null);
    expect((await post([], { message: '' })).ignored).to.deep.equal([]);
  });
});
