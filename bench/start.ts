import { alternate, type Bench, median } from './section.ts';
import { seedFolder } from './seed.ts';
import { startService } from './servers.ts';
import { type Row, limitRow, ms } from './table.ts';

/** From the spawn of the process to the first 200 of `/readyz`. */
export async function measureStart(bench: Bench): Promise<Row[]> {
  const folder = bench.stage.folder();
  seedFolder(folder, { sources: 100_000 });
  const start = async (): Promise<number> => {
    const service = await startService(bench.stage, folder);
    await service.stop();
    return service.startMs;
  };
  await start();
  const { ready } = await alternate(bench, { ready: start });
  return [limitRow({ what: 'start with 100,000 sources', figure: median(ready), most: 3000, format: ms })];
}
