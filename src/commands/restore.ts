import { restoreDatabase } from '../store/sqlite/restore.ts';
import { runFileCommand } from './file-command.ts';

const USAGE =
  'usage: npm run restore -- FILE   (makes a copy of FILE the database in DATA_DIR; the service must be stopped.\n' +
  '       What was there is kept in DATA_DIR as gitops-status.db.before-restore-TIME, so the disk needs room for both)';

if (import.meta.main) {
  await runFileCommand({
    name: 'restore',
    usage: USAGE,
    failed: 'nothing was restored',
    async run(dataDir, file) {
      const { database, sources, kept } = await restoreDatabase(dataDir, file, new Date());
      const done = `${database}: ${sources} sources, from ${file}`;
      return kept.length > 0 ? [done, `kept, until you delete it: ${kept.join(', ')}`] : [done];
    },
  });
}
