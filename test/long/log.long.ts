import { join } from 'node:path';
import { expectEachLine, READ_OUTLETS } from '../e2e/outlets.ts';
import { makeFolder } from '../fixtures.ts';
import { startMainOn } from '../process.ts';

const REPORTS = 50_000;

describe('a log that is read', () => {
  for (const [name, open] of Object.entries(READ_OUTLETS)) {
    it(`loses no line of a burst of ${REPORTS} reports on ${name}`, async () => {
      const folder = makeFolder();
      const outlet = open(folder.path);
      const service = await startMainOn(outlet.stdout, { DATA_DIR: join(folder.path, 'data') });
      outlet.afterStart(service);
      const startedAt = performance.now();
      try {
        await expectEachLine(outlet, service, REPORTS);
        const perSecond = Math.round((1000 * REPORTS) / (performance.now() - startedAt));
        console.log(`      ${name}: ${REPORTS} lines, none lost; ${perSecond} reports a second`);
      } finally {
        await service.kill();
        outlet.close();
        folder.remove();
      }
    });
  }
});
