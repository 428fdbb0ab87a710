import { expect } from 'chai';
import { toIso } from '../../src/core/timestamp.ts';
import { type Store, StoreError } from '../../src/store/store.ts';
import { NOW, type Service, reportBody, reportOf, startService } from '../fixtures.ts';

const LAB = '/api/status/rsyslog/rsyslog-lab';

describe('when the store fails, the service', () => {
  let service: Service;
  let fault: Partial<Store>;

  beforeEach(async () => {
    fault = {};
    service = await startService({ wrapStore: withFault });
    await service.post(reportBody());
  });
  afterEach(() => service.stop());

  /** The real store, save for what `fault` has at the time of the call. */
  function withFault(store: Store): Store {
    return {
      ...store,
      commit: (changes) => (fault.commit ?? store.commit)(changes),
      detail: (...key) => (fault.detail ?? store.detail)(...key),
      ready: () => (fault.ready ?? store.ready)(),
    };
  }

  function breakWrites(): void {
    const fail = (): Promise<never> => Promise.reject(new StoreError('disk I/O error'));
    fault = { commit: fail, ready: fail };
  }

  async function expectUnavailable(response: Response): Promise<string> {
    expect(response.status).to.equal(503);
    expect(response.headers.get('Content-Type')).to.equal('application/problem+json');
    expect(Number(response.headers.get('Retry-After'))).to.be.greaterThan(0);
    return response.text();
  }

  it('gives each waiting report its 503, without what happened inside', async () => {
    breakWrites();
    const reports = [reportOf(['x']), reportOf([], { server: 'new' }), reportOf([], { server: 'newer' })];
    for (const response of await Promise.all(reports.map((report) => service.post(report)))) {
      expect(await expectUnavailable(response)).to.not.contain('I/O');
    }
  });

  it('says of a report that it is not stored, or that nobody knows', async () => {
    breakWrites();
    expect(await (await service.post(reportOf(['x']))).json()).to.include({ stored: false });
    fault = { commit: () => Promise.reject(new StoreError('disk I/O error', { mayBeStored: true })) };
    const problem = (await (await service.post(reportOf(['x']))).json()) as Record<string, unknown>;
    expect(problem).to.include({ stored: 'unknown' });
    expect(problem.detail).to.contain('may still be stored').and.not.contain('I/O');
  });

  it('says so of no other refusal', async () => {
    breakWrites();
    expect(await (await service.post(reportOf(['x'], { drift_count: 7 }))).json()).to.not.have.property('stored');
    expect(await (await service.request('/readyz')).json()).to.not.have.property('stored');
  });

  it('shows what was there before, and answers as before when writes succeed again', async () => {
    const before = (await (await service.request('/status.json')).json()) as Record<string, unknown>[];
    breakWrites();
    await service.post(reportOf(['x']));
    await service.post(reportOf([], { server: 'new' }));
    const refused = [{ ...before[0], last_rejected_at: toIso(NOW) }];
    expect(await (await service.request('/status.json')).json()).to.deep.equal(refused);
    expect((await service.request(LAB)).status).to.equal(200);
    fault = {};
    expect(await (await service.post(reportOf(['x']))).json()).to.deep.include({ result: 'changed', opened: ['x'] });
    expect((await service.post(reportOf([], { server: 'new' }))).status).to.equal(201);
  });

  it('still refuses a wrong report for what is wrong with it', async () => {
    breakWrites();
    expect((await service.post(reportOf(['x'], { drift_count: 7 }))).status).to.equal(422);
  });

  it('still answers a superseded report, which needs no write', async () => {
    breakWrites();
    const response = await service.post(reportBody({ last_check: '2026-04-21T10:00:00Z' }));
    expect(response.status).to.equal(200);
    expect(await response.json()).to.include({ result: 'superseded' });
  });

  it('is not ready, names the reason, and is ready again by itself', async () => {
    breakWrites();
    await service.post(reportOf(['x']));
    expect(await expectUnavailable(await service.request('/readyz'))).to.contain('disk I/O error');
    expect((await service.request('/healthz')).status).to.equal(200);
    fault = {};
    expect((await service.request('/readyz')).status).to.equal(200);
  });

  it('counts and logs it, with the cause and the id of the request', async () => {
    breakWrites();
    await service.post(reportOf(['x']), { 'X-Request-Id': 'mine' });
    const metrics = await (await service.request('/metrics')).text();
    expect(metrics).to.contain('gitops_store_errors_total{operation="commit"} 1\n');
    expect(metrics).to.contain('gitops_reports_rejected_total{reason="store_unavailable"} 1\n');
    const line = service.log.find(({ request_id }) => request_id === 'mine');
    expect(line).to.include({ level: 50, status: 503, reason: 'store_unavailable', server: 'rsyslog-lab' });
    expect(line).to.have.nested.property('err.message', 'disk I/O error');
  });

  it('does not forget a source that it could not delete', async () => {
    breakWrites();
    await expectUnavailable(await service.request(LAB, { method: 'DELETE' }));
    await expectUnavailable(await service.request('/api/status?repo=rsyslog', { method: 'DELETE' }));
    expect(await (await service.request('/status.json')).json()).to.have.lengthOf(1);
  });

  it('shows no internal message in a 500, and logs it under the id that the client is told', async () => {
    fault = { detail: () => Promise.reject(new TypeError('secret is not a function')) };
    const response = await service.request(LAB);
    expect(response.status).to.equal(500);
    const text = await response.text();
    expect(text).to.not.contain('secret');
    const { request_id: id } = JSON.parse(text) as { request_id: string };
    const line = service.log.find(({ request_id, level }) => request_id === id && level === 50);
    expect(line).to.have.nested.property('err.message', 'secret is not a function');
  });
});

describe('when the store does not answer, the service', () => {
  it('gives up on the reports, says what may have become of each, and goes on once it answers', async () => {
    let release: (() => void) | undefined;
    let isStuck = false;
    const service = await startService({
      commitTimeoutMs: 300,
      wrapStore: (store) => ({
        ...store,
        async commit(changes) {
          if (isStuck) await new Promise<void>((resolve) => (release = resolve));
          return store.commit(changes);
        },
      }),
    });
    try {
      isStuck = true;
      const first = await service.post(reportOf(['x']));
      expect(first.status).to.equal(503);
      expect(await first.json())
        .to.include({ stored: 'unknown' })
        .and.property('detail')
        .contains('may still be stored');
      const second = await service.post(reportOf(['y']));
      expect(second.status).to.equal(503);
      expect(await second.json())
        .to.include({ stored: false })
        .and.property('detail')
        .contains('was not stored');
      isStuck = false;
      release?.();
      const third = await service.post(reportOf(['z']));
      expect(await third.json()).to.deep.include({ result: 'changed', opened: ['z'], closed: ['x'] });
    } finally {
      await service.stop();
    }
  });
});
