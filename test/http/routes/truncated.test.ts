import { expect } from 'chai';
import { type Service, reportBody, reportOf, startService } from '../../fixtures.ts';

type Row = Record<string, unknown>;

describe('a report that names only some of the files', () => {
  let service: Service;
  beforeEach(async () => {
    service = await startService();
  });
  afterEach(() => service.stop());

  async function post(names: readonly string[], count?: number): Promise<Row> {
    const cut = count === undefined ? {} : { drift_count: count, files_truncated: true };
    const response = await service.post(reportOf(names, cut));
    expect(response.status).to.be.oneOf([200, 201]);
    return (await response.json()) as Row;
  }

  async function row(): Promise<Row> {
    const [first] = (await (await service.request('/status.json')).json()) as Row[];
    const detail = await (await service.request('/api/status/rsyslog/rsyslog-lab')).json();
    const { drift_count, files_truncated, files_text } = first as Row;
    expect(detail).to.include({ drift_count, files_truncated, files_text });
    return { drift_count, files_truncated, files_text };
  }

  it('counts all of them', async () => {
    expect(await post(['a', 'b'], 12_000)).to.deep.include({
      result: 'created',
      drift_count: 12_000,
      opened: ['a', 'b'],
    });
    expect(await row()).to.deep.equal({ drift_count: 12_000, files_truncated: true, files_text: 'a, b' });
    const metrics = await (await service.request('/metrics')).text();
    expect(metrics).to.contain('gitops_drift_count{repo="rsyslog",server="rsyslog-lab"} 12000\n');
    expect(metrics).to.contain('gitops_open_drifts 2\n');
    expect(await (await service.request('/summary.json')).json()).to.include({ drift_count: 12_000 });
  });

  it('opens drifts and closes none', async () => {
    await post(['a', 'b']);
    expect(await post(['b', 'c'], 3)).to.deep.include({ opened: ['c'], closed: [], drift_count: 3 });
    expect(await row()).to.deep.equal({ drift_count: 3, files_truncated: true, files_text: 'a, b, c' });
    // more are known than it counts
    expect(await post(['d'], 2)).to.deep.include({ opened: ['d'], closed: [], drift_count: 4 });
    expect(await post(['d'], 2)).to.include({ result: 'unchanged', drift_count: 4 });
  });

  it('is followed by one that names all', async () => {
    await post(['a', 'b'], 9);
    const receipt = await post(['b', 'c']);
    expect(receipt).to.deep.include({ opened: ['c'], closed: ['a'], drift_count: 2 });
    expect(await row()).to.deep.equal({ drift_count: 2, files_truncated: false, files_text: 'b, c' });
    await post(['b'], 9);
    await post([]);
    expect(await row()).to.deep.equal({ drift_count: 0, files_truncated: false, files_text: '' });
  });

  it('keeps its count while the check cannot tell', async () => {
    await post(['a'], 9);
    await service.post(reportOf([], { sync_status: 'UNKNOWN' }));
    expect(await row()).to.deep.equal({ drift_count: 9, files_truncated: true, files_text: 'a' });
  });

  it('knows at most 10,000 names of a source, and never forgets one for another', async () => {
    const first = Array.from({ length: 9_999 }, (_, i) => `f${i}`);
    await post(first);
    expect(await post(['x', 'y', 'z'], 20_000)).to.deep.include({ opened: ['x'], closed: [] });
    expect(await post(['y'], 20_000)).to.deep.include({ opened: [], closed: [], drift_count: 20_000 });
    const { files_text: names } = await row();
    expect((names as string).split(', ')).to.have.members([...first, 'x']);
  });

  const refused: readonly (readonly [what: string, body: Row, pointer: string])[] = [
    ['with as many files as it counts', reportBody({ files_truncated: true }), '/drift_count'],
    ['with more files than it counts', reportBody({ files_truncated: true, drift_count: 1 }), '/drift_count'],
    ['that names none', reportBody({ files_truncated: true, drift_count: 5, files: [] }), '/files'],
    ['that is in sync', reportOf([], { files_truncated: true, drift_count: 5 }), '/files_truncated'],
    ['that counts more without saying so', reportBody({ drift_count: 5 }), '/drift_count'],
    ['that says so in words', reportBody({ drift_count: 5, files_truncated: 'yes' }), '/files_truncated'],
    ['with a count beyond all counting', reportBody({ drift_count: 1e300, files_truncated: true }), '/drift_count'],
  ];
  for (const [what, body, pointer] of refused) {
    it(`is refused ${what}`, async () => {
      const response = await service.post(body);
      expect(response.status).to.equal(422);
      const { errors } = (await response.json()) as { errors: { pointer: string }[] };
      expect(errors.map((error) => error.pointer)).to.include(pointer);
    });
  }

  for (const no of [false, null]) {
    it(`does not with files_truncated ${no}`, async () => {
      expect((await service.post(reportBody({ files_truncated: no }))).status).to.equal(201);
    });
  }
});
