import { expect } from 'chai';
import { Refusal } from '../../src/core/refusal.ts';
import { createQueryGate } from '../../src/http/query-gate.ts';
import { until } from '../fixtures.ts';

describe('queries of the past', () => {
  const never = new AbortController().signal;

  /** A query that runs until it is told to end. */
  function createQuery() {
    const { promise, resolve } = Promise.withResolvers<string>();
    let hasStarted = false;
    return {
      run: () => {
        hasStarted = true;
        return promise;
      },
      end: resolve,
      hasStarted: () => hasStarted,
    };
  }

  it('run a few at a time, in their order', async () => {
    const gate = createQueryGate({ maxRunning: 2 });
    const queries = Array.from({ length: 4 }, createQuery);
    const results = queries.map(({ run }) => gate.run(never, run));
    await until(() => queries[1]?.hasStarted() === true);
    expect(queries.map(({ hasStarted }) => hasStarted())).to.deep.equal([true, true, false, false]);
    queries[1]?.end('second');
    await until(() => queries[2]?.hasStarted() === true);
    expect(queries[3]?.hasStarted()).to.equal(false);
    for (const { end } of queries) end('done');
    expect(await Promise.all(results)).to.deep.equal(['done', 'second', 'done', 'done']);
  });

  it('wait in a bounded line', async () => {
    const gate = createQueryGate({ maxRunning: 1, maxWaiting: 1 });
    const [first, second, third] = [createQuery(), createQuery(), createQuery()];
    const results = [gate.run(never, first.run), gate.run(never, second.run)];
    const refusal = await gate.run(never, third.run).catch((error: unknown) => error);
    expect(refusal).to.be.instanceOf(Refusal).and.to.include({ reason: 'overloaded' });
    first.end('');
    second.end('');
    await Promise.all(results);
    third.end('taken again');
    expect(await gate.run(never, third.run)).to.equal('taken again');
  });

  it('leave the line with their client', async () => {
    const gate = createQueryGate({ maxRunning: 1, maxWaiting: 1 });
    const [first, second, third] = [createQuery(), createQuery(), createQuery()];
    const result = gate.run(never, first.run);
    const leaving = new AbortController();
    const left = gate.run(leaving.signal, second.run).catch((error: unknown) => error);
    const reason = new Error('gone');
    leaving.abort(reason);
    expect(await left).to.equal(reason);
    const next = gate.run(never, third.run);
    first.end('');
    third.end('third');
    expect(await next).to.equal('third');
    expect(second.hasStarted()).to.equal(false);
    await result;
  });

  it('go on after one that fails', async () => {
    const gate = createQueryGate({ maxRunning: 1 });
    const failed = gate.run(never, () => Promise.reject(new Error('broken'))).catch((error: Error) => error.message);
    const next = gate.run(never, () => Promise.resolve('next'));
    expect([await failed, await next]).to.deep.equal(['broken', 'next']);
  });

  it('pause from time to time until none is running, so that the log of the database can be cut back', async () => {
    const gate = createQueryGate({ maxRunning: 2, maxBusyMs: 0 });
    const [first, second] = [createQuery(), createQuery()];
    const results = [gate.run(never, first.run)];
    await until(() => first.hasStarted());
    await until(() => performance.now() % 1 > 0);
    results.push(gate.run(never, second.run));
    await new Promise(setImmediate);
    expect(second.hasStarted()).to.equal(false);
    first.end('');
    second.end('');
    await Promise.all(results);
  });
});
