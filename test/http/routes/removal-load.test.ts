import { expect } from 'chai';
import { type Disk, type Service, createDisk, reportBody, startService, until } from '../../fixtures.ts';

/** One goes on, ten wait. */
const MAX_DELETIONS = 11;

describe('DELETE /api/status, asked for very often', () => {
  let disk: Disk;
  let service: Service;

  beforeEach(async () => {
    service = await startService({
      wrapStore(store) {
        disk = createDisk(store);
        return disk.store;
      },
    });
    for (const server of ['a', 'b']) await service.post(reportBody({ server }));
  });
  afterEach(async () => {
    disk.heal();
    await service.stop();
  });

  function remove(signal?: AbortSignal): Promise<Response> {
    return service.request('/api/status?repo=rsyslog', { method: 'DELETE', ...(signal && { signal }) });
  }

  it('goes on one at a time, and is refused with 503 when too many wait', async () => {
    disk.hang();
    const answers = Array.from({ length: MAX_DELETIONS + 1 }, () => remove());
    const refused = await Promise.race(answers);
    expect(refused.status).to.equal(503);
    expect(refused.headers.get('Retry-After')).to.equal('5');
    expect(await refused.json()).to.include({ reason: 'overloaded', detail: 'Too many deletions are waiting' });
    disk.heal();
    const others = (await Promise.all(answers)).filter((answer) => answer !== refused);
    const bodies = await Promise.all(others.map((answer) => answer.json()));
    expect(bodies).to.have.deep.members([{ deleted: 2 }, ...Array.from({ length: 10 }, () => ({ deleted: 0 }))]);
  });

  it('deletes nothing for a client that has left before its turn', async () => {
    disk.hang();
    const before = disk.calls.length;
    const first = remove();
    await until(() => disk.calls.length > before);
    const leaving = new AbortController();
    const left = remove(leaving.signal).catch((error: Error) => error.name);
    expect((await service.request('/healthz')).status).to.equal(200);
    leaving.abort();
    expect(await left).to.equal('AbortError');
    expect((await service.request('/healthz')).status).to.equal(200);
    disk.heal();
    expect(await (await first).json()).to.deep.equal({ deleted: 2 });
    expect((await service.post(reportBody({ server: 'a' }))).status).to.equal(201);
    expect(await (await remove()).json()).to.deep.equal({ deleted: 1 });
  });
});
