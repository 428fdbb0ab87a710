import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Running, type Stage, PROJECT, freePort } from './stage.ts';

/** Starts the service as `npm start` does, with its log in a file. */
export async function startService(stage: Stage, dataDir = stage.folder()): Promise<Running> {
  const port = await freePort();
  const { env, args } = parseStart();
  return stage.start({
    name: 'the service',
    program: process.execPath,
    args,
    env: { ...env, PORT: String(port), HOST: '127.0.0.1', DATA_DIR: dataDir },
    port,
    readyPath: '/readyz',
  });
}

/** @param which see `baseline.ts` */
export async function startBaseline(
  stage: Stage,
  which: 'koa' | 'http' | 'net' | 'bytes',
  env: Readonly<Record<string, string>> = {},
): Promise<Running> {
  const port = await freePort();
  return stage.start({
    name: `baseline ${which}`,
    program: process.execPath,
    args: ['bench/baseline.ts', which],
    env: { ...env, PORT: String(port) },
    port,
    readyPath: '/',
  });
}

/** Pushgateway without persistence. */
export async function startPushgateway(stage: Stage, { isChecked }: { isChecked: boolean }): Promise<Running> {
  const port = await freePort();
  const unchecked = isChecked ? [] : ['--push.disable-consistency-check'];
  return stage.start({
    name: 'Pushgateway',
    program: 'prometheus-pushgateway',
    args: [`--web.listen-address=127.0.0.1:${port}`, '--persistence.file=', '--log.level=error', ...unchecked],
    port,
    readyPath: '/-/ready',
  });
}

/** The start script of package.json, taken apart: `NAME=value … exec node arguments …`. */
function parseStart(): { env: Record<string, string>; args: string[] } {
  const { scripts } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as { scripts: { start: string } };
  const words = scripts.start.split(' ');
  const program = words.indexOf('node');
  if (program === -1) throw new Error(`the start script no longer runs node: ${scripts.start}`);
  const assignments = words.slice(0, program).filter((word) => word.includes('='));
  const env = Object.fromEntries(assignments.map((word) => word.split('=', 2) as [string, string]));
  return { env, args: words.slice(program + 1) };
}
