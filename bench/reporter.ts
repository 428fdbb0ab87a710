/**
 * What update-gitops-status.sh adds to a playbook's own time, for 100 files that differ: `node bench/reporter.ts [rounds]`.
 * Runs ansible-playbook --check --diff alone and through the script, by turns, with the real service.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { startService } from '../test/reporter/run.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FILES = 100;

const rounds = Number(process.argv[2] ?? 5);
const folder = await mkdtemp(join(tmpdir(), 'gitops-bench-'));
const service = await startService();
try {
  await writeFile(join(folder, 'inventory'), 'web1 ansible_connection=local\n');
  // many files in few tasks: Ansible's own time varies from run to run and must not hide the difference
  const members = Array.from({ length: FILES }, (_, n) => `${n}.conf`);
  await time('python3', ['-c', ARCHIVE(), ...members]);
  await writeFile(
    join(folder, 'playbook.yaml'),
    '- {hosts: web1, gather_facts: no, tasks: [unarchive: {src: files.zip, dest: "{{ playbook_dir }}/out"}]}\n',
  );
  await time('mkdir', ['out']);

  const playbook = ['-i', 'inventory', 'playbook.yaml'];
  const script = join(ROOT, 'reporter/update-gitops-status.sh');
  const settings = ['--url', service.url, '--repo', 'bench', '--base-dir', join(folder, 'out'), '--with-diff'];
  const alone: number[] = [];
  const reported: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    alone.push(await time('ansible-playbook', ['--check', '--diff', ...playbook]));
    reported.push(await time(script, [...settings, 'ansible', ...playbook]));
  }
  const added = reported.map((ms, round) => ms - (alone[round] ?? 0));
  console.log(`ansible-playbook alone: median ${median(alone)} ms of ${rounds}`);
  console.log(`through the script:     median ${median(reported)} ms`);
  console.log(
    `added for ${FILES} files:     median ${median(added)} ms (${Math.min(...added)} to ${Math.max(...added)})`,
  );
} finally {
  await service.stop();
  await rm(folder, { recursive: true });
}

function ARCHIVE(): string {
  return "import sys, zipfile\nz = zipfile.ZipFile('files.zip', 'w')\nfor name in sys.argv[1:]: z.writestr(name, name)\nz.close()";
}

async function time(program: string, args: string[]): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number];
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit code ${code}`);
  return Math.round(performance.now() - startedAt);
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
