import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { parseTokens } from '../../../src/access/tokens.ts';
import { type Service, reportBody, reportOf, sha256, startService, tokensText } from '../../fixtures.ts';

type Result = Record<string, unknown> & { status: number };
type Answer = { results: Result[]; status?: number; reason?: string; detail?: string };

const TOKENS = parseTokens(
  tokensText([{ name: 'woodpecker', sha256: sha256('ci'), scopes: ['report'], repos: ['web'] }], ['read']),
);

describe('an array of reports', () => {
  let service: Service;
  let commits = 0;

  async function start(options: Parameters<typeof startService>[0] = {}): Promise<void> {
    commits = 0;
    service = await startService({
      ...options,
      wrapStore: (store) => ({
        ...store,
        commit(changes) {
          commits += 1;
          return store.commit(changes);
        },
      }),
    });
  }
  afterEach(() => service.stop());

  const of = (server: string, names: readonly string[] = [], changes = {}): Record<string, unknown> =>
    reportOf(names, { repo: 'web', server, ...changes });

  async function post(reports: unknown, headers = {}): Promise<{ code: number; type: string; answer: Answer }> {
    const response = await service.post(reports, headers);
    const answer = (await response.json()) as Answer;
    return { code: response.status, type: response.headers.get('Content-Type') ?? '', answer };
  }

  describe('without access control', () => {
    beforeEach(() => start({ maxBodyBytes: 2000, maxSources: 1200 }));

    it('is 200 with what became of each, in order', async () => {
      await service.post(of('known', ['a']));
      const { code, type, answer } = await post([
        of('new'),
        of('known', ['b']),
        of('known', ['b']),
        of('other', ['x']),
      ]);
      expect(code).to.equal(200);
      expect(type).to.match(/^application\/json/);
      expect(Object.keys(answer)).to.deep.equal(['results']);
      expect(answer.results.map(({ status, server, result }) => [status, server, result])).to.deep.equal([
        [201, 'new', 'created'],
        [200, 'known', 'changed'],
        [200, 'known', 'unchanged'],
        [201, 'other', 'created'],
      ]);
      expect(answer.results[1]).to.deep.include({ opened: ['b'], closed: ['a'], ignored: [], verdict: 'OUT_OF_SYNC' });
    });

    it('is a problem with the highest status where one is refused; the others are stored', async () => {
      const reports = [of('a'), of('b', [], { drift_count: 7 }), of('c'), 'no report', null, [of('d')]];
      const { code, type, answer } = await post(reports);
      expect(code).to.equal(422);
      expect(type).to.equal('application/problem+json');
      expect(answer).to.include({ status: 422, reason: 'invalid' });
      expect(answer.detail).to.contain('4 of 6');
      expect(answer.results.map(({ status }) => status)).to.deep.equal([201, 422, 201, 422, 422, 422]);
      expect(answer.results[1]).to.deep.include({ reason: 'invalid', title: 'Invalid report' });
      expect(answer.results[1]?.errors).to.deep.include({
        pointer: '/drift_count',
        detail: 'must be the length of files (0), but is 7',
      });
      expect(service.fleet.list().map(({ snapshot }) => snapshot.server)).to.deep.equal(['a', 'c']);
      // the whole may be sent again
      const again = await post(reports);
      expect(again.answer.results.map(({ status, result }) => result ?? status)).to.deep.equal([
        'unchanged',
        422,
        'unchanged',
        422,
        422,
        422,
      ]);
    });

    it('of a thousand shares commits', async () => {
      const reports = Array.from({ length: 1000 }, (_, i) => of(`s${i}`, [], { commit: undefined }));
      await service.stop();
      await start();
      const { code, answer } = await post(reports);
      expect(code).to.equal(200);
      expect(answer.results).to.have.lengthOf(1000);
      expect(commits).to.be.at.most(10);
      expect(service.fleet.size).to.equal(1000);
    });

    for (const [what, reports] of [
      ['none', []],
      ['1,001', Array.from({ length: 1001 }, () => 0)],
    ] as const) {
      it(`of ${what} is refused as a whole`, async () => {
        const { code, answer } = await post(reports);
        expect(code).to.equal(422);
        expect(answer).to.not.have.property('results');
        expect(answer.detail).to.match(/1 to 1000 reports/);
      });
    }

    it('may be eight times as large as a report, but no report in it larger than one may be', async () => {
      const long = (server: string, bytes: number): unknown => of(server, ['a'], { ignored_text: 'x'.repeat(bytes) });
      const { code, answer } = await post([long('a', 1500), long('b', 1500), long('c', 2500), long('d', 1500)]);
      expect(code).to.equal(413);
      expect(answer.results.map(({ status }) => status)).to.deep.equal([201, 201, 413, 201]);
      expect(answer.results[2]?.detail).to.contain('2000 bytes');
      const whole = await post(Array.from({ length: 12 }, (_, i) => long(`s${i}`, 1500)));
      expect(whole.code).to.equal(413);
      expect(whole.answer).to.include({ reason: 'too_large' }).and.not.have.property('results');
      expect(whole.answer.detail).to.contain('8 times');
    });

    it('may come packed, also where packing saves little', async () => {
      const reports = ['a', 'b', 'c'].map((server) => of(server, ['a'], { noise: randomBytes(900).toString('hex') }));
      const packed = gzipSync(JSON.stringify(reports));
      expect(packed.length).to.be.above(2000);
      const headers = { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' };
      const response = await service.request('/api/status', { method: 'POST', headers, body: packed });
      expect(response.status).to.equal(200);
    });

    it('does not make a single report larger', async () => {
      expect((await service.post(of('a', ['a'], { ignored_text: 'x'.repeat(2500) }))).status).to.equal(413);
      expect((await service.post(`  \n\t${JSON.stringify(of('a'))}`)).status).to.equal(201);
      expect((await service.post(`\ufeff  [${JSON.stringify(of('a'))}]`)).status).to.equal(200);
      expect((await service.post(`[${JSON.stringify(of('a'))}`)).status).to.equal(400);
    });

    it('counts each, once', async () => {
      await post([of('a'), of('b', [], { drift_count: 7 }), of('a')]);
      await post([]);
      const metrics = await (await service.request('/metrics')).text();
      for (const line of [
        'gitops_reports_total{result="created"} 1',
        'gitops_reports_total{result="unchanged"} 1',
        'gitops_reports_total{result="rejected"} 2',
        'gitops_reports_rejected_total{reason="invalid"} 2',
        'http_request_duration_seconds_count{method="POST",route="/api/status",status="422"} 2',
      ]) {
        expect(metrics).to.contain(`${line}\n`);
      }
    });

    it('leaves a line in the log, and one for each that was refused', async () => {
      await post([of('a'), of('b', [], { drift_count: 7 }), of('c', ['secret-name'])]);
      const lines = service.log.filter(({ msg }) => msg === 'report' || msg === 'reports');
      expect(lines.map(({ time: _time, ...line }) => line)).to.deep.equal([
        {
          level: 40,
          repo: 'web',
          server: 'b',
          result: 'rejected',
          reason: 'invalid',
          broken: ['/drift_count'],
          status: 422,
          request_id: 'request-1',
          msg: 'report',
        },
        {
          level: 30,
          reports: 3,
          results: { created: 2, rejected: 1 },
          status: 422,
          request_id: 'request-1',
          msg: 'reports',
        },
      ]);
      expect(JSON.stringify(lines)).to.not.contain('secret-name');
    });

    it('marks the known sources of those that were refused', async () => {
      await post([of('a'), of('b')]);
      await post([of('a'), of('b', [], { drift_count: 7 })]);
      const marks = service.fleet.list().map(({ snapshot }) => snapshot.lastRejectedAt !== null);
      expect(marks).to.deep.equal([false, true]);
    });

    it('marks a source of which a report is refused behind one that is accepted', async () => {
      await post([of('a'), of('b')]);
      await post([of('a', ['x']), of('a', [], { drift_count: 7 }), of('b', [], { drift_count: 7 }), of('b', ['x'])]);
      const marks = service.fleet.list().map(({ snapshot }) => snapshot.lastRejectedAt !== null);
      expect(marks).to.deep.equal([true, false]);
    });

    it('marks all sources of an array that is too long', async () => {
      await post([of('a'), of('b'), of('c')]);
      await post([of('a'), of('b'), ...Array.from({ length: 999 }, () => 0)]);
      const marks = service.fleet.list().map(({ snapshot }) => snapshot.lastRejectedAt !== null);
      expect(marks).to.deep.equal([true, true, false]);
    });

    it('meets a limit report by report', async () => {
      await service.stop();
      await start({ maxSources: 2 });
      const { code, answer } = await post([of('a'), of('b'), of('c'), of('a', ['x'])]);
      expect(code).to.equal(429);
      expect(answer.results.map(({ status }) => status)).to.deep.equal([201, 201, 429, 200]);
    });

    it('tells who listens of each change', async () => {
      const { body } = await service.request('/api/events');
      const reader = (body as ReadableStream<Uint8Array>).getReader();
      const decoder = new TextDecoder();
      await post([of('a'), of('b')]);
      let text = '';
      while (!text.includes('"server":"b"')) text += decoder.decode((await reader.read()).value);
      expect(text).to.match(/event: change\ndata: \{"repo":"web","server":"a"/);
      await reader.cancel();
    });
  });

  it('is judged by what its token may do, report by report', async () => {
    await start({ tokens: () => TOKENS });
    const headers = { Authorization: 'Bearer ci' };
    const { code, answer } = await post([of('a'), reportBody({ repo: 'dns' }), of('b')], headers);
    expect(code).to.equal(403);
    expect(answer.results.map(({ status }) => status)).to.deep.equal([201, 403, 201]);
    expect((await post([of('a')])).code).to.equal(401);
  });

  it('has in each problem whether it is stored', async () => {
    await start();
    await post([of('a')]);
    await service.stop();
    service = await startService({
      wrapStore: (store) => ({ ...store, commit: () => Promise.reject(new Error('disk full')) }),
    });
    const { code, answer } = await post([of('a'), of('b', [], { drift_count: 7 }), of('c')]);
    expect(code).to.equal(503);
    expect(answer.results.map(({ status, stored }) => [status, stored])).to.deep.equal([
      [503, false],
      [422, undefined],
      [503, false],
    ]);
  });
});
