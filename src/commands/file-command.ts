import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { parseConfig } from '../config.ts';
import { ConfigError } from '../core/config-error.ts';

export type FileCommand = {
  /** As in `npm run NAME -- FILE`. */
  readonly name: string;
  readonly usage: string;
  /** What a failure begins with. */
  readonly failed: string;
  /**
   * @param file an absolute path
   * @returns the lines to print
   */
  run(dataDir: string, file: string): Promise<readonly string[]>;
};

/** Runs a program that is given one file: prints what it returns, and ends with 2 for wrong arguments or settings, with 1 when it fails. */
export async function runFileCommand({ name, usage, failed, run }: FileCommand): Promise<void> {
  function exit(code: number, message: string): never {
    process.stderr.write(`gitops-status-server ${name}: ${message}\n`);
    process.exit(code);
  }

  try {
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: { help: { type: 'boolean', short: 'h' } },
    });
    const [file] = positionals;
    if (values.help) {
      process.stdout.write(`${usage}\n`);
      return;
    }
    if (file === undefined || positionals.length > 1) exit(2, usage);
    const lines = await run(parseConfig(process.env).dataDir, resolve(file));
    for (const line of lines) process.stdout.write(`${line}\n`);
  } catch (error) {
    if (error instanceof ConfigError) exit(2, error.problems.join('\n'));
    if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS'))
      exit(2, `${(error as Error).message}\n${usage}`);
    exit(1, `${failed}: ${(error as Error).message}`);
  }
}
