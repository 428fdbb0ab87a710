import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { EXPECTED, ROOT, makeClientFolder, run, startServiceNow } from './clients.ts';

const TSCONFIG = {
  compilerOptions: {
    noEmit: true,
    strict: true,
    exactOptionalPropertyTypes: true,
    module: 'nodenext',
    target: 'esnext',
    allowImportingTsExtensions: true,
    types: ['node'],
  },
  files: ['client.ts', 'service.d.ts'],
};

describe('a TypeScript client, by openapi-typescript and openapi-fetch', function () {
  this.timeout(60_000);
  let folder: ReturnType<typeof makeClientFolder>;

  before(async () => {
    folder = makeClientFolder('client.ts');
    symlinkSync(join(ROOT, 'node_modules'), join(folder.path, 'node_modules'));
    writeFileSync(join(folder.path, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder.path, 'tsconfig.json'), JSON.stringify(TSCONFIG));
    const generator = fileURLToPath(new URL('../bin/cli.js', import.meta.resolve('openapi-typescript')));
    const api = join(ROOT, 'test/clients/typescript-api.ts');
    await run(folder.path, process.execPath, ['--import', api, generator, 'openapi.json', '-o', 'service.d.ts']);
  });
  after(() => folder.remove());

  it('is type-checked together with a program that uses it', async () => {
    await run(folder.path, process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc')]);
  });

  it('posts, lists, reads history and a problem', async () => {
    const service = await startServiceNow();
    try {
      const printed = await run(folder.path, process.execPath, ['client.ts', service.url]);
      expect(JSON.parse(printed)).to.deep.equal(EXPECTED);
    } finally {
      await service.stop();
    }
  });
});
