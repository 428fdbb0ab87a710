import { expect } from 'chai';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lab, openLab } from '../reporter/ansible.ts';
import {
  FIXTURES,
  get,
  type Outcome,
  type Report,
  reporter,
  reportsIn,
  ROOT,
  run,
  type Service,
  startService,
} from '../reporter/run.ts';

describe('e2e: the reporter with the real ansible-playbook', function () {
  this.timeout(180_000);

  let lab: Lab;
  before(async function () {
    lab = await openLab(this);
  });
  after(async () => lab.close());

  describe('the example rsyslog, from deployment to deployment', () => {
    const example = join(ROOT, 'reporter/examples/rsyslog');
    let service: Service;
    let etc: string;
    before(async () => {
      service = await startService();
      etc = join(lab.folder, 'rsyslog-lab/etc');
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
      const text = await readFile(join(etc, 'rsyslog.d/30-lab.conf'), 'utf8');
      await writeFile(join(etc, 'rsyslog.d/30-lab.conf'), text.replace('logs.example.com', '192.0.2.7'));
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
      target = join(lab.folder, 'target');
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
        join(lab.folder, 'inventory.yaml'),
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
      const quiet = await lab.check(
        '- {hosts: web1, gather_facts: no, tasks: [copy: {content: a, dest: "{{playbook_dir}}/new"}]}',
      );
      expect(reportsIn(quiet)[0]?.files).to.deep.equal([{ name: 'new' }]);
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
      await mkdir(join(lab.folder, 'theirs'), { recursive: true });
      await writeFile(join(lab.folder, 'theirs/theirs.py'), plugin);
    });

    async function expectBoth(env: Record<string, string>): Promise<void> {
      const outcome = await lab.check(playbook, [], [], env);
      expect(outcome.stdout).to.contain('their plugin ran');
      expect(reportsIn(outcome)).to.have.length(1);
    }

    it('keeps callback plugins of the environment', async () => {
      await expectBoth({ ANSIBLE_CALLBACK_PLUGINS: join(lab.folder, 'theirs'), ANSIBLE_CALLBACKS_ENABLED: 'theirs' });
    });

    it('keeps callback plugins of ansible.cfg', async () => {
      await writeFile(
        join(lab.folder, 'own.cfg'),
        '[defaults]\ncallback_plugins = theirs\ncallbacks_enabled = theirs\n',
      );
      await expectBoth({ ANSIBLE_CONFIG: join(lab.folder, 'own.cfg') });
    });

    it("keeps callback plugins in Ansible's own folder", async () => {
      const home = join(lab.folder, 'home');
      await mkdir(join(home, '.ansible/plugins'), { recursive: true });
      await cp(join(lab.folder, 'theirs'), join(home, '.ansible/plugins/callback'), { recursive: true });
      await expectBoth({ HOME: home, ANSIBLE_CALLBACKS_ENABLED: 'theirs' });
    });

    it('hides the token from the playbook', async () => {
      const prints = '- {hosts: web1, gather_facts: no, tasks: [{ping: {}}, {command: env, check_mode: no}]}\n';
      const outcome = await lab.check(prints, ['-vvv'], [], { GITOPS_TOKEN: 'a-secret-token' });
      expect(outcome.stdout).to.contain('HOME=');
      expect(outcome.stdout + outcome.stderr).not.to.contain('a-secret-token');
    });
  });

  describe('one host under another name', () => {
    it('reports the only host under the name that is given', async () => {
      const outcome = await lab.check(
        '- {hosts: web1, gather_facts: no, tasks: [ping: {}]}\n',
        [],
        ['--server', 'rsyslog-lab'],
      );
      expect(reportsIn(outcome).map((report) => report.server)).to.deep.equal(['rsyslog-lab']);
    });

    it('does not mix several hosts under one name', async () => {
      const outcome = await lab.check(
        '- {hosts: web, gather_facts: no, tasks: [ping: {}]}\n',
        [],
        ['--server', 'rsyslog-lab'],
      );
      expect(outcome.code).to.equal(1);
      expect(reportsIn(outcome)).to.deep.equal([]);
      expect(outcome.stderr).to.contain('--server rsyslog-lab cannot stand for web1, web2');
    });
  });
});
