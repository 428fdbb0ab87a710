/** A constant load of reports that records which ones were acknowledged. */
import { expect } from 'chai';
import { reportOf } from '../fixtures.ts';
import { until } from '../process.ts';

export type Load = {
  /** Resolves after this many more acknowledgements. */
  acknowledged(count: number): Promise<void>;
  /** Stops the load, and resolves when no report is in flight. The load also ends when the service is gone. */
  stop(): Promise<void>;
  /** Numbers of reports. */
  figures(): { readonly acknowledged: number; readonly unanswered: number };
  /**
   * Expects every source to show the last acknowledged report, or a later one whose answer never came.
   * @param rows what `/status.json` shows
   */
  expectKept(rows: readonly Record<string, unknown>[]): void;
};

type Sequence = { sent: number; acknowledged: number };

/**
 * Each source reports one after the other, numbered in `commit`, with other files each time.
 * @param known the load of an earlier process of the service: its record is continued
 */
export function startLoad(
  url: string,
  { connections, sources }: { connections: number; sources: number },
  known: Map<string, Sequence> = new Map(),
): Load & { readonly account: Map<string, Sequence> } {
  let total = 0;
  let unanswered = 0;
  const stopping = new AbortController();
  const workers = Array.from({ length: connections }, (_, worker) => run(worker));

  /** Each worker has its own sources, so that a source never has two reports in flight. */
  async function run(worker: number): Promise<void> {
    while (!stopping.signal.aborted) {
      for (let i = worker; i < sources && !stopping.signal.aborted; i += connections) {
        const server = `server-${i}`;
        const sequence = known.get(server) ?? { sent: 0, acknowledged: 0 };
        known.set(server, sequence);
        sequence.sent += 1;
        if (!(await send(server, sequence.sent))) return;
        sequence.acknowledged = sequence.sent;
        total += 1;
      }
    }
  }

  async function send(server: string, number: number): Promise<boolean> {
    const last = { server, commit: String(number), last_check: new Date().toISOString() };
    try {
      const response = await fetch(`${url}/api/status`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(reportOf(filesOf(number), last)),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${response.status}: ${text}`);
      return true;
    } catch (error) {
      // the service is gone, in the middle of the exchange or before
      if (error instanceof TypeError) {
        unanswered += 1;
        return false;
      }
      throw error;
    }
  }

  return {
    account: known,
    async acknowledged(count) {
      const goal = total + count;
      await Promise.race([until(() => total >= goal || undefined), Promise.all(workers)]);
      expect(total, 'acknowledged').to.be.at.least(goal);
    },
    async stop() {
      stopping.abort();
      await Promise.all(workers);
    },
    figures: () => ({ acknowledged: total, unanswered }),
    expectKept(rows) {
      const byServer = new Map(rows.map((row) => [row.server as string, row]));
      for (const [server, { sent, acknowledged }] of known) {
        const row = byServer.get(server);
        if (row === undefined && acknowledged === 0) continue;
        const number = Number(row?.commit);
        expect(number, `report of ${server}`).to.be.within(Math.max(acknowledged, 1), sent);
        expect(row?.files).to.deep.equal(filesOf(number).map((name) => ({ name })));
      }
    },
  };
}

/** None, one or two of three files. */
function filesOf(number: number): string[] {
  return ['a.conf', 'b.conf', 'c.conf'].slice(number % 4, (number % 4) + 2);
}
