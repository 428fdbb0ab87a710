/** Clients in other languages: each is generated from `/openapi.json`, and a program of `test/fixtures/clients` uses it. */
import { execFile } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { renderOpenApi } from '../../src/http/openapi.ts';
import { type Service, createClock, makeFolder, startService } from '../fixtures.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PATIENCE_MS = 600_000;

/** What each of the programs prints, against a service without sources. */
export const EXPECTED = {
  created: 'created',
  previous: null,
  results: [200, 201],
  listed: ['web-1 OUT_OF_SYNC', 'web-2 OUT_OF_SYNC'],
  diff: '-a\n+b\n',
  states: [1],
  counted: 2,
  refused: 'invalid',
  pointers: ['/drift_count'],
};

/** A folder with `openapi.json` and one of the programs in it. */
export function makeClientFolder(program: string): ReturnType<typeof makeFolder> {
  const folder = makeFolder();
  writeFileSync(join(folder.path, 'openapi.json'), renderOpenApi('1.2.3', undefined));
  cpSync(join(ROOT, 'test/fixtures/clients', program), join(folder.path, program));
  return folder;
}

/** Starts a service for a program, which reports at the time that it is. */
export function startServiceNow(): Promise<Service> {
  return startService({ clock: createClock(Date.now()) });
}

/**
 * Runs a program in `cwd`.
 * @returns what it printed
 * @throws {Error} with what it said, where it fails
 */
export async function run(cwd: string, program: string, args: readonly string[], env = {}): Promise<string> {
  try {
    const options = { cwd, timeout: PATIENCE_MS, maxBuffer: 67_108_864, env: { ...process.env, ...env } };
    return (await promisify(execFile)(program, args, options)).stdout;
  } catch (error) {
    const { stdout = '', stderr = '', code } = error as { stdout?: string; stderr?: string; code?: unknown };
    throw new Error(`${program} ${args.join(' ')}: ${String(code)}\n${stdout}${stderr}`, { cause: error });
  }
}
