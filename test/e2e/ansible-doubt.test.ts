import { expect } from 'chai';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lab, openLab } from '../reporter/ansible.ts';
import { reportsIn, ROOT, run } from '../reporter/run.ts';

describe('e2e: the reporter never takes a failed Ansible run for good news', function () {
  this.timeout(180_000);

  let lab: Lab;
  before(async function () {
    lab = await openLab(this);
  });
  after(async () => lab.close());

  const ping = 'ping: {}';
  const folderOf = 'file: {path: "{{ playbook_dir }}/new", state: directory}';
  const failsOn2 = '{fail: {msg: out of order}, when: inventory_hostname == "web2"}';
  const play = (hosts: string, tasks: string[], more = '') =>
    `- {hosts: ${hosts}, gather_facts: no, ${more} tasks: [${tasks.map((task) => (task.startsWith('{') ? task : `{${task}}`)).join(', ')}]}\n`;

  type Case = {
    what: string;
    playbook: string;
    args?: string[];
    options?: string[];
    /** Default 1: the check failed. */
    code?: 0;
    reported: string[];
    says: (string | RegExp)[];
  };
  const cases: Case[] = [
    {
      what: 'a failed task: its host is named, the others are reported',
      playbook: play('web', [ping, failsOn2, folderOf]),
      reported: ['web1'],
      says: ['web2: not reported: failed: fail: out of order'],
    },
    {
      what: 'a broken task fails on every host',
      playbook: play('web', ['template: {src: nowhere.j2, dest: /tmp/x}']),
      reported: [],
      says: ['web1: not reported: failed: template: ', 'web2: not reported: '],
    },
    {
      what: 'an unreachable host is named, the others are reported',
      playbook: play('db', [ping, folderOf]),
      reported: ['db1'],
      says: [/db2: not reported: unreachable: .*127\.0\.0\.1/],
    },
    {
      what: 'a host whose being unreachable the playbook ignores',
      playbook: play('db', [ping, folderOf], 'ignore_unreachable: yes,'),
      reported: ['db1'],
      says: ['db2: not reported: unreachable: '],
    },
    {
      what: 'a pattern that matches no host',
      playbook: play('nowhere', [ping]),
      reported: [],
      says: ['no host matched the play nowhere', 'nothing is reported: nothing was compared'],
    },
    {
      what: 'a limit that matches no host',
      playbook: play('web', [ping]),
      args: ['--limit', 'nowhere'],
      reported: [],
      says: ['nothing is reported: ansible-playbook (exit code 1) did not come to its end'],
    },
    {
      what: 'a limit: only the hosts within it are reported',
      playbook: play('all', [ping]) + play('db', [ping]),
      args: ['--limit', 'web1'],
      code: 0,
      reported: ['web1'],
      says: ['no host matched the play db'],
    },
    {
      what: 'a play without tasks',
      playbook: '- {hosts: web}\n',
      reported: [],
      says: ['nothing is reported: nothing was compared'],
    },
    {
      what: 'tags that no task has',
      playbook: play('web', [ping, folderOf]),
      args: ['--tags', 'typo'],
      reported: [],
      says: ['nothing is reported: nothing was compared'],
    },
    {
      what: 'tasks that are all left out by a condition',
      playbook: play('web', [`{${folderOf}, when: false}`]),
      reported: [],
      says: ['nothing is reported: nothing was compared'],
    },
    {
      what: 'a host on which nothing was compared, beside others',
      playbook: play('web', [`{${folderOf}, when: inventory_hostname != "web2"}`]),
      code: 0,
      reported: ['web1'],
      says: ['web2: not reported: nothing was compared on it'],
    },
    {
      what: 'only facts and messages',
      playbook: play('web1', ['debug: {msg: hello}', 'set_fact: {a: 1}', 'assert: {that: true}']),
      reported: [],
      says: ['nothing is reported: nothing was compared'],
    },
    {
      what: 'an ignored failure',
      playbook: play('web', [
        ping,
        '{fail: {msg: out of order}, ignore_errors: yes, when: inventory_hostname == "web2"}',
      ]),
      reported: ['web1'],
      says: [/web2: not reported: failed: fail: out of order .*--allow-ignored/],
    },
    {
      what: 'an ignored failure that is accepted is noted',
      playbook: play('web1', [ping, '{fail: {msg: out of order}, ignore_errors: yes}']),
      options: ['--allow-ignored'],
      code: 0,
      reported: ['web1'],
      says: ['web1: failed: fail: out of order (ignored or rescued by the playbook)'],
    },
    {
      what: 'a rescued failure, after which the rest of the block was not looked at',
      playbook: play('web', [`{block: [${failsOn2}, {${folderOf}}], rescue: [{${ping}}]}`]),
      reported: ['web1'],
      says: [/web2: not reported: failed: fail: out of order .*--allow-ignored/],
    },
    {
      what: 'a failure that the playbook wipes away (clear_host_errors)',
      playbook: play('web', [failsOn2, 'meta: clear_host_errors', ping]),
      reported: ['web1'],
      says: ['web2: not reported: failed: fail: out of order'],
    },
    {
      what: 'a module that has no check mode, though no_log hides that',
      playbook: play('web2', [ping, '{assemble: {src: /tmp, dest: /tmp/x}, no_log: yes}']),
      reported: [],
      says: ['web2: not reported: not looked at, its module cannot in check mode: assemble'],
    },
    {
      what: 'any_errors_fatal: nobody came to the end',
      playbook: play('web', [ping, failsOn2, folderOf], 'any_errors_fatal: yes,'),
      reported: [],
      says: ['web1: not reported: its play ended early', 'web2: not reported: failed'],
    },
    {
      what: 'max_fail_percentage: nobody came to the end',
      playbook: play('web', [ping, failsOn2, folderOf], 'max_fail_percentage: 10,'),
      reported: [],
      says: ['web1: not reported: its play ended early', 'web2: not reported: failed'],
    },
    {
      what: 'a run_once task that fails for all',
      playbook: play('web', [ping, '{fail: {msg: out of order}, run_once: yes}', folderOf]),
      reported: [],
      says: ['web1: not reported: failed', 'web2: not reported: its play ended early'],
    },
    {
      what: 'serial: the batches after the failed one, and the plays after that',
      playbook:
        play('"web,db1"', [ping]) + play('"web,db1"', [failsOn2, folderOf], 'serial: 1,') + play('web1', [folderOf]),
      reported: [],
      says: ['db1: not reported: never came to the play web,db1', 'web1: not reported: never came to the play web1'],
    },
    {
      what: 'a role that is not there',
      playbook: play('web', [ping, '{include_role: {name: nowhere}, when: inventory_hostname == "web2"}', folderOf]),
      reported: ['web1'],
      says: ['web2: not reported: '],
    },
    {
      what: 'a handler that fails',
      playbook: `- {hosts: web, gather_facts: no, tasks: [{${folderOf}, notify: h}], handlers: [{name: h, ${failsOn2.slice(1)}]}\n`,
      reported: ['web1'],
      says: ['web2: not reported: failed: h: out of order'],
    },
    {
      what: 'a variable that is not defined',
      playbook: play('web1', ['copy: {content: "{{ nothing }}", dest: /tmp/x}']),
      reported: [],
      says: ["'nothing' is undefined"],
    },
    {
      what: 'an inventory that is not there',
      playbook: play('web', [ping]),
      args: ['-i', 'nowhere.yaml', '--limit', 'nowhere1'],
      reported: [],
      says: ['nothing is reported'],
    },
    {
      what: 'a playbook that cannot be read',
      playbook: 'hosts: [\n',
      reported: [],
      says: [/nothing is reported: ansible-playbook \(exit code [1-9]\d*\)/],
    },
    {
      what: 'only a part of the tasks (--start-at-task)',
      playbook: play('web1', ['{name: first, ping: {}}', '{name: second, ping: {}}']),
      args: ['--start-at-task', 'second'],
      reported: [],
      says: ['nothing is reported: --start-at-task leaves tasks out'],
    },
    {
      what: 'a run that only lists its hosts',
      playbook: play('web1', [ping]),
      args: ['--list-hosts'],
      reported: [],
      says: ['nothing is reported: ansible-playbook (exit code 0) did not come to its end'],
    },
    {
      what: 'a second playbook that never began, as the first failed',
      playbook: play('web', [failsOn2, ping]),
      args: ['playbook.yaml'],
      reported: [],
      says: ['nothing is reported: ansible-playbook did not come to its end (exit code 2)'],
    },
    {
      what: 'a strategy without lockstep',
      playbook: play('web', [failsOn2, ping], 'strategy: free,'),
      reported: ['web1'],
      says: ['web2: not reported: failed'],
    },
  ];
  for (const { what, playbook, args, options, code = 1, reported, says } of cases) {
    it(what, async () => {
      const outcome = await lab.check(playbook, args, options);
      expect(
        reportsIn(outcome).map((report) => report.server),
        outcome.stderr + outcome.stdout,
      ).to.deep.equal(reported);
      for (const text of says) expect(outcome.stderr).to.match(typeof text === 'string' ? literally(text) : text);
      expect(outcome.code).to.equal(code);
    });
  }

  it('end_host and end_play are the playbook’s own word', async () => {
    const outcome = await lab.check(
      play('web', [ping, '{meta: end_host, when: inventory_hostname == "web2"}', ping, 'meta: end_play', folderOf]),
    );
    expect(outcome.code, outcome.stderr).to.equal(0);
    expect(reportsIn(outcome).map((report) => report.sync_status)).to.deep.equal(['SYNCED', 'SYNCED']);
  });

  it('a plugin that cannot be loaded', async () => {
    const broken = join(lab.folder, 'broken');
    await cp(join(ROOT, 'reporter'), broken, { recursive: true });
    await writeFile(join(broken, 'ansible/gitops_reporter/changes.py'), 'this is no Python\n');
    await writeFile(join(lab.folder, 'playbook.yaml'), play('web1', [ping]));
    const script = join(broken, 'update-gitops-status.sh');
    const args = ['--repo', 'lab', '--dry-run', 'ansible', '-i', 'inventory.yaml', 'playbook.yaml'];
    const outcome = await run(script, args, { cwd: lab.folder });
    expect(outcome.code).to.equal(1);
    expect(reportsIn(outcome)).to.deep.equal([]);
    expect(outcome.stderr).to.contain('or could not load the callback plugin');
  });

  it('a plugin that stumbles over one result', async () => {
    const stumbling = join(lab.folder, 'stumbling');
    await cp(join(ROOT, 'reporter'), stumbling, { recursive: true });
    const file = join(stumbling, 'ansible/gitops_reporter/changes.py');
    const source = await readFile(file, 'utf8');
    await writeFile(file, source.replace(/(def changes_of.*\n)/, '$1    if "new" in str(args): raise KeyError("x")\n'));
    await writeFile(join(lab.folder, 'playbook.yaml'), play('web1', [ping, folderOf]));
    const script = join(stumbling, 'update-gitops-status.sh');
    const args = ['--repo', 'lab', '--dry-run', 'ansible', '-i', 'inventory.yaml', 'playbook.yaml'];
    const outcome = await run(script, args, { cwd: lab.folder });
    expect(outcome.code).to.equal(1);
    expect(reportsIn(outcome)).to.deep.equal([]);
    expect(outcome.stderr).to.contain("nothing is reported: the plugin failed in v2_runner_on_ok: KeyError: 'x'");
  });

  it('a run that is killed before its end', async () => {
    const kill = '{command: \'sh -c "kill -9 $(cat {{ playbook_dir }}/pid)"\', check_mode: no}';
    // the run tells its own process id by way of a lookup, which runs in a child of it
    const tell =
      "{set_fact: {pid: \"{{ lookup('pipe', 'ps -o ppid= -p $PPID > ' + playbook_dir + '/pid; cat ' + playbook_dir + '/pid') }}\"}}";
    const outcome = await lab.check(play('web1', [ping, tell, kill, folderOf]));
    expect(outcome.code).to.equal(1);
    expect(reportsIn(outcome)).to.deep.equal([]);
    expect(outcome.stderr).to.contain('ansible-playbook (exit code 137) did not come to its end');
  });
});

function literally(text: string): RegExp {
  return new RegExp(RegExp.escape(text));
}
