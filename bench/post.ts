import { ratioOf, median, alternate, type Bench, WARM_UP_SECONDS, warmUp } from './section.ts';
import { startBaseline, startPushgateway, startService } from './servers.ts';
import type { Running, Stage } from './stage.ts';
import { type Row, perSecond, ratioRow } from './table.ts';
import { runWrk } from './wrk.ts';

export const CONNECTIONS = 32;
const SOURCES = 1000;

/** Durable reports per second, against the same framework doing nothing, node:http, and Pushgateway. */
export async function measurePost(bench: Bench): Promise<Row[]> {
  const { stage, seconds, say, hasPushgateway } = bench;
  const ours = await startService(stage);
  const koa = await startBaseline(stage, 'koa');
  const http = await startBaseline(stage, 'http');
  const net = await startBaseline(stage, 'net');
  const unchecked = hasPushgateway ? await startPushgateway(stage, { isChecked: false }) : undefined;
  say('warming up');
  for (const server of [ours, koa, http, net]) await warmUp((duration) => post(stage, server, duration));
  if (unchecked !== undefined) await warmUp((duration) => push(stage, unchecked, duration));

  const figures = await alternate(bench, {
    ours: () => post(stage, ours, seconds),
    koa: () => post(stage, koa, seconds),
    http: () => post(stage, http, seconds),
    ceiling: () => post(stage, net, seconds),
    ...(unchecked && { unchecked: () => push(stage, unchecked, seconds) }),
  });
  await requireChanges(ours);
  const rows = [
    row('the same Koa, empty handler', figures.ours, figures.koa, 0.8),
    row('node:http parsing the same JSON', figures.ours, figures.http, 0.45),
    row("the load generator's ceiling", figures.ours, figures.ceiling),
  ];
  if (figures.unchecked === undefined) return rows;
  rows.push(row('Pushgateway, unchecked', figures.ours, figures.unchecked, 1));

  // last: after the load it is still busy with what was pushed
  const checked = await startPushgateway(stage, { isChecked: true });
  say('warming up the default Pushgateway');
  await push(stage, checked, WARM_UP_SECONDS);
  const last = await alternate(bench, { checked: () => push(stage, checked, seconds) });
  rows.push(row('Pushgateway, default', figures.ours, last.checked, 50));
  return rows;
}

/** @returns reports per second */
export async function post(stage: Stage, { url }: Running, seconds: number, sources = SOURCES): Promise<number> {
  const result = await runWrk(stage, { url, seconds, connections: CONNECTIONS, script: 'report.lua', sources });
  return result.perSecond;
}

async function push(stage: Stage, { url }: Running, seconds: number): Promise<number> {
  const load = { url, seconds, connections: CONNECTIONS, script: 'push.lua', sources: SOURCES } as const;
  return (await runWrk(stage, load)).perSecond;
}

function row(rival: string, ours: readonly number[], theirs: readonly number[], least?: number): Row {
  return ratioRow({
    what: `POST, ${SOURCES.toLocaleString('en')} sources`,
    figure: perSecond(median(ours)),
    comparedWith: `${rival}: ${perSecond(median(theirs))}`,
    ratio: ratioOf(ours, theirs),
    ...(least === undefined ? {} : { least }),
  });
}

/** Fails if the load did not change anything: the table would then be wrong. */
async function requireChanges({ url }: Running): Promise<void> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const count = (result: string): number =>
    Number(new RegExp(`gitops_reports_total\\{result="${result}"\\} (\\d+)`).exec(text)?.[1]);
  const share = count('changed') / (count('changed') + count('unchanged'));
  if (!(share > 0.45 && share < 0.55)) throw new Error(`${share} of the reports changed something, not half`);
}
