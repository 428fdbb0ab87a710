import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { EXPECTED, ROOT, makeClientFolder, run, startServiceNow } from '../clients/clients.ts';

/** What is downloaded once. */
const CACHE = join(ROOT, 'node_modules/.cache/clients');
const PYTHON_GENERATOR = 'openapi-python-client==0.29.1';
const GO_GENERATOR = 'github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2';

type Language = {
  readonly program: string;
  /** What must be installed, and how to see that it is. */
  readonly needs: readonly [program: string, argument: string, sentence: string];
  /** Generates the client, compiles what can be, and returns the command that runs the program. */
  build(folder: string): Promise<readonly [program: string, ...args: string[]]>;
};

const LANGUAGES: Readonly<Record<string, Language>> = {
  'a Python client, by openapi-python-client': {
    program: 'client.py',
    needs: ['python3', '--version', 'Python 3.11 or newer is needed for this client: apt-get install python3-venv'],
    async build(folder) {
      const bin = join(await installPythonGenerator(), 'bin');
      // its formatters are programs of their own, and not needed
      writeFileSync(join(folder, 'config.json'), '{"post_hooks": []}');
      const args = ['--path', 'openapi.json', '--output-path', 'service', '--meta', 'none', '--config', 'config.json'];
      await run(folder, join(bin, 'openapi-python-client'), ['generate', ...args, '--fail-on-warning']);
      return [join(bin, 'python'), 'client.py'];
    },
  },
  'a Go client, by oapi-codegen': {
    program: 'client.go',
    needs: ['go', 'version', 'Go is needed for this client: see https://go.dev/doc/install'],
    async build(folder) {
      const config = { package: 'main', generate: { client: true, models: true }, output: 'service.gen.go' };
      writeFileSync(join(folder, 'config.yaml'), JSON.stringify(config));
      await run(folder, 'go', ['run', GO_GENERATOR, '-config', 'config.yaml', 'openapi.json']);
      await run(folder, 'go', ['mod', 'init', 'example.org/client']);
      await run(folder, 'go', ['mod', 'tidy']);
      await run(folder, 'go', ['vet', '.']);
      await run(folder, 'go', ['build', '-o', 'client', '.']);
      return [join(folder, 'client')];
    },
  },
};

for (const [name, { program, needs, build }] of Object.entries(LANGUAGES)) {
  describe(name, () => {
    it('is generated without a warning, and posts, lists, reads history and a problem', async () => {
      const [needed, argument, sentence] = needs;
      await run(ROOT, needed, [argument]).catch((error: unknown) => {
        throw new Error(sentence, { cause: error });
      });
      const folder = makeClientFolder(program);
      const service = await startServiceNow();
      try {
        const [command, ...args] = await build(folder.path);
        expect(JSON.parse(await run(folder.path, command, [...args, service.url]))).to.deep.equal(EXPECTED);
      } finally {
        await service.stop();
        folder.remove();
      }
    });
  });
}

/** @returns the folder of the virtual environment that has it */
async function installPythonGenerator(): Promise<string> {
  const folder = join(CACHE, PYTHON_GENERATOR);
  if (existsSync(join(folder, 'bin/openapi-python-client'))) return folder;
  mkdirSync(dirname(folder), { recursive: true });
  await run(ROOT, 'python3', ['-m', 'venv', '--clear', folder]);
  await run(ROOT, join(folder, 'bin/pip'), ['install', '--quiet', PYTHON_GENERATOR]);
  return folder;
}
