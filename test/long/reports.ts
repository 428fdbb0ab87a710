/** A load of reports that goes on through refusals, and the ledger of what became of each of them. */
import { setTimeout } from 'node:timers/promises';
import { reportOf } from '../fixtures.ts';
import { until } from '../process.ts';

/** `refused`: answered that it is not stored and never will be. `doubtful`: a 503 that leaves it open. `unanswered`: the service was gone. */
export type Fate = 'sent' | 'acknowledged' | 'refused' | 'doubtful' | 'unanswered';

/** The reports of a source are numbered in `commit`. The moments are the caller's: see `Reports.moment`. */
type Posted = { readonly number: number; readonly sentAt: number; answeredAt: number; fate: Fate };

export type Ledger = {
  /** Notes that the next report of this source is on its way. */
  post(server: string, sentAt: number): Posted;
  /** How many there are of each fate. */
  readonly count: Readonly<Record<Fate, number>>;
  /** What became of a report. */
  settle(posted: Posted, fate: Fate, answeredAt: number): void;
  /**
   * What is wrong with the rows of `/status.json`, in words, where the service has lost all that was not on disk at this moment. Each
   * source must show its last acknowledged report or one that was posted later and not refused.
   */
  faults(rows: readonly Record<string, unknown>[], moment?: number): string[];
  /** From now on these rows count as all that was ever acknowledged. */
  restart(rows: readonly Record<string, unknown>[]): void;
};

export function createLedger(): Ledger {
  const sources = new Map<string, Posted[]>();
  const count: Record<Fate, number> = { sent: 0, acknowledged: 0, refused: 0, doubtful: 0, unanswered: 0 };
  let lastNumber = 0;

  return {
    count,
    post(server, sentAt) {
      lastNumber += 1;
      const posted: Posted = { number: lastNumber, sentAt, answeredAt: Number.POSITIVE_INFINITY, fate: 'sent' };
      const earlier = sources.get(server);
      if (earlier === undefined) sources.set(server, [posted]);
      else earlier.push(posted);
      count.sent += 1;
      return posted;
    },
    settle(posted, fate, answeredAt) {
      Object.assign(posted, { fate, answeredAt });
      count[fate] += 1;
    },
    faults(rows, moment = Number.POSITIVE_INFINITY) {
      const byServer = new Map(rows.map((row) => [row.server as string, row]));
      return [
        ...[...sources].flatMap(([server, posted]) => faultsOf(server, posted, byServer.get(server), moment)),
        ...[...byServer.keys()].filter((server) => !sources.has(server)).map((server) => `${server} was never posted`),
      ];
    },
    restart(rows) {
      sources.clear();
      for (const { server, commit } of rows) {
        const stored: Posted = { number: Number(commit), sentAt: -1, answeredAt: -1, fate: 'acknowledged' };
        sources.set(server as string, [stored]);
      }
    },
  };
}

function faultsOf(
  server: string,
  all: readonly Posted[],
  row: Record<string, unknown> | undefined,
  moment: number,
): string[] {
  const answered = all.filter(({ answeredAt }) => answeredAt <= moment);
  const last = answered.findLast(({ fate }) => fate === 'acknowledged')?.number;
  if (row === undefined) return last === undefined ? [] : [`${server} is lost (last acknowledged: ${last})`];
  const number = Number(row.commit);
  const shown = all.find((posted) => posted.number === number);
  const files = JSON.stringify(filesOf(number).map((name) => ({ name })));
  return [
    ...(shown === undefined || shown.sentAt > moment ? [`${server} shows ${number}, which was not posted`] : []),
    ...(last !== undefined && number < last ? [`${server} shows ${number}, acknowledged was ${last}`] : []),
    ...(shown?.fate === 'refused' && shown.answeredAt <= moment
      ? [`${server} shows ${number}, which was refused`]
      : []),
    ...(JSON.stringify(row.files) === files ? [] : [`${server} shows ${number} with other files`]),
  ];
}

export type Reports = {
  /** Resolves after this many more acknowledgements. */
  acknowledged(count: number): Promise<void>;
  /** Stops the load, and resolves when no report is in flight. The load also ends when the service is gone. */
  stop(): Promise<void>;
};

export type ReportsOptions = {
  readonly connections: number;
  readonly sources: number;
  /** Now, as the ledger is to note it. Anything that grows. */
  readonly moment?: () => number;
  /** Told of each answer at once: its status, and the `stored` of a problem. */
  readonly onAnswer?: (status: number, stored: unknown) => void;
};

/** So that a service that refuses is not drowned in reports. */
const PAUSE_MS = 5;

/** Each source reports one after the other, with other files each time; every third report brings a long diff. */
export function startReports(
  url: string,
  ledger: Ledger,
  { connections, sources, moment = () => performance.now(), onAnswer = () => {} }: ReportsOptions,
): Reports {
  const stopping = new AbortController();
  const workers = Array.from({ length: connections }, (_, worker) => run(worker));

  /** Each worker has its own sources, so that a source never has two reports in flight. */
  async function run(worker: number): Promise<void> {
    while (!stopping.signal.aborted) {
      for (let i = worker; i < sources && !stopping.signal.aborted; i += connections) {
        const server = `server-${i}`;
        const posted = ledger.post(server, moment());
        const fate = await send(server, posted.number);
        ledger.settle(posted, fate, moment());
        if (fate === 'unanswered') return;
        if (fate !== 'acknowledged') await setTimeout(PAUSE_MS);
      }
    }
  }

  async function send(server: string, number: number): Promise<Fate> {
    let response: Response;
    let body: { stored?: unknown };
    try {
      response = await fetch(`${url}/api/status`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(bodyOf(server, number)),
      });
      body = (await response.json()) as { stored?: unknown };
    } catch (error) {
      // the service is gone, in the middle of the exchange or before
      if (error instanceof TypeError) return 'unanswered';
      throw error;
    }
    onAnswer(response.status, body.stored);
    if (response.ok) return 'acknowledged';
    if (response.status !== 503) throw new Error(`${response.status}: ${JSON.stringify(body)}`);
    return body.stored === false ? 'refused' : 'doubtful';
  }

  return {
    async acknowledged(count) {
      const goal = ledger.count.acknowledged + count;
      const isEnough = (): true | undefined => ledger.count.acknowledged >= goal || undefined;
      await Promise.race([until(isEnough), Promise.all(workers)]);
      if (!isEnough()) throw new Error('the service is gone');
    },
    async stop() {
      stopping.abort();
      await Promise.all(workers);
    },
  };
}

function bodyOf(server: string, number: number): Record<string, unknown> {
  const names = filesOf(number);
  const diff = number % 3 === 0 ? `-${String(number).repeat(2000)}` : null;
  return reportOf(names, {
    server,
    commit: String(number),
    last_check: new Date().toISOString(),
    files: names.map((name) => ({ name, diff })),
  });
}

/** None, one or two of three files. */
function filesOf(number: number): string[] {
  return ['a.conf', 'b.conf', 'c.conf'].slice(number % 4, (number % 4) + 2);
}
