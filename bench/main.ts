/** `npm run bench`: see HELP. */
import { spawnSync } from 'node:child_process';
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureHistory } from './history.ts';
import { measureList } from './list.ts';
import { measureMany } from './many.ts';
import { measureMemory } from './memory.ts';
import { measureMetrics } from './metrics.ts';
import { measurePost } from './post.ts';
import { measureReads } from './reads.ts';
import { type Section, median } from './section.ts';
import { type Stage, createStage } from './stage.ts';
import { measureStart } from './start.ts';
import { type Row, ms, renderTable } from './table.ts';

const SECTIONS: readonly Section[] = [
  { name: 'post', about: 'reports per second, 1,000 sources', needsWrk: true, measure: measurePost },
  { name: 'many', about: 'the same with 100,000 sources', needsWrk: true, measure: measureMany },
  { name: 'list', about: '/status.json, 1,000 sources, unchanged between reads', needsWrk: true, measure: measureList },
  { name: 'metrics', about: 'scrapes, 10,000 sources', needsWrk: true, measure: measureMetrics },
  {
    name: 'reads',
    about: 'who waits while everything is read, 100,000 sources',
    needsWrk: false,
    measure: measureReads,
  },
  { name: 'memory', about: 'of the process and per source', needsWrk: false, measure: measureMemory },
  { name: 'start', about: 'with 100,000 sources', needsWrk: false, measure: measureStart },
  {
    name: 'history',
    about: 'reads of the past, 100,000 sources, 1,000,000 drifts',
    needsWrk: false,
    measure: measureHistory,
  },
];

const HELP = `Measures the service against what it is compared with, on this machine, and prints a table of ratios.

Usage: npm run bench -- [--only NAME,…] [--rounds N] [--seconds N] [--help]

  --only      sections to run; all by default:
${SECTIONS.map(({ name, about }) => `                ${name.padEnd(8)} ${about}`).join('\n')}
  --rounds    how often each measurement is repeated, in turn with its rivals (5); the table shows medians
  --seconds   how long one measured run of a load lasts (5)

It needs wrk and prometheus-pushgateway on PATH; without them it leaves out the rows that do. Use a machine that does nothing else.
`;

const options = parseOptions();
if (options.help) process.stdout.write(HELP);
else {
  const sections = chooseSections(options.only);
  await main(sections, parseCount('rounds', options.rounds), parseCount('seconds', options.seconds));
}

async function main(chosen: readonly Section[], rounds: number, seconds: number): Promise<void> {
  const stage = createStage();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));
  // also after an error
  process.on('exit', () => stage.clear());

  const hasWrk = hasProgram('wrk', 'wrk');
  const hasPushgateway = hasProgram('prometheus-pushgateway', 'prometheus-pushgateway');
  const machine = describeMachine(stage);
  const rows: Row[] = [];
  for (const { name, needsWrk, measure } of chosen) {
    if (needsWrk && !hasWrk) continue;
    const say = (text: string): void => tell(`${name}: ${text}`);
    rows.push(...(await measure({ stage, rounds, seconds, hasPushgateway, say })));
    stage.clear();
  }
  process.stdout.write(`\n${machine}; ${rounds} rounds of ${seconds} s\n\n${renderTable(rows)}`);
}

/** Describes what the figures depend on: the disk, above all for durable writes, and the load of the machine. */
function describeMachine(stage: Stage): string {
  const file = openSync(join(stage.folder(), 'sync'), 'w');
  const times = Array.from({ length: 100 }, () => {
    const startedAt = performance.now();
    writeSync(file, Buffer.alloc(65_536), 0, 65_536, 0);
    fdatasyncSync(file);
    return performance.now() - startedAt;
  });
  closeSync(file);
  const [load = 0] = loadavg();
  return `${cpus()[0]?.model} × ${availableParallelism()}, load ${load.toFixed(1)} before, fdatasync ${ms(median(times))}, Node ${process.version}`;
}

function hasProgram(program: string, debianPackage: string): boolean {
  if (spawnSync(program, ['--version']).error === undefined) return true;
  tell(`Not found: ${program}. What is measured with it is left out. On Debian: apt-get install ${debianPackage}`);
  return false;
}

function tell(text: string): void {
  process.stderr.write(`${text}\n`);
}

function parseOptions() {
  try {
    return parseArgs({
      options: {
        only: { type: 'string' },
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '5' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

function chooseSections(only: string | undefined): readonly Section[] {
  if (only === undefined) return SECTIONS;
  return only.split(',').map((name) => {
    const section = SECTIONS.find((candidate) => candidate.name === name);
    return section ?? refuse(`--only: there is no section ${name}`);
  });
}

function parseCount(name: string, text: string): number {
  const count = Number(text);
  return Number.isInteger(count) && count > 0 ? count : refuse(`--${name} must be a whole number from 1 on`);
}

function refuse(problem: string): never {
  tell(`${problem}. See npm run bench -- --help`);
  process.exit(2);
}
