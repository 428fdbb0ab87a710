import { get, send, valueOf } from './client.ts';
import { type Bench, median } from './section.ts';
import { reportBody, seedFolder } from './seed.ts';
import { startService } from './servers.ts';
import { type Row, bytes, limitRow, megabytes } from './table.ts';

const FEW = 1000;
const MANY = 100_000;
const READS = 5;
const CLIENTS = 32;

type Memory = { readonly resident: number; readonly heap: number };

/** The memory that the process shows in `/metrics`, after a warm start and after everything has been read. */
export async function measureMemory(bench: Bench): Promise<Row[]> {
  const few: Memory[] = [];
  const loaded: Memory[] = [];
  const many: Memory[] = [];
  for (let round = 1; round <= bench.rounds; round += 1) {
    for (const sources of [FEW, MANY]) {
      const folder = bench.stage.folder();
      seedFolder(folder, { sources });
      // the first start fills the compile cache for the second
      await (await startService(bench.stage, folder)).stop();
      const service = await startService(bench.stage, folder);
      const settled = await readAll(service.url);
      (sources === FEW ? few : many).push(settled);
      if (sources === FEW) {
        await postMany(service.url, bench.seconds);
        loaded.push(await readAll(service.url));
      }
      bench.say(`round ${round}: ${sources} sources, ${megabytes(settled.resident)}, heap ${megabytes(settled.heap)}`);
      await service.stop();
    }
  }
  const perSource = (kind: keyof Memory): number =>
    median(many.map((memory, round) => (memory[kind] - (few[round]?.[kind] ?? 0)) / (MANY - FEW)));
  const resident = (memories: readonly Memory[]): number => median(memories.map((memory) => memory.resident));
  return [
    limitRow({
      what: 'resident memory, 1,000 sources, after reads',
      figure: resident(few),
      most: 120e6,
      format: megabytes,
    }),
    limitRow({
      what: 'resident memory, 1,000 sources, after a load of reports',
      figure: resident(loaded),
      most: 120e6,
      format: megabytes,
    }),
    limitRow({ what: 'resident memory, 100,000 sources', figure: resident(many), format: megabytes }),
    limitRow({
      what: 'memory per source with two files, resident',
      figure: perSource('resident'),
      most: 3072,
      format: bytes,
    }),
    limitRow({ what: 'memory per source with two files, heap', figure: perSource('heap'), most: 3072, format: bytes }),
  ];
}

/** Reads everything several times, so that all caches are filled. The smallest figure is closest to the memory really in use. */
async function readAll(url: string): Promise<Memory> {
  const seen: Memory[] = [];
  for (let i = 0; i < READS; i += 1) {
    await get(`${url}/status.json`);
    const text = await get(`${url}/metrics`);
    seen.push({
      resident: valueOf(text, 'process_resident_memory_bytes'),
      heap: valueOf(text, 'nodejs_heap_size_used_bytes'),
    });
  }
  return {
    resident: seen.at(-1)?.resident ?? Number.NaN,
    heap: Math.min(...seen.map(({ heap }) => heap)),
  };
}

async function postMany(url: string, seconds: number): Promise<void> {
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let i = client; performance.now() < end; i += CLIENTS) {
        await send(`${url}/api/status`, 'POST', JSON.stringify(reportBody(i % FEW, FEW, i % 2)));
      }
    }),
  );
}
