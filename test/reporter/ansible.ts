import type { Context } from 'mocha';
import { readFile } from 'node:fs/promises';
import { run } from './run.ts';

/**
 * The Python that runs ansible-playbook, as it alone is sure to find Ansible's classes. Without ansible-playbook the suite is
 * skipped, but never in CI.
 */
export async function ansiblePython(context: Context): Promise<string> {
  const { code, stdout } = await run('sh', ['-c', 'command -v ansible-playbook']);
  if (code !== 0) {
    if (process.env.CI === 'true') throw new Error('ansible-playbook is not installed: apt-get install ansible-core');
    context.skip();
  }
  const [shebang = ''] = (await readFile(stdout.trim(), 'utf8')).split('\n', 1);
  return shebang.replace(/^#!/, '').trim();
}
