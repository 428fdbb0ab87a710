import { get, send } from './client.ts';
import { type Bench, alternate, median, ratioOf } from './section.ts';
import { nameOf, seedFolder } from './seed.ts';
import { startPushgateway, startService } from './servers.ts';
import type { Running } from './stage.ts';
import { type Row, limitRow, ms, ratioRow } from './table.ts';
import { runWrk } from './wrk.ts';

const SOURCES = 10_000;

/** One scrape after the other, with every metric filled, against Pushgateway with as many series. */
export async function measureMetrics(bench: Bench): Promise<Row[]> {
  const { stage, seconds, say, hasPushgateway } = bench;
  const dataDir = stage.folder();
  seedFolder(dataDir, { sources: SOURCES, closedDrifts: 2 });
  const ours = await startService(stage, dataDir);
  await refuseOnce(ours);
  const pushgateway = hasPushgateway ? await startPushgateway(stage, { isChecked: false }) : undefined;
  if (pushgateway !== undefined) {
    await runWrk(stage, { url: pushgateway.url, seconds: 5, connections: 32, script: 'push.lua', sources: SOURCES });
  }

  const scrape = async ({ url }: Running, encoding: 'gzip' | 'identity'): Promise<number> => {
    const headers = { 'Accept-Encoding': encoding };
    return (await runWrk(stage, { url: `${url}/metrics`, seconds, connections: 1, headers })).medianMs;
  };
  const contestants = {
    ours: () => scrape(ours, 'identity'),
    oursGzip: () => scrape(ours, 'gzip'),
    ...(pushgateway && {
      pushgateway: () => scrape(pushgateway, 'identity'),
      pushgatewayGzip: () => scrape(pushgateway, 'gzip'),
    }),
  };
  say('warming up');
  for (const run of Object.values(contestants)) await run();
  const figures = await alternate(bench, contestants);
  const series = await countSeries(ours);
  const what = `/metrics, ${SOURCES.toLocaleString('en')} sources, ${series.toLocaleString('en')} series`;
  if (pushgateway === undefined || figures.pushgateway === undefined || figures.pushgatewayGzip === undefined) {
    return [limitRow({ what, figure: median(figures.ours), format: ms })];
  }
  const theirs = `Pushgateway, ${(await countSeries(pushgateway)).toLocaleString('en')} series`;
  return [
    ratioRow({
      what,
      figure: ms(median(figures.ours)),
      comparedWith: `${theirs}: ${ms(median(figures.pushgateway))}`,
      ratio: ratioOf(figures.pushgateway, figures.ours),
      least: 8,
    }),
    ratioRow({
      what: 'the same, gzip',
      figure: ms(median(figures.oursGzip)),
      comparedWith: `Pushgateway, gzip: ${ms(median(figures.pushgatewayGzip))}`,
      ratio: ratioOf(figures.pushgatewayGzip, figures.oursGzip),
    }),
  ];
}

/** `gitops_last_rejected_timestamp_seconds` has a series only for sources of which a report was refused. */
async function refuseOnce({ url }: Running): Promise<void> {
  for (let i = 0; i < SOURCES; i += 1) {
    const { status } = await send(`${url}/api/status`, 'POST', JSON.stringify(nameOf(i, SOURCES)));
    if (status !== 422) throw new Error(`a report without content was answered ${status}`);
  }
}

async function countSeries({ url }: Running): Promise<number> {
  return (await get(`${url}/metrics`)).split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
}
