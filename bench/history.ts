import { postDuring, timeGet } from './client.ts';
import { type Bench, median, quantile } from './section.ts';
import { nameOf, seedFolder } from './seed.ts';
import { startService } from './servers.ts';
import { type Row, limitRow, ms } from './table.ts';

const SOURCES = 100_000;
const DRIFTS_PER_SOURCE = 10;
const POSTS_PER_SECOND = 200;
const DAY_MS = 24 * 3_600_000;

/** Reads history out of a million drifts while reports come in. Each read asks for another source or repo. */
export async function measureHistory({ stage, rounds, seconds, say }: Bench): Promise<Row[]> {
  const dataDir = stage.folder();
  say('seeding 1,000,000 drifts');
  seedFolder(dataDir, { sources: SOURCES, closedDrifts: DRIFTS_PER_SOURCE });
  await (await startService(stage, dataDir)).stop();
  const { url, startMs } = await startService(stage, dataDir);
  const reads = [
    {
      what: '/history.json, one source, 7 days',
      most: 20,
      path: () => {
        const { repo, server } = randomSource();
        return `/history.json?repo=${repo}&server=${server}&from=${Date.now() - 7 * DAY_MS}`;
      },
    },
    { what: '/files.json, one repo of 100 servers', most: 20, path: () => `/files.json?repo=${randomSource().repo}` },
    { what: '/drifts.json, all, 24 h', most: 300, path: () => `/drifts.json?from=${Date.now() - DAY_MS}` },
  ];

  const rows: Row[] = [];
  for (const { what, most, path } of reads) {
    const medians: number[] = [];
    const postP99s: number[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const reading = readFor(seconds, () => `${url}${path()}`);
      const [times, posts] = await Promise.all([reading, postDuring(reading, url, POSTS_PER_SECOND, SOURCES)]);
      medians.push(median(times));
      postP99s.push(quantile(posts, 0.99));
      say(
        `round ${round}: ${times.length} × ${what}: ${ms(medians.at(-1) ?? 0)}, POST p99 ${ms(postP99s.at(-1) ?? 0)}`,
      );
    }
    rows.push(
      limitRow({ what, figure: median(medians), most, format: ms }),
      limitRow({ what: '  POST p99 meanwhile', figure: median(postP99s), most: 100, format: ms }),
    );
  }
  rows.push(limitRow({ what: 'start with 1,000,000 drifts too', figure: startMs, format: ms }));
  return rows;
}

/** One read after the other. @returns milliseconds */
async function readFor(seconds: number, nextUrl: () => string): Promise<number[]> {
  const end = performance.now() + seconds * 1000;
  const times: number[] = [];
  while (performance.now() < end) times.push(await timeGet(nextUrl()));
  return times;
}

function randomSource(): { repo: string; server: string } {
  return nameOf(Math.floor(Math.random() * SOURCES), SOURCES);
}
