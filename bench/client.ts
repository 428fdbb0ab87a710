/** A small client that measures from outside what the load generator cannot. */
import { Agent, request } from 'node:http';
import { reportBody } from './seed.ts';

export type Answer = {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly text: string;
};

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/** Resolves with the whole answer, whatever its status. */
export function send(url: string, method = 'GET', body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers =
      body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const sent = request(url, { agent, method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** @throws unless it is 200 */
export async function get(url: string): Promise<string> {
  const { status, text } = await send(url);
  if (status !== 200) throw new Error(`${url} answered ${status}: ${text.slice(0, 500)}`);
  return text;
}

/** The value of a metric without labels. */
export function valueOf(metrics: string, name: string): number {
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1]);
}

/** How long one GET takes until the answer is complete, in milliseconds. */
export async function timeGet(url: string): Promise<number> {
  const startedAt = performance.now();
  await get(url);
  return performance.now() - startedAt;
}

/**
 * Posts reports at a fixed rate until the work is done, however slowly they are answered. Each is timed from when it was due, so that a
 * server that stalls pays for every report that was due meanwhile.
 * @returns milliseconds, one per report
 */
export async function postDuring(
  work: Promise<unknown>,
  url: string,
  rate: number,
  sources: number,
): Promise<number[]> {
  const startedAt = performance.now();
  const answers: Promise<number>[] = [];
  const timer = setInterval(() => {
    const due = ((performance.now() - startedAt) / 1000) * rate;
    while (answers.length < due) answers.push(post(startedAt + (answers.length / rate) * 1000));
  }, 2);
  await work.finally(() => clearInterval(timer));
  return Promise.all(answers);

  async function post(dueAt: number): Promise<number> {
    const report = reportBody(Math.floor(Math.random() * sources), sources, Math.random() < 0.5 ? 0 : 1);
    const { status, text } = await send(`${url}/api/status`, 'POST', JSON.stringify(report));
    if (status !== 200) throw new Error(`a report was answered ${status}: ${text}`);
    return performance.now() - dueAt;
  }
}

/** Asks again and again, 5 ms after the last answer, until the work is done. @returns milliseconds, one per answer */
export async function pollDuring(work: Promise<unknown>, url: string): Promise<number[]> {
  const times: number[] = [];
  const done = new AbortController();
  const ended = work.finally(() => done.abort());
  while (!done.signal.aborted) {
    times.push(await timeGet(url));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await ended;
  return times;
}
