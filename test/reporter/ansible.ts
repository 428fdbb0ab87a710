import type { Context } from 'mocha';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder, type Outcome, reporter, run } from './run.ts';

/** web1, web2 and db1 are this machine, db2 is one that nobody can reach. */
const INVENTORY = `
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: '{{ ansible_playbook_python }}'
  children:
    web: { hosts: { web1: , web2: } }
    db:
      hosts:
        db1:
        db2: { ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1 }
`;

/**
 * A folder with an inventory of four hosts, and playbooks to check there. Without ansible-playbook the suite is skipped, but never
 * in CI.
 */
export async function openLab(context: Context) {
  await ansiblePython(context);
  const folder = await makeFolder();
  await writeFile(join(folder, 'inventory.yaml'), INVENTORY);
  return {
    folder,
    /** Checks a playbook, given as its text, and prints the reports. */
    async check(playbook: string, args: string[] = [], options: string[] = [], env = {}): Promise<Outcome> {
      await writeFile(join(folder, 'playbook.yaml'), playbook);
      const settings = ['--repo', 'lab', '--dry-run', '--base-dir', folder, ...options];
      return reporter([...settings, 'ansible', '-i', 'inventory.yaml', 'playbook.yaml', ...args], {
        cwd: folder,
        env: { ANSIBLE_PIPELINING: '1', ...env },
      });
    },
    async close() {
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type Lab = Awaited<ReturnType<typeof openLab>>;

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
