import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { get, pollDuring, postDuring, valueOf } from './client.ts';
import type { ReaderOptions, ReaderResult } from './reader.ts';
import { type Bench, median, quantile } from './section.ts';
import { seedFolder } from './seed.ts';
import { startService } from './servers.ts';
import { type Row, limitRow, ms } from './table.ts';

const SOURCES = 100_000;
const POSTS_PER_SECOND = 200;

/** How long a client that reads everything, again and again, keeps others waiting. The first read, the slowest, counts too. */
export async function measureReads({ stage, rounds, seconds, say }: Bench): Promise<Row[]> {
  const dataDir = stage.folder();
  seedFolder(dataDir, { sources: SOURCES, closedDrifts: 2 });
  const { url } = await startService(stage, dataDir);
  const rows: Row[] = [];
  for (const path of ['/metrics', '/status.json']) {
    const loopDelays: number[] = [];
    const healthTimes: number[] = [];
    const postP99s: number[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      // each scrape covers the time since the last one
      await get(`${url}/metrics`);
      const reading = readInThread({ url: `${url}${path}`, seconds });
      const [reader, polls, posts] = await Promise.all([
        reading,
        pollDuring(reading, `${url}/healthz`),
        postDuring(reading, url, POSTS_PER_SECOND, SOURCES),
      ]);
      const last = valueOf(await get(`${url}/metrics`), 'nodejs_eventloop_lag_max_seconds') * 1000;
      loopDelays.push(Math.max(reader.worstLoopDelayMs, last));
      healthTimes.push(Math.max(...polls));
      postP99s.push(quantile(posts, 0.99));
      say(
        `round ${round}: ${reader.reads} × ${path}, loop ${ms(loopDelays.at(-1) ?? 0)}, ` +
          `/healthz ${ms(healthTimes.at(-1) ?? 0)}, POST p99 ${ms(postP99s.at(-1) ?? 0)}`,
      );
    }
    const during = `during ${path}, 100,000 sources`;
    rows.push(
      limitRow({
        what: `event loop held ${during}: worst of all`,
        figure: Math.max(...loopDelays),
        most: 50,
        format: ms,
      }),
      limitRow({ what: '  the same, median of the rounds', figure: median(loopDelays), format: ms }),
      limitRow({ what: '  the same, seen from outside (/healthz)', figure: Math.max(...healthTimes), format: ms }),
      limitRow({ what: `POST p99 ${during}`, figure: median(postP99s), most: 100, format: ms }),
    );
  }
  return rows;
}

async function readInThread(options: ReaderOptions): Promise<ReaderResult> {
  const worker = new Worker(new URL('./reader.ts', import.meta.url), { workerData: options });
  const [result] = (await once(worker, 'message')) as [ReaderResult];
  return result;
}
