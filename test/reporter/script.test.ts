import { expect } from 'chai';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { get, makeFolder, reporter, reportsIn, ROOT, run, type Service, startService, startStub } from './run.ts';

const TOKEN = 'a-very/secret+token=';
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

  describe('against the real service', () => {
    let service: Service;
    before(async () => {
      service = await startService({ MAX_BODY_BYTES: '2000000' });
    });
    after(async () => service.stop());

    async function report(server: string, names: unknown[], ...options: string[]) {
      const args = ['--url', service.url, '--repo', 'lab', '--server', server, ...options, 'report', '--from', 'json'];
      return reporter(args, { input: JSON.stringify(names) });
    }

    it('reports, and prints the names that differ and what the service made of it', async () => {
      const first = await report('web1', [{ name: 'a' }, { name: 'b' }]);
      expect(first).to.deep.equal({
        code: 0,
        stdout: 'lab/web1: OUT_OF_SYNC, 2 differ (created)\n  a\n  b\n',
        stderr: '',
      });
      const second = await report('web1', []);
      expect(second).to.deep.equal({ code: 0, stdout: 'lab/web1: SYNCED (changed)\n', stderr: '' });
    });

    it('takes a URL with /api/status too', async () => {
      const args = ['--url', `${service.url}/api/status`, '--repo', 'lab', '--server', 'full-url', ...LIST, 'true'];
      expect((await reporter(args)).stdout).to.equal('lab/full-url: SYNCED (created)\n');
    });

    it('exits 3 with --fail-on-drift when something differs, and 0 when nothing does', async () => {
      expect((await report('web2', [{ name: 'a' }], '--fail-on-drift')).code).to.equal(3);
      expect((await report('web2', [], '--fail-on-drift')).code).to.equal(0);
    });

    it('keeps names with blanks, quotes and letters of any script, and makes line breaks visible', async () => {
      const names = ['a "b"', "it's", '日本 żółć', String.raw`back\slash`, '$(reboot) `x`', '-n', '<b>&amp;'];
      const outcome = await report(
        'names',
        [...names, 'line\nbreak\t\u0085'].map((name) => ({ name })),
      );
      expect(outcome.code).to.equal(0);
      const { files } = await get<{ files: { name: string }[] }>(service, '/api/status/lab/names');
      expect(files.map((file) => file.name)).to.have.members([...names, String.raw`line\nbreak\t\x85`]);
    });

    it('names a file once however often it is given, and shortens what is too long', async () => {
      const outcome = await report('twice', [{ name: 'a' }, { name: 'a' }, { name: 'x'.repeat(3000) }]);
      expect(outcome.stdout).to.contain('OUT_OF_SYNC, 2 differ');
    });

    it('reports 5,000 files with their diffs', async () => {
      const many = Array.from({ length: 5000 }, (_, n) => ({
        name: `/etc/some/folder/${n}.conf`,
        diff: `-${n}\n+${n + 1}\n`,
      }));
      const outcome = await report('many', many, '--with-diff', '--base-dir', '/etc');
      expect(outcome.code).to.equal(0);
      expect(outcome.stdout).to.contain('5000 differ').and.to.contain('and 4950 more');
      const { files } = await get<{ files: { name: string; diff: string }[] }>(service, '/api/status/lab/many');
      expect(files).to.have.length(5000);
      expect(files.find((file) => file.name === 'some/folder/4999.conf')?.diff).to.equal('-4999\n+5000\n');
    });

    it('cuts a diff of 10 MB at a line, by the rules of the report', async () => {
      const outcome = await report('huge', [{ name: 'a', diff: '+żółć "quoted"\n'.repeat(530_000) }], '--with-diff');
      expect(outcome.code).to.equal(0);
      const { files } = await get<{ files: { diff: string }[] }>(service, '/api/status/lab/huge');
      const diff = files[0]?.diff ?? '';
      expect(Buffer.byteLength(diff)).to.be.within(16_000, 16_384);
      expect(diff).to.match(/^(\+żółć "quoted"\n)+\[cut: \d+ more bytes\]\n$/u);
      const whole = 530_000 * Buffer.byteLength('+żółć "quoted"\n');
      expect(Number(/cut: (\d+)/.exec(diff)?.[1])).to.equal(whole - Buffer.byteLength(diff.replace(/\[cut.*\n/, '')));
    });

    it('shortens many long diffs until the report fits into the mebibyte that the service takes', async () => {
      const many = Array.from({ length: 300 }, (_, n) => ({ name: `${n}`, diff: `+"${n}"\t\n`.repeat(3000) }));
      const args = [
        '--url',
        service.url,
        '--repo',
        'lab',
        '--server',
        's',
        '--with-diff',
        '--dry-run',
        'report',
        '--from',
        'json',
      ];
      const { stdout } = await reporter(args, { input: JSON.stringify(many) });
      expect(Buffer.byteLength(stdout)).to.be.within(300_000, 1_048_576);
      const [short] = reportsIn({ code: 0, stdout, stderr: '' });
      expect(short?.files.every((file) => file.diff?.endsWith(' more bytes]\n'))).to.equal(true);
    });

    it('sends no diffs unless asked to', async () => {
      await report('quiet', [{ name: 'a', diff: '+secret\n' }]);
      expect(JSON.stringify(await get(service, '/api/status/lab/quiet'))).not.to.contain('secret');
    });

    it('says so when the service has a newer report', async () => {
      const later = new Date(Date.now() + 200_000).toISOString();
      const body = { repo: 'lab', server: 'late', sync_status: 'SYNCED', drift_count: 0, files: [], last_check: later };
      await fetch(`${service.url}/api/status`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(await report('late', [{ name: 'a' }])).to.include({
        code: 0,
        stdout: 'lab/late: OUT_OF_SYNC, 1 differ, but the service has a newer report already\n  a\n',
      });
    });

    it('exits 4 with every broken rule when the report is refused (422)', async () => {
      const outcome = await report('not a name', [], '--commit', 'what is this');
      expect(outcome.code).to.equal(4);
      expect(outcome.stderr).to.match(/lab\/not a name: not reported: http.*\/api\/status answered 422\n/);
      expect(outcome.stderr).to.match(/\/server: must be .*\n/);
      expect(outcome.stderr).to.match(/\/commit: must be .*\n/);
      expect(outcome.stdout).to.equal('');
    });

    it('exits 4 when the report is too large for the service (413)', async () => {
      const small = await startService({ MAX_BODY_BYTES: '1024' });
      try {
        const names = Array.from({ length: 200 }, (_, n) => `${n}`).join('\n');
        const args = ['--url', small.url, '--repo', 'lab', '--server', 's', 'report', '--from', 'list', '-'];
        const outcome = await reporter(args, { input: names });
        expect(outcome.code).to.equal(4);
        expect(outcome.stderr).to.match(/answered 413\n.*too large: .*MAX_BODY_BYTES/s);
      } finally {
        await small.stop();
      }
    });
  });

  describe('a service that does not take the report', () => {
    const report = ['--repo', 'lab', '--server', 'web1', ...LIST, 'echo', 'a'];

    it('exits 4 when nobody listens', async () => {
      const outcome = await reporter(['--url', 'http://127.0.0.1:1', ...report]);
      expect(outcome.code).to.equal(4);
      expect(outcome.stderr).to.match(
        /lab\/web1: not reported: no answer from http:\/\/127\.0\.0\.1:1\/api\/status.*127\.0\.0\.1/,
      );
    });

    it('exits 4 when the service hangs for longer than the timeout', async () => {
      const service = await startStub(() => {});
      try {
        const outcome = await reporter(['--url', service.url, '--timeout', '1', ...report]);
        expect(outcome.code).to.equal(4);
        expect(outcome.stderr).to.match(/no answer from .* within 1 s: .*timed out/);
      } finally {
        await service.stop();
      }
    });

    it('exits 4 and shows the reason when it knows no such token (401)', async () => {
      const service = await startStub((_, response) => {
        response.writeHead(401, { 'content-type': 'application/problem+json' });
        response.end('{"type":"about:blank","title":"Unauthorized","status":401,"detail":"this needs a token"}');
      });
      try {
        const outcome = await reporter(['--url', service.url, ...report]);
        expect(outcome.code).to.equal(4);
        expect(outcome.stderr).to.contain('answered 401').and.to.contain('Unauthorized: this needs a token');
      } finally {
        await service.stop();
      }
    });

    it('takes no success of somebody else for a receipt', async () => {
      const service = await startStub((_, response) => response.end('<h1>Welcome\u001b[2J</h1>'));
      try {
        const outcome = await reporter(['--url', service.url, ...report]);
        expect(outcome.code).to.equal(4);
        expect(outcome.stderr)
          .to.contain('not reported')
          .and.to.contain('answered 200')
          .and.to.contain('<h1>Welcome[2J</h1>');
      } finally {
        await service.stop();
      }
    });

    it('exits 1 when the check fails, whatever the service would say', async () => {
      const outcome = await reporter(['--url', 'http://127.0.0.1:1', '--repo', 'r', '--server', 's', ...LIST, 'false']);
      expect(outcome.code).to.equal(1);
    });
  });

  describe('the token', () => {
    const seen: (string | undefined)[] = [];
    let service: Service;
    before(async () => {
      service = await startStub((request, response) => {
        seen.push(request.headers.authorization);
        response.end('{"result":"created"}');
      });
    });
    after(async () => service.stop());
    beforeEach(() => seen.splice(0));

    it('is sent as a bearer token, from the environment', async () => {
      const args = ['--url', service.url, '--repo', 'r', '--server', 's', ...LIST, 'true'];
      expect((await reporter(args, { env: { GITOPS_TOKEN: TOKEN } })).code).to.equal(0);
      expect(seen).to.deep.equal([`Bearer ${TOKEN}`]);
    });

    it('is sent from a file, without the line break at its end', async () => {
      const folder = await makeFolder();
      try {
        const file = join(folder, 'token');
        await writeFile(file, `${TOKEN}\n`);
        const args = ['--url', service.url, '--token-file', file, '--repo', 'r', '--server', 's', ...LIST, 'true'];
        expect((await reporter(args)).code).to.equal(0);
        expect(seen).to.deep.equal([`Bearer ${TOKEN}`]);
      } finally {
        await rm(folder, { recursive: true });
      }
    });

    it('is in no output, though the shell traces and the checker prints its environment', async () => {
      const folder = await makeFolder();
      try {
        const file = join(folder, 'token');
        await writeFile(file, TOKEN);
        await writeFile(join(folder, '.curlrc'), 'verbose\n');
        for (const env of [{ GITOPS_TOKEN: TOKEN }, { GITOPS_TOKEN_FILE: file }]) {
          for (const url of [service.url, 'http://127.0.0.1:1']) {
            const args = ['--url', url, '--repo', 'r', '--server', 's', ...LIST, 'env'];
            const outcome = await reporter(args, { env: { ...env, CURL_HOME: folder }, traced: true });
            expect(outcome.stderr, 'the trace').to.contain('+ ');
            expect(outcome.stdout + outcome.stderr).not.to.contain(TOKEN);
          }
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    });

    it('may not have a line break in it, which could become another header', async () => {
      const args = ['--url', service.url, '--repo', 'r', '--server', 's', ...LIST, 'true'];
      const outcome = await reporter(args, { env: { GITOPS_TOKEN: 'a\r\nX-Evil: 1' } });
      expect(outcome.code).to.equal(2);
      expect(outcome.stderr).not.to.contain('Evil');
      expect(seen).to.deep.equal([]);
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
