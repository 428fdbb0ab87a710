import { post } from './post.ts';
import { type Bench, alternate, median, ratioOf, warmUp } from './section.ts';
import { seedFolder } from './seed.ts';
import { startService } from './servers.ts';
import { type Row, perSecond, ratioRow } from './table.ts';

const FEW = 1000;
const MANY = 100_000;

/** Whether a report costs more when many sources are known. */
export async function measureMany(bench: Bench): Promise<Row[]> {
  const { stage, seconds, say } = bench;
  const folder = stage.folder();
  seedFolder(folder, { sources: MANY });
  const many = await startService(stage, folder);
  const few = await startService(stage);
  say('warming up');
  await warmUp((duration) => post(stage, many, duration, MANY));
  await warmUp((duration) => post(stage, few, duration, FEW));
  const figures = await alternate(bench, {
    many: () => post(stage, many, seconds, MANY),
    few: () => post(stage, few, seconds, FEW),
  });
  return [
    ratioRow({
      what: 'POST, 100,000 sources',
      figure: perSecond(median(figures.many)),
      comparedWith: `1,000 sources: ${perSecond(median(figures.few))}`,
      ratio: ratioOf(figures.many, figures.few),
      least: 0.9,
    }),
  ];
}
