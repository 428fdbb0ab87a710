import { expect } from 'chai';
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ansiblePython } from '../reporter/ansible.ts';
import {
  FIXTURES,
  get,
  makeFolder,
  type Outcome,
  type Report,
  reporter,
  reportsIn,
  ROOT,
  run,
  type Service,
  startService,
} from '../reporter/run.ts';

/** web1 to web3 are this machine, db2 is one that nobody can reach. */
const INVENTORY = `
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: '{{ ansible_playbook_python }}'
  children:
    web: { hosts: { web1: , web2: , web3: } }
    db:
      hosts:
        db1:
        db2: { ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1 }
`;

describe('e2e: the reporter with the real ansible-playbook', function () {
  this.timeout(180_000);

  let folder: string;
  before(async function () {
    await ansiblePython(this);
    folder = await makeFolder();
    await writeFile(join(folder, 'inventory.yaml'), INVENTORY);
  });
  after(async () => rm(folder, { recursive: true, force: true }));

  /** Checks a playbook of which the tasks of the plays are given as text. */
  async function check(playbook: string, args: string[] = [], options: string[] = [], env = {}): Promise<Outcome> {
    await writeFile(join(folder, 'playbook.yaml'), playbook);
    const settings = ['--repo', 'lab', '--dry-run', '--base-dir', folder, ...options];
    return reporter([...settings, 'ansible', '-i', 'inventory.yaml', 'playbook.yaml', ...args], {
      cwd: folder,
      env: { ANSIBLE_PIPELINING: '1', ...env },
    });
  }

  describe('the example rsyslog, from deployment to deployment', () => {
    const example = join(ROOT, 'reporter/examples/rsyslog');
    let service: Service;
    let etc: string;
    before(async () => {
      service = await startService();
      etc = join(folder, 'rsyslog-lab/etc');
    });
    after(async () => service.stop());

    async function deploy(): Promise<void> {
      const args = ['-i', 'inventory.yaml', 'playbook.yaml', '-e', `etc=${etc}`];
      const outcome = await run('ansible-playbook', args, { cwd: example });
      expect(outcome.code, outcome.stdout).to.equal(0);
    }

    async function checkAndReport(): Promise<Outcome> {
      const settings = ['--url', service.url, '--repo', 'rsyslog', '--base-dir', etc, '--with-diff'];
      const args = [...settings, 'ansible', '-i', 'inventory.yaml', 'playbook.yaml', '-e', `etc=${etc}`];
      return reporter(args, { cwd: example });
    }

    type Snapshot = { verdict: string; files: { name: string; diff: string }[] };
    const snapshot = async () => get<Snapshot>(service, '/api/status/rsyslog/rsyslog-lab');

    it('is SYNCED after a deployment', async () => {
      await deploy();
      const outcome = await checkAndReport();
      expect(outcome.stderr).to.equal('');
      expect(outcome.code).to.equal(0);
      expect(outcome.stdout).to.contain('rsyslog/rsyslog-lab: SYNCED (created)');
      expect(await snapshot()).to.deep.include({ verdict: 'SYNCED', files: [] });
    });

    it('is OUT_OF_SYNC with exactly the two files that were edited by hand, and their diffs', async () => {
      await writeFile(
        join(etc, 'rsyslog.conf'),
        `${await readFile(join(etc, 'rsyslog.conf'), 'utf8')}*.* /tmp/all.log\n`,
      );
      const lab = await readFile(join(etc, 'rsyslog.d/30-lab.conf'), 'utf8');
      await writeFile(join(etc, 'rsyslog.d/30-lab.conf'), lab.replace('logs.example.com', '192.0.2.7'));
      expect((await checkAndReport()).code).to.equal(0);
      const { verdict, files } = await snapshot();
      expect(verdict).to.equal('OUT_OF_SYNC');
      expect(files.map((file) => file.name)).to.deep.equal(['rsyslog.conf', 'rsyslog.d/30-lab.conf']);
      expect(files[0]?.diff).to.contain('-*.* /tmp/all.log\n');
      expect(files[1]?.diff).to.match(/^-.*192\.0\.2\.7.*\n\+.*logs\.example\.com/m);
    });

    it('shows the readable log of the run all the same', async () => {
      const { stdout } = await checkAndReport();
      expect(stdout)
        .to.contain('TASK [The configuration]')
        .and.to.contain('-*.* /tmp/all.log')
        .and.to.contain('PLAY RECAP');
    });

    it('is SYNCED again after the next deployment, and both drifts are closed', async () => {
      await deploy();
      const outcome = await checkAndReport();
      expect(outcome.stdout).to.contain('rsyslog/rsyslog-lab: SYNCED (changed)');
      const { drifts } = await get<{ drifts: { name: string; closed_at: string | null }[] }>(
        service,
        '/api/status/rsyslog/rsyslog-lab',
      );
      expect(drifts.map((drift) => drift.name)).to.have.members(['rsyslog.conf', 'rsyslog.d/30-lab.conf']);
      expect(drifts.every((drift) => drift.closed_at !== null)).to.equal(true);
    });
  });

  describe('a playbook with every module', () => {
    let target: string;
    let reports: Report[];
    let outcome: Outcome;
    before(async () => {
      target = join(folder, 'target');
      await mkdir(join(target, 'unpacked'), { recursive: true });
      for (const [name, text] of Object.entries({
        'content.txt': 'first\nedited\n',
        mode: '',
        owner: '',
        absent: 'x\n',
        'line.conf': 'port=1\n',
        'block.conf': 'x\n',
        'replace.conf': 'this is wrong\n',
        same: 'as it is\n',
      })) {
        await writeFile(join(target, name), text, { mode: 0o644 });
      }
      await symlink('elsewhere', join(target, 'link'));
      outcome = await everyModule('--allow-unchecked');
      reports = reportsIn(outcome);
    });

    async function everyModule(...options: string[]): Promise<Outcome> {
      const args = ['--repo', 'lab', '--dry-run', '--base-dir', target, '--with-diff', ...options, 'ansible'];
      const cwd = join(FIXTURES, 'ansible/every-module');
      const playbook = [
        '-i',
        join(folder, 'inventory.yaml'),
        '--limit',
        'web1,web2',
        'playbook.yaml',
        '-e',
        `target=${target}`,
      ];
      return reporter([...args, ...playbook], { cwd });
    }

    it('reports exactly what would change, one report for each host', () => {
      expect(outcome.code, outcome.stderr).to.equal(0);
      expect(reports.map((report) => report.server)).to.deep.equal(['web1', 'web2']);
      for (const report of reports) {
        expect(report.files.map((file) => file.name)).to.deep.equal([
          'absent',
          'block.conf',
          'content.txt',
          'copied/',
          'copy.txt',
          'directory',
          'handler.txt',
          'included.txt',
          'line.conf',
          'link',
          'loop "one".txt',
          'loop "two three".txt',
          'loop "żółć".txt',
          'mode',
          'motd',
          'owner',
          'plain.txt',
          'replace.conf',
          'secret-a.txt',
          'secret-b.txt',
          'secret.txt',
          'task: Initialise',
          'template.txt',
          'unpacked/a.txt',
          'unpacked/sub/',
          'unpacked/sub/b.txt',
        ]);
      }
    });

    it('sends the diff of each file, of each host its own', () => {
      const diffs = (server: number) =>
        Object.fromEntries(reports[server]?.files.map((file) => [file.name, file.diff]) ?? []);
      const web1 = diffs(0);
      expect(web1['content.txt']).to.equal('--- before\n+++ after\n@@ -1,2 +1,2 @@\n first\n-edited\n+second\n');
      expect(web1['line.conf']).to.contain('-port=1\n+port=514\n');
      expect(web1['block.conf']).to.contain('+one\n+two\n');
      expect(web1['replace.conf']).to.contain('-this is wrong\n+this is right\n');
      expect(web1.mode).to.contain('+  "mode": "0600"');
      expect(web1.owner).to.contain('+  "owner": 12345');
      expect(web1.absent).to.contain('+  "state": "absent"');
      expect(web1.directory).to.contain('+  "state": "directory"');
      expect(web1.link).to.contain('elsewhere').and.to.contain('copy.txt');
      expect(web1['loop "żółć".txt']).to.contain('+żółć');
      expect(web1['template.txt']).to.contain('+of web1\n');
      expect(diffs(1)['template.txt']).to.contain('+of web2\n');
    });

    it('sends no diff of what has no_log, and its content appears nowhere', () => {
      for (const { files } of reports) {
        for (const file of files.filter(({ name }) => name.startsWith('secret')))
          expect(file).not.to.have.property('diff');
      }
      expect(outcome.stdout + outcome.stderr).not.to.contain('the secret');
    });

    it('says what could not be looked at', () => {
      expect(outcome.stderr).to.contain('web1: not looked at, its module cannot in check mode: Assemble');
      expect(outcome.stderr).to.contain('web1: not run in check mode: Reload');
    });

    it('reports no host of which a file could not be looked at, unless that is accepted', async () => {
      const strict = await everyModule();
      expect(strict.code).to.equal(1);
      expect(reportsIn(strict)).to.deep.equal([]);
      expect(strict.stderr).to.contain('web2: not reported: not looked at, its module cannot in check mode: Assemble');
    });

    it('sends no diffs unless asked to', async () => {
      const quiet = await check(
        '- {hosts: web1, gather_facts: no, tasks: [copy: {content: a, dest: "{{playbook_dir}}/new"}]}',
      );
      expect(reportsIn(quiet)[0]?.files).to.deep.equal([{ name: 'new' }]);
    });
  });

  describe('never good news by accident', () => {
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
      reported: string[];
      says: (string | RegExp)[];
    };
    const cases: Case[] = [
      {
        what: 'a failed task: its host is named, the others are reported',
        playbook: play('web', [ping, failsOn2, folderOf]),
        reported: ['web1', 'web3'],
        says: ['web2: not reported: failed: fail: out of order'],
      },
      {
        what: 'a broken task fails on every host',
        playbook: play('web', ['template: {src: nowhere.j2, dest: /tmp/x}']),
        reported: [],
        says: ['web1: not reported: failed: template: ', 'web3: not reported: '],
      },
      {
        what: 'an unreachable host is named, the others are reported',
        playbook: play('db', [ping, folderOf]),
        reported: ['db1'],
        says: [/db2: not reported: unreachable: .*refused/],
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
        args: ['--limit', 'web3'],
        reported: ['web3'],
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
        reported: ['web1', 'web3'],
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
        reported: ['web1', 'web3'],
        says: [/web2: not reported: failed: fail: out of order .*--allow-ignored/],
      },
      {
        what: 'an ignored failure that is accepted is noted',
        playbook: play('web1', [ping, '{fail: {msg: out of order}, ignore_errors: yes}']),
        options: ['--allow-ignored'],
        reported: ['web1'],
        says: ['web1: failed: fail: out of order (ignored or rescued by the playbook)'],
      },
      {
        what: 'a rescued failure, after which the rest of the block was not looked at',
        playbook: play('web', [`{block: [${failsOn2}, {${folderOf}}], rescue: [{${ping}}]}`]),
        reported: ['web1', 'web3'],
        says: [/web2: not reported: failed: fail: out of order .*--allow-ignored/],
      },
      {
        what: 'a failure that the playbook wipes away (clear_host_errors)',
        playbook: play('web', [failsOn2, 'meta: clear_host_errors', ping]),
        reported: ['web1', 'web3'],
        says: ['web2: not reported: failed: fail: out of order'],
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
        says: ['web1: not reported: failed', 'web3: not reported: its play ended early'],
      },
      {
        what: 'serial: the batches after the failed one, and the plays after that',
        playbook: play('"web,db1"', [ping]) + play('web', [failsOn2, folderOf], 'serial: 1,') + play('db1', [ping]),
        reported: ['web1'],
        says: ['web3: not reported: never came to the play web', 'db1: not reported: never came to the play db1'],
      },
      {
        what: 'a role that is not there',
        playbook: play('web', [ping, '{include_role: {name: nowhere}, when: inventory_hostname == "web2"}', folderOf]),
        reported: ['web1', 'web3'],
        says: ['web2: not reported: '],
      },
      {
        what: 'a handler that fails',
        playbook: `- hosts: web
  gather_facts: no
  tasks: [{${folderOf}, notify: h}]
  handlers: [{name: h, fail: {msg: out of order}, when: inventory_hostname == "web2"}]\n`,
        reported: ['web1', 'web3'],
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
        reported: ['web1', 'web3'],
        says: ['web2: not reported: failed'],
      },
    ];
    for (const { what, playbook, args, options, reported, says } of cases) {
      it(what, async () => {
        const outcome = await check(playbook, args, options);
        expect(
          reportsIn(outcome).map((report) => report.server),
          outcome.stderr + outcome.stdout,
        ).to.deep.equal(reported);
        for (const text of says) expect(outcome.stderr).to.match(typeof text === 'string' ? literally(text) : text);
        // --allow-ignored accepts, a limit asks for less: these are no failed checks
        const isFailure = outcome.stderr.includes('not reported: failed') || reported.length === 0;
        if (isFailure) expect(outcome.code).to.equal(1);
      });
    }

    it('a failed check exits 1, though some hosts are reported', async () => {
      expect((await check(play('web', [ping, failsOn2]))).code).to.equal(1);
      expect((await check(play('db', [ping]))).code).to.equal(1);
      expect((await check(play('web', [ping]))).code).to.equal(0);
    });

    it('end_host and end_play are the playbook’s own word', async () => {
      const outcome = await check(
        play('web', [ping, '{meta: end_host, when: inventory_hostname == "web2"}', ping, 'meta: end_play', folderOf]),
      );
      expect(outcome.code, outcome.stderr).to.equal(0);
      expect(reportsIn(outcome).map((report) => report.sync_status)).to.deep.equal(['SYNCED', 'SYNCED', 'SYNCED']);
    });

    it('a plugin that cannot be loaded', async () => {
      const broken = join(folder, 'broken');
      await cp(join(ROOT, 'reporter'), broken, { recursive: true });
      await writeFile(join(broken, 'ansible/gitops_reporter/changes.py'), 'this is no Python\n');
      await writeFile(join(folder, 'playbook.yaml'), play('web1', [ping]));
      const script = join(broken, 'update-gitops-status.sh');
      const args = ['--repo', 'lab', '--dry-run', 'ansible', '-i', 'inventory.yaml', 'playbook.yaml'];
      const outcome = await run(script, args, { cwd: folder });
      expect(outcome.code).to.equal(1);
      expect(reportsIn(outcome)).to.deep.equal([]);
      expect(outcome.stderr).to.contain('or could not load the callback plugin');
    });

    it('a plugin that stumbles over one result', async () => {
      const stumbling = join(folder, 'stumbling');
      await cp(join(ROOT, 'reporter'), stumbling, { recursive: true });
      const file = join(stumbling, 'ansible/gitops_reporter/changes.py');
      const source = await readFile(file, 'utf8');
      await writeFile(
        file,
        source.replace(/(def changes_of.*\n)/, '$1    if "new" in str(args): raise KeyError("x")\n'),
      );
      await writeFile(join(folder, 'playbook.yaml'), play('web1', [ping, folderOf]));
      const script = join(stumbling, 'update-gitops-status.sh');
      const args = ['--repo', 'lab', '--dry-run', 'ansible', '-i', 'inventory.yaml', 'playbook.yaml'];
      const outcome = await run(script, args, { cwd: folder });
      expect(outcome.code).to.equal(1);
      expect(reportsIn(outcome)).to.deep.equal([]);
      expect(outcome.stderr).to.contain("nothing is reported: the plugin failed in v2_runner_on_ok: KeyError: 'x'");
    });

    it('a run that is killed before its end', async () => {
      const kill = '{command: \'sh -c "kill -9 $(cat {{ playbook_dir }}/pid)"\', check_mode: no}';
      // the run tells its own process id by way of a lookup, which runs in a child of it
      const tell =
        "{set_fact: {pid: \"{{ lookup('pipe', 'ps -o ppid= -p $PPID > ' + playbook_dir + '/pid; cat ' + playbook_dir + '/pid') }}\"}}";
      const outcome = await check(play('web1', [ping, tell, kill, folderOf]));
      expect(outcome.code).to.equal(1);
      expect(reportsIn(outcome)).to.deep.equal([]);
      expect(outcome.stderr).to.contain('ansible-playbook (exit code 137) did not come to its end');
    });
  });

  describe('what the user has set up for Ansible', () => {
    const playbook = '- {hosts: web1, gather_facts: no, tasks: [ping: {}]}\n';
    const plugin = `
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "theirs"
    CALLBACK_NEEDS_ENABLED = True
    def v2_playbook_on_stats(self, stats):
        self._display.display("their plugin ran")
`;
    before(async () => {
      await mkdir(join(folder, 'theirs'), { recursive: true });
      await writeFile(join(folder, 'theirs/theirs.py'), plugin);
    });

    async function expectBoth(env: Record<string, string>): Promise<void> {
      const outcome = await check(playbook, [], [], env);
      expect(outcome.stdout).to.contain('their plugin ran');
      expect(reportsIn(outcome)).to.have.length(1);
    }

    it('keeps callback plugins of the environment', async () => {
      await expectBoth({ ANSIBLE_CALLBACK_PLUGINS: join(folder, 'theirs'), ANSIBLE_CALLBACKS_ENABLED: 'theirs' });
    });

    it('keeps callback plugins of ansible.cfg', async () => {
      await writeFile(join(folder, 'own.cfg'), '[defaults]\ncallback_plugins = theirs\ncallbacks_enabled = theirs\n');
      await expectBoth({ ANSIBLE_CONFIG: join(folder, 'own.cfg') });
    });

    it("keeps callback plugins in Ansible's own folder", async () => {
      const home = join(folder, 'home');
      await mkdir(join(home, '.ansible/plugins'), { recursive: true });
      await cp(join(folder, 'theirs'), join(home, '.ansible/plugins/callback'), { recursive: true });
      await expectBoth({ HOME: home, ANSIBLE_CALLBACKS_ENABLED: 'theirs' });
    });

    it('hides the token from the playbook', async () => {
      const prints = '- {hosts: web1, gather_facts: no, tasks: [{ping: {}}, {command: env, check_mode: no}]}\n';
      const outcome = await check(prints, ['-vvv'], [], { GITOPS_TOKEN: 'a-secret-token' });
      expect(outcome.stdout).to.contain('HOME=');
      expect(outcome.stdout + outcome.stderr).not.to.contain('a-secret-token');
    });
  });

  describe('one host under another name', () => {
    it('reports the only host under the name that is given', async () => {
      const outcome = await check(
        '- {hosts: web1, gather_facts: no, tasks: [ping: {}]}\n',
        [],
        ['--server', 'rsyslog-lab'],
      );
      expect(reportsIn(outcome).map((report) => report.server)).to.deep.equal(['rsyslog-lab']);
    });

    it('does not mix several hosts under one name', async () => {
      const outcome = await check(
        '- {hosts: web, gather_facts: no, tasks: [ping: {}]}\n',
        [],
        ['--server', 'rsyslog-lab'],
      );
      expect(outcome.code).to.equal(1);
      expect(reportsIn(outcome)).to.deep.equal([]);
      expect(outcome.stderr).to.contain('--server rsyslog-lab cannot stand for web1, web2, web3');
    });
  });
});

function literally(text: string): RegExp {
  return new RegExp(RegExp.escape(text));
}
