import { expect } from 'chai';
import { NOW, type Service, reportBody, reportOf, startService } from '../../fixtures.ts';

describe('POST /api/status', () => {
  let service: Service;

  beforeEach(async () => {
    service = await startService();
  });
  afterEach(() => service.stop());

  async function post(body: unknown): Promise<Record<string, unknown>> {
    return (await (await service.post(body)).json()) as Record<string, unknown>;
  }

  async function list(): Promise<Record<string, unknown>[]> {
    return (await (await service.request('/status.json')).json()) as Record<string, unknown>[];
  }

  it('answers the first report of a source with 201 and a receipt', async () => {
    const response = await service.post(reportBody());
    expect(response.status).to.equal(201);
    expect(response.headers.get('Content-Type')).to.equal('application/json; charset=utf-8');
    expect(await response.json()).to.deep.equal({
      repo: 'rsyslog',
      server: 'rsyslog-lab',
      result: 'created',
      verdict: 'OUT_OF_SYNC',
      previous_status: null,
      drift_count: 2,
      opened: ['rsyslog.conf', 'rsyslog.d/30-lab.conf'],
      closed: [],
      status_since: '2026-04-21T10:32:20.000Z',
      stale_at: '2026-04-21T10:42:15.000Z',
      ignored: [],
    });
  });

  it('answers a report that changes the files with 200 and what opened and closed', async () => {
    await post(reportOf(['a', 'b']));
    service.clock.advance(60_000);
    const response = await service.post(reportOf(['b', 'c'], { last_check: '2026-04-21T10:33:15Z' }));
    expect(response.status).to.equal(200);
    expect(await response.json()).to.deep.include({
      result: 'changed',
      previous_status: 'OUT_OF_SYNC',
      opened: ['c'],
      closed: ['a'],
      status_since: '2026-04-21T10:32:20.000Z',
      stale_at: '2026-04-21T10:43:15.000Z',
    });
  });

  it('tells the new status and since when, when a source is back in sync', async () => {
    await post(reportOf(['a']));
    service.clock.advance(60_000);
    expect(await post(reportOf([], { last_check: '2026-04-21T10:33:15Z' }))).to.deep.include({
      result: 'changed',
      verdict: 'SYNCED',
      previous_status: 'OUT_OF_SYNC',
      drift_count: 0,
      closed: ['a'],
      status_since: '2026-04-21T10:33:20.000Z',
    });
  });

  it('answers a report of the same files with 200 unchanged', async () => {
    await post(reportBody());
    const response = await service.post(reportBody({ last_check: '2026-04-21T10:33:15Z' }));
    expect(response.status).to.equal(200);
    expect(await response.json()).to.deep.include({ result: 'unchanged', opened: [], closed: [] });
    expect((await list())[0]?.last_check).to.equal('2026-04-21T10:33:15Z');
  });

  it('takes a retry as unchanged', async () => {
    await post(reportBody());
    const before = await list();
    expect(await post(reportBody())).to.include({ result: 'unchanged' });
    expect(await list()).to.deep.equal(before);
  });

  it('applies a report with an equal last_check and other content', async () => {
    await post(reportOf(['a']));
    expect(await post(reportOf([]))).to.deep.include({ result: 'changed', closed: ['a'] });
  });

  it('answers an older report with 200 superseded, and keeps the newer one', async () => {
    await post(reportOf(['a']));
    const before = await list();
    const response = await service.post(reportOf(['b'], { last_check: '2026-04-21T10:32:14Z' }));
    expect(response.status).to.equal(200);
    expect(await response.json()).to.deep.include({
      result: 'superseded',
      drift_count: 1,
      opened: [],
      closed: [],
      previous_status: 'OUT_OF_SYNC',
    });
    expect(await list()).to.deep.equal(before);
  });

  it('says in the receipt that a check of long ago is STALE on arrival', async () => {
    expect(await post(reportBody({ last_check: '2026-04-20T10:00:00Z' }))).to.include({ verdict: 'STALE' });
  });

  it('takes the time until STALE from the report, where it says one', async () => {
    expect(await post(reportBody({ stale_after_seconds: 60 }))).to.include({ stale_at: '2026-04-21T10:33:15.000Z' });
  });

  it('accepts fields that it does not know, and names them', async () => {
    const body = { ...reportOf(['a']), note: 'x', files: [{ name: 'a', mode: '0644' }], constructor: { a: 1 } };
    expect(await post(body)).to.deep.include({ result: 'created', ignored: ['note', 'constructor', 'files[].mode'] });
    expect((await list())[0]).to.not.have.any.keys('note', 'mode');
  });

  it('gives back every posted field as it was posted', async () => {
    const posted = reportBody({ commit: 'a1b2c3', pipeline_url: 'https://ci.example.org/run?id=7#log' });
    await post(posted);
    expect((await list())[0]).to.deep.include(posted);
  });

  it('keeps the order of the files, and names that JavaScript knows otherwise', async () => {
    const names = ['z', '__proto__', 'a', 'constructor', '10', '9', 'é "quoted" \\ </script>', '文件'];
    await post(reportOf(names));
    expect((await list())[0]).to.deep.include({
      files: names.map((name) => ({ name })),
      files_text: names.join(', '),
    });
  });

  it('settles many reports of one source at once in the order of their last_check', async () => {
    const seconds = Array.from({ length: 30 }, (_, i) => i);
    const responses = await Promise.all(
      seconds.map((second) =>
        service.post(reportOf([`f${second}`], { last_check: new Date(NOW - 60_000 + second * 1000).toISOString() })),
      ),
    );
    expect(responses.filter((response) => response.status === 201)).to.have.lengthOf(1);
    expect(responses.every((response) => response.ok)).to.equal(true);
    expect((await list())[0]).to.include({ files_text: 'f29' });
  });

  it('shows a report to whoever reads after its answer', async () => {
    for (let i = 0; i < 20; i += 1) {
      const server = `server-${i}`;
      await post(reportBody({ server }));
      expect((await list()).map((row) => row.server)).to.include(server);
      expect((await service.request(`/api/status/rsyslog/${server}`)).status).to.equal(200);
    }
  });
});
