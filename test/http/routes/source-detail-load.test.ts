import { expect } from 'chai';
import { type Service, reportBody, startService, until } from '../../fixtures.ts';
import { parseAnswer, get, openWire } from '../../wire.ts';

const LAB = '/api/status/rsyslog/rsyslog-lab';
/** At a time, of one client and of all. */
const AT_ONCE = 4;
const AT_ONCE_OF_ALL = 8;
/** Of one client. */
const MAX_WAITING = 500;

describe('one source over HTTP, asked for very often', () => {
  let service: Service;
  let running: number;
  let mostRunning: number;
  let gate: PromiseWithResolvers<void>;

  beforeEach(async () => {
    running = 0;
    mostRunning = 0;
    gate = Promise.withResolvers<void>();
    gate.promise.catch(() => {});
    service = await startService({
      trustedProxies: 1,
      wrapStore: (store) => ({
        ...store,
        async detail(...args: Parameters<typeof store.detail>) {
          running += 1;
          mostRunning = Math.max(mostRunning, running);
          try {
            await gate.promise;
            return await store.detail(...args);
          } finally {
            running -= 1;
          }
        },
      }),
    });
    await service.post(reportBody());
  });
  afterEach(async () => {
    gate.resolve();
    await service.stop();
  });

  async function statusesOf(answers: readonly Promise<Response>[]): Promise<number[]> {
    return Promise.all(answers.map(async (answer) => (await answer).status));
  }

  it('is read a few times at once, and answered each time', async () => {
    const answers = Array.from({ length: 60 }, () => service.request(LAB));
    await until(() => running === AT_ONCE);
    gate.resolve();
    expect(new Set(await statusesOf(answers))).to.deep.equal(new Set([200]));
    expect(mostRunning).to.equal(AT_ONCE);
  });

  it('is read for another client while one has asked too often, and not for very many clients at once', async () => {
    const ask = (client: number): Promise<Response> =>
      service.request(LAB, { headers: { 'X-Forwarded-For': `192.0.2.${client}` } });
    const answers = Array.from({ length: 20 }, () => ask(1));
    await until(() => running === AT_ONCE);
    answers.push(...Array.from({ length: 3 }, () => ask(2)));
    await until(() => running === AT_ONCE + 3);
    answers.push(...Array.from({ length: 20 }, (_, i) => ask(3 + i)));
    await until(() => running === AT_ONCE_OF_ALL);
    // they were asked before, and have not been read when this is answered
    expect((await service.request('/healthz')).status).to.equal(200);
    gate.resolve();
    expect(new Set(await statusesOf(answers))).to.deep.equal(new Set([200]));
    expect(mostRunning).to.equal(AT_ONCE_OF_ALL);
  });

  it('is read on after reads that fail', async () => {
    gate.reject(new Error('no disk'));
    expect(await statusesOf(Array.from({ length: 20 }, () => service.request(LAB)))).to.deep.equal(
      Array.from({ length: 20 }, () => 500),
    );
  });

  it('is not read for a client that has left meanwhile', async () => {
    const first = await Promise.all(Array.from({ length: AT_ONCE }, () => openWire(service.port)));
    for (const wire of first) wire.send(get(LAB));
    await until(() => running === AT_ONCE);
    const left = await Promise.all(Array.from({ length: 10 }, () => openWire(service.port)));
    for (const wire of left) wire.send(get(LAB));
    // those that come after them are answered, so these have been read
    expect((await service.request('/healthz')).status).to.equal(200);
    for (const wire of left) wire.destroy();
    await Promise.all(left.map(({ closed }) => closed));
    expect((await service.request('/healthz')).status).to.equal(200);
    gate.resolve();
    for (const wire of first) await wire.has(/"drift_count":2/);
    expect((await service.request(LAB)).status).to.equal(200);
    expect(mostRunning).to.equal(AT_ONCE);
    for (const wire of first) wire.destroy();
  });

  it('is refused with 503 when too many wait already, and others are not', async () => {
    const wires = await Promise.all(Array.from({ length: AT_ONCE + MAX_WAITING + 1 }, () => openWire(service.port)));
    for (const wire of wires) wire.send(get(LAB));
    await until(() => wires.some((wire) => wire.text().endsWith('}\n')));
    const answered = wires.filter((wire) => wire.text() !== '').map((wire) => parseAnswer(wire.text()));
    expect(answered).to.have.lengthOf(1);
    expect(answered[0]?.status).to.equal(503);
    expect(answered[0]?.problem.reason).to.equal('overloaded');
    expect(answered[0]?.headers.get('retry-after')).to.equal('5');
    expect((await service.request('/status.json')).status).to.equal(200);
    for (const wire of wires) wire.destroy();
  });
});
