/** The suite of hostile clients: `npm test` runs a part of each load, `npm run test:long` the whole. */
import { expect } from 'chai';
import { seedFolder } from '../../bench/seed.ts';
import { makeFolder } from '../fixtures.ts';
import { type Service, startMain, until } from '../process.ts';
import { type HostileLoad, type Scale, hostileLoads } from './hostile-loads.ts';
import { openMemoryGroup } from './memory-group.ts';

const SOURCES = 10_000;
const MIB = 1_048_576;
/** What may be in use once a load is over, on top of what half a million open drifts take. */
const MAX_BYTES_AFTER = 330 * MIB;

/** @param scaleOf how much of each load */
export function describeHostileClients(
  title: string,
  scaleOf: (load: HostileLoad) => Scale,
  closedDrifts: number,
): void {
  const group = openMemoryGroup();

  describe(`${title}, in ${group.name}`, function () {
    this.timeout(600_000);

    let folder: ReturnType<typeof makeFolder>;
    let service: Service;

    before(async () => {
      folder = makeFolder();
      seedFolder(folder.path, { sources: SOURCES, closedDrifts });
      service = await startMain({ DATA_DIR: folder.path, ...group.env }, group.launcher);
    });
    after(async () => {
      await service?.kill();
      group.remove();
      folder.remove();
    });

    for (const load of hostileLoads) {
      it(`${load.name}: the service goes on, others are answered, and memory comes back`, async () => {
        const others = watchOthers(service);
        await load.run(service.port, scaleOf(load));
        const { answers, slowestMs } = await others.stop();
        expect(answers, 'answers that other clients had').to.be.greaterThan(0);
        const bytes = await memoryBack(service);
        const mib = Math.round(bytes / MIB);
        process.stdout.write(
          `      ${answers} answers for others, slowest ${Math.round(slowestMs)} ms; ${mib} MiB in use\n`,
        );
      });
    }
  });
}

/** Asks for what a probe, a CI job and a person ask for, again and again. An answer that is none fails the test. */
function watchOthers(service: Service): { stop(): Promise<{ answers: number; slowestMs: number }> } {
  const stopping = new AbortController();
  let answers = 0;
  let slowestMs = 0;
  const watching = watch();
  watching.catch(() => {});

  async function watch(): Promise<void> {
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      const health = await fetch(`${service.url}/healthz`);
      expect(health.status, 'a probe meanwhile').to.equal(200);
      await health.arrayBuffer();
      slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      const report = await service.post({ server: 'other', drift_count: 0, files: [], sync_status: 'SYNCED' });
      expect(report.status, `a small report meanwhile: ${await report.text()}`).to.be.oneOf([200, 201]);
      answers += 1;
    }
  }

  return {
    async stop() {
      stopping.abort();
      await watching;
      return { answers, slowestMs };
    },
  };
}

/** Resolves with the bytes in use as soon as they are few enough. */
function memoryBack(service: Service): Promise<number> {
  return until(async () => {
    const text = await (await fetch(`${service.url}/metrics`)).text();
    const value = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
    const bytes = value('nodejs_heap_size_used_bytes') + value('nodejs_external_memory_bytes');
    return bytes < MAX_BYTES_AFTER ? bytes : undefined;
  });
}
