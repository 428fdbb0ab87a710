import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { parseConfig } from '../config.ts';
import { ConfigError } from '../core/config-error.ts';
import { restoreDatabase } from '../store/sqlite/restore.ts';

const USAGE =
  'usage: npm run restore -- FILE   (makes a copy of FILE the database in DATA_DIR; the service must be stopped.\n' +
  '       What was there is kept in DATA_DIR as gitops-status.db.before-restore-TIME, so the disk needs room for both)';

if (import.meta.main) await main();

async function main(): Promise<void> {
  try {
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: { help: { type: 'boolean', short: 'h' } },
    });
    const [file] = positionals;
    if (values.help) {
      process.stdout.write(`${USAGE}\n`);
      return;
    }
    if (file === undefined || positionals.length > 1) exit(2, USAGE);
    const { database, sources, kept } = await restoreDatabase(
      parseConfig(process.env).dataDir,
      resolve(file),
      new Date(),
    );
    process.stdout.write(`${database}: ${sources} sources, from ${resolve(file)}\n`);
    if (kept.length > 0) process.stdout.write(`kept, until you delete it: ${kept.join(', ')}\n`);
  } catch (error) {
    if (error instanceof ConfigError) exit(2, error.problems.join('\n'));
    if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS'))
      exit(2, `${(error as Error).message}\n${USAGE}`);
    exit(1, `nothing was restored: ${(error as Error).message}`);
  }
}

function exit(code: number, message: string): never {
  process.stderr.write(`gitops-status-server restore: ${message}\n`);
  process.exit(code);
}
