import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { send } from './client.ts';
import { CONNECTIONS } from './post.ts';
import { type Bench, alternate, median, ratioOf } from './section.ts';
import { seedFolder } from './seed.ts';
import { startBaseline, startService } from './servers.ts';
import type { Running } from './stage.ts';
import { type Row, perSecond, ratioRow } from './table.ts';
import { runWrk } from './wrk.ts';

/** Node's own, which the baseline adds by itself. */
const OWN_HEADERS = new Set(['connection', 'keep-alive', 'date', 'transfer-encoding', 'content-length']);

/** `/status.json`, unchanged between reads, against node:http sending the same bytes with the same headers. */
export async function measureList(bench: Bench): Promise<Row[]> {
  const { stage, seconds, say } = bench;
  const dataDir = stage.folder();
  seedFolder(dataDir, { sources: 1000 });
  const ours = await startService(stage, dataDir);
  const answer = await send(`${ours.url}/status.json`);
  const body = join(stage.folder(), 'body');
  writeFileSync(body, answer.text);
  const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !OWN_HEADERS.has(name)));
  const baseline = await startBaseline(stage, 'bytes', { BODY: body, HEADERS: JSON.stringify(headers) });

  const read = async ({ url }: Running): Promise<number> =>
    (await runWrk(stage, { url: `${url}/status.json`, seconds, connections: CONNECTIONS })).perSecond;
  say(`warming up, ${answer.text.length} bytes`);
  for (const server of [ours, baseline]) await read(server);
  const figures = await alternate(bench, { ours: () => read(ours), bytes: () => read(baseline) });
  return [
    ratioRow({
      what: 'GET /status.json, 1,000 sources',
      figure: perSecond(median(figures.ours)),
      comparedWith: `node:http, same bytes: ${perSecond(median(figures.bytes))}`,
      ratio: ratioOf(figures.ours, figures.bytes),
      least: 0.7,
    }),
  ];
}
