import { expect } from 'chai';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256, tokensText } from '../fixtures.ts';
import { get, makeFolder, reporter, reportsIn, type Service, startService, startStub } from './run.ts';

const TOKEN = 'a-very/secret+token=';
const LIST = ['report', '--from', 'list', '--'];

describe('reporter: sending reports', function () {
  this.timeout(60_000);

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

    for (const answer of [
      '',
      '{}',
      '[]',
      'null',
      '{"result":"created"}',
      '{"repo":"lab","server":"web2","result":"created"}',
    ]) {
      it(`exits 4 when a success comes without its receipt: ${answer || 'nothing'}`, async () => {
        const service = await startStub((_, response) => response.end(answer));
        try {
          const outcome = await reporter(['--url', service.url, ...report]);
          expect(outcome.code).to.equal(4);
          expect(outcome.stderr).to.contain('lab/web1: not reported').and.to.contain('answered 200');
          expect(outcome.stdout).to.equal('');
        } finally {
          await service.stop();
        }
      });
    }

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

  describe('against the real service with access control', () => {
    let folder: string;
    let service: Service;
    before(async () => {
      folder = await makeFolder();
      const file = join(folder, 'tokens.json');
      await writeFile(file, tokensText([{ name: 'ci', sha256: sha256(TOKEN), scopes: ['report'], repos: ['r'] }]));
      service = await startService({ TOKENS_FILE: file });
    });
    after(async () => {
      await service.stop();
      await rm(folder, { recursive: true });
    });

    const report = (repo: string, token?: string): ReturnType<typeof reporter> =>
      reporter(['--url', service.url, '--repo', repo, '--server', 's', ...LIST, 'true'], {
        env: token === undefined ? {} : { GITOPS_TOKEN: token },
      });

    it('reports with a token that is for this repo', async () => {
      expect(await report('r', TOKEN)).to.deep.equal({ code: 0, stdout: 'r/s: SYNCED (created)\n', stderr: '' });
    });

    it('exits 4 and shows the reason without a token, with an unknown one, and with one for another repo', async () => {
      for (const [outcome, status, reason] of [
        [await report('r'), 401, 'Unauthorized: A token is needed'],
        [await report('r', 'unknown'), 401, 'Unauthorized: The token is not known here'],
        [await report('other', TOKEN), 403, 'Forbidden: The token ci may not report server s of repo other'],
      ] as const) {
        expect(outcome.code).to.equal(4);
        expect(outcome.stderr).to.contain(`answered ${status}`).and.contain(reason);
      }
    });
  });

  describe('the token', () => {
    const seen: (string | undefined)[] = [];
    let service: Service;
    before(async () => {
      service = await startStub((request, response) => {
        seen.push(request.headers.authorization);
        response.end('{"repo":"r","server":"s","result":"created"}');
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
});
