import { join } from 'node:path';
import { type Stage, PROJECT } from './stage.ts';

export type Load = {
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  /** A Lua script of this folder, and how many sources it goes through. Without it: GET of the URL. */
  readonly script?: 'report.lua' | 'push.lua';
  readonly sources?: number;
  readonly headers?: Readonly<Record<string, string>>;
};

export type LoadResult = { readonly requests: number; readonly perSecond: number; readonly medianMs: number };

const UNIT_MS: Record<string, number> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

/** Runs wrk. @throws when a request was not answered, or not with a 2xx */
export async function runWrk(stage: Stage, load: Load): Promise<LoadResult> {
  const { url, seconds, connections, script, sources = 0, headers = {} } = load;
  const output = await stage.run(
    'wrk',
    [
      '--threads=1',
      '--latency',
      '--timeout=30s',
      `--connections=${connections}`,
      `--duration=${seconds}s`,
      ...Object.entries(headers).map(([name, value]) => `--header=${name}: ${value}`),
      ...(script === undefined ? [] : [`--script=${join(PROJECT, 'bench', script)}`]),
      url,
    ],
    { SOURCES: String(sources) },
  );
  if (/Non-2xx|Socket errors/.test(output)) throw new Error(`requests failed:\n${output}`);
  const [, number, unit] = find(output, /50%\s+([\d.]+)([a-z]+)/);
  return {
    requests: Number(find(output, /(\d+) requests in/)[1]),
    perSecond: Number(find(output, /Requests\/sec:\s+([\d.]+)/)[1]),
    medianMs: Number(number) * (UNIT_MS[unit ?? ''] ?? Number.NaN),
  };
}

function find(output: string, pattern: RegExp): RegExpExecArray {
  const found = pattern.exec(output);
  if (found === null) throw new Error(`wrk has not said what was expected:\n${output}`);
  return found;
}
