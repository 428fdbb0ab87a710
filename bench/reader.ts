/** A thread that reads one URL over and over. It is a thread of its own because receiving megabytes would disturb the measurement. */
import { parentPort, workerData } from 'node:worker_threads';
import { get, valueOf } from './client.ts';

export type ReaderOptions = { readonly url: string; readonly seconds: number };

/** How often the thread read, and the longest event loop delay that the answers reported (0: none did). */
export type ReaderResult = { readonly reads: number; readonly worstLoopDelayMs: number };

const { url, seconds } = workerData as ReaderOptions;
const end = performance.now() + seconds * 1000;
let reads = 0;
let worstLoopDelayMs = 0;
while (performance.now() < end) {
  const text = await get(url);
  reads += 1;
  const delayMs = valueOf(text, 'nodejs_eventloop_lag_max_seconds') * 1000;
  if (delayMs > worstLoopDelayMs) worstLoopDelayMs = delayMs;
}
parentPort?.postMessage({ reads, worstLoopDelayMs } satisfies ReaderResult);
process.exit();
