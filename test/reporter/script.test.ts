import { expect } from 'chai';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder, reporter, reportsIn, ROOT, run } from './run.ts';

const LIST = ['report', '--from', 'list', '--'];

describe('reporter: update-gitops-status.sh', function () {
  this.timeout(60_000);

  describe('what it reports', () => {
    it('takes repo, commit and URL from Woodpecker', async () => {
      const env = {
        CI: 'woodpecker',
        CI_REPO: 'acme/rsyslog',
        CI_REPO_NAME: 'rsyslog',
        CI_COMMIT_SHA: 'c0ffee',
        CI_PIPELINE_URL: 'https://ci.example.com/repos/1/pipeline/7',
      };
      const [report] = reportsIn(await reporter(['--server', 'web1', '--dry-run', ...LIST, 'true'], { env }));
      expect(report).to.include({
        repo: 'rsyslog',
        server: 'web1',
        sync_status: 'SYNCED',
        commit: 'c0ffee',
        pipeline_url: 'https://ci.example.com/repos/1/pipeline/7',
      });
    });

    it('takes them from GitHub Actions', async () => {
      const env = {
        GITHUB_ACTIONS: 'true',
        GITHUB_REPOSITORY: 'acme/rsyslog',
        GITHUB_SERVER_URL: 'https://github.com',
        GITHUB_RUN_ID: '42',
        GITHUB_SHA: 'c0ffee',
      };
      const [report] = reportsIn(await reporter(['--server', 'web1', '--dry-run', ...LIST, 'true'], { env }));
      expect(report).to.include({
        repo: 'rsyslog',
        commit: 'c0ffee',
        pipeline_url: 'https://github.com/acme/rsyslog/actions/runs/42',
      });
    });

    it('takes them from GitLab', async () => {
      const env = {
        GITLAB_CI: 'true',
        CI_PROJECT_NAME: 'rsyslog',
        CI_COMMIT_SHA: 'c0ffee',
        CI_PIPELINE_URL: 'https://gitlab.example.com/acme/rsyslog/-/pipelines/9',
      };
      const [report] = reportsIn(await reporter(['--server', 'web1', '--dry-run', ...LIST, 'true'], { env }));
      expect(report).to.include({
        repo: 'rsyslog',
        commit: 'c0ffee',
        pipeline_url: 'https://gitlab.example.com/acme/rsyslog/-/pipelines/9',
      });
    });

    it('lets its own variables win over the CI, and options over both', async () => {
      const env = { CI_REPO_NAME: 'ci', GITOPS_REPO: 'own', GITOPS_SERVER: 'own', GITOPS_STALE_AFTER: '90' };
      const args = ['--server', 'option', '--stale-after', '10m', '--dry-run', ...LIST, 'true'];
      const [report] = reportsIn(await reporter(args, { env }));
      expect(report).to.include({ repo: 'own', server: 'option', stale_after_seconds: 600 });
    });

    it('leaves out what it does not know', async () => {
      const [report] = reportsIn(await reporter(['--repo', 'r', '--server', 's', '--dry-run', ...LIST, 'true']));
      expect(report).to.have.all.keys('repo', 'server', 'sync_status', 'drift_count', 'files', 'last_check');
    });

    it('names files relative to the base directory, and others in full', async () => {
      const input = '/etc/rsyslog.conf\n/etc/rsyslog.d/30-lab.conf\n/etcetera\n/opt/x\n';
      for (const base of ['/etc', '/etc/']) {
        const args = ['--repo', 'r', '--server', 's', '--base-dir', base, '--dry-run', 'report', '--from', 'list', '-'];
        const [report] = reportsIn(await reporter(args, { input }));
        expect(report?.files.map((file) => file.name)).to.deep.equal([
          '/etcetera',
          '/opt/x',
          'rsyslog.conf',
          'rsyslog.d/30-lab.conf',
        ]);
      }
    });

    it('dates the report to the begin of the check', async () => {
      const before = Date.now();
      const [report] = reportsIn(await reporter(['--repo', 'r', '--server', 's', '--dry-run', ...LIST, 'sleep', '2']));
      expect(report?.last_check).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      expect(Date.parse(report?.last_check ?? '')).to.be.within(before - 1000, Date.now() - 1900);
    });
  });

  describe('wrong usage', () => {
    const cases: [string, string[], string][] = [
      ['nothing to do', [], 'ansible or report'],
      ['an unknown option', ['--frobnicate'], 'unknown option --frobnicate'],
      ['an option without its value', ['--url'], '--url needs a value'],
      ['no repo', ['--server', 's', ...LIST, 'true'], '--repo'],
      ['no server', ['--repo', 'r', ...LIST, 'true'], '--server'],
      ['no URL', ['--repo', 'r', '--server', 's', ...LIST, 'true'], '--url'],
      ['a URL with a password', ['--url', 'http://u:p@h', '--repo', 'r', '--server', 's', ...LIST, 'true'], '--url'],
      ['an unknown format', ['--repo', 'r', '--server', 's', 'report', '--from', 'tea-leaves'], 'no format'],
      ['no format', ['--repo', 'r', '--server', 's', 'report'], '--from'],
      ['two files', ['--repo', 'r', '--server', 's', 'report', '--from', 'list', 'a', 'b'], 'unexpected argument b'],
      ['no command after --', ['--repo', 'r', '--server', 's', ...LIST], 'needs a command'],
      ['a time without a meaning', ['--stale-after', 'soon', '--repo', 'r', 'ansible'], '--stale-after'],
      ['a timeout of nothing', ['--timeout', '0', '--repo', 'r', 'ansible'], '--timeout'],
      [
        'a token file that is not there',
        ['--url', 'http://h', '--token-file', '/no', '--repo', 'r', 'ansible'],
        'token',
      ],
    ];
    for (const [what, args, message] of cases) {
      it(`exits 2 for ${what}, and says what is wrong`, async () => {
        const outcome = await reporter(args);
        expect(outcome.code).to.equal(2);
        expect(outcome.stderr).to.contain(message);
        expect(outcome.stdout).to.equal('');
      });
    }

    it('--help names every option, variable, format and exit code', async () => {
      const outcome = await reporter(['--help']);
      expect(outcome.code).to.equal(0);
      const script = await readFile(join(ROOT, 'reporter/update-gitops-status.sh'), 'utf8');
      const settings = script.slice(script.indexOf('\nsettings()'), script.indexOf('\nvalidate()'));
      for (const word of new Set(settings.match(/--[a-z]+(-[a-z]+)*(?= [|)]|\))|GITOPS_[A-Z_]+/g))) {
        expect(outcome.stdout).to.contain(word);
      }
      for (const format of ['terraform', 'kubectl', 'git', 'rsync', 'list', 'json']) {
        expect(outcome.stdout).to.contain(format);
      }
    });
  });

  it('takes an adapter of your own, by its path', async () => {
    const folder = await makeFolder();
    try {
      await writeFile(
        join(folder, 'own.jq'),
        'include "evidence"; believed([0]) | [scan("changed: (\\\\S+)") | {name: .[0]}]',
      );
      const args = ['--repo', 'r', '--server', 's', '--dry-run', 'report', '--from', './own.jq', '-'];
      const outcome = await reporter(args, { cwd: folder, input: 'changed: a\nsame: b\nchanged: c\n' });
      expect(reportsIn(outcome)[0]?.files).to.deep.equal([{ name: 'a' }, { name: 'c' }]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('can be called by a symbolic link', async () => {
    const folder = await makeFolder();
    try {
      await mkdir(join(folder, 'bin'));
      await run('ln', ['-s', join(ROOT, 'reporter/update-gitops-status.sh'), join(folder, 'bin/report')]);
      const args = ['--repo', 'r', '--server', 's', '--dry-run', ...LIST, 'true'];
      expect((await run(join(folder, 'bin/report'), args)).stdout).to.contain('"SYNCED"');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('leaves nothing in the folder for temporary files', async () => {
    const folder = await makeFolder();
    try {
      await reporter(['--repo', 'r', '--server', 's', '--dry-run', ...LIST, 'echo', 'a'], { env: { TMPDIR: folder } });
      expect((await run('ls', [folder])).stdout).to.equal('');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('is clean for shellcheck', async () => {
    const outcome = await run('shellcheck', ['reporter/update-gitops-status.sh']);
    expect(outcome).to.deep.equal({ code: 0, stdout: '', stderr: '' });
  });
});
