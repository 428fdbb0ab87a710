import { expect } from 'chai';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FIXTURES, type Outcome, reporter, reportsIn } from './run.ts';

const SETTINGS = ['--repo', 'lab', '--server', 'web1', '--dry-run'];

/** What is reported of a recorded output. */
async function from(format: string, file: string, ...options: string[]): Promise<Outcome> {
  return reporter([...SETTINGS, ...options, 'report', '--from', format, join(FIXTURES, format, file)]);
}

function namesIn(outcome: Outcome): string[] | undefined {
  expect(outcome.stderr).to.equal('');
  expect(outcome.code).to.equal(0);
  return reportsIn(outcome)[0]?.files.map((file) => file.name);
}

function expectNoReport(outcome: Outcome, reason: string): void {
  expect(outcome.code).to.equal(1);
  expect(reportsIn(outcome)).to.deep.equal([]);
  expect(outcome.stderr).to.contain(reason);
}

describe('reporter: output of other checkers', function () {
  this.timeout(60_000);

  describe('terraform show -json', () => {
    it('reports the addresses that a plan would change, and outputs', async () => {
      expect(namesIn(await from('terraform', 'drift.json'))).to.deep.equal([
        'output.motd',
        'terraform_data.config["rsyslog.conf"]',
        'terraform_data.config["rsyslog.d/30-lab.conf"]',
        'terraform_data.gone[0]',
        'terraform_data.new[0]',
        'terraform_data.restart',
      ]);
    });

    it('reports a plan that changes outputs alone', async () => {
      const plan = JSON.parse(await readFile(join(FIXTURES, 'terraform/drift.json'), 'utf8')) as object;
      const input = JSON.stringify({ ...plan, resource_changes: undefined });
      const outcome = await reporter([...SETTINGS, 'report', '--from', 'terraform'], { input });
      expect(namesIn(outcome)).to.deep.equal(['output.motd']);
    });

    it('reports a plan that changes nothing as SYNCED', async () => {
      expect(namesIn(await from('terraform', 'synced.json'))).to.deep.equal([]);
    });

    it('tells the action and the attributes, never their values', async () => {
      const outcome = await from('terraform', 'drift.json', '--with-diff');
      const diffs = reportsIn(outcome)[0]?.files.map((file) => file.diff);
      expect(diffs).to.deep.equal([
        'update\n',
        'update\n  input\n  output\n',
        'update\n  input\n  output\n',
        'delete\n  id\n  input\n  output\n',
        'create\n  id\n  input\n  output\n',
        'replace\n  id\n  triggers_replace\n',
      ]);
      const plan = await readFile(join(FIXTURES, 'terraform/drift.json'), 'utf8');
      expect(plan, 'the recorded plan has a secret').to.contain('s3cret');
      expect(outcome.stdout).not.to.contain('s3cret');
    });

    it('reports nothing of a plan that ended with an error', async () => {
      expectNoReport(await from('terraform', 'errored.json'), 'the plan was not finished');
    });

    it('reports nothing of what is no plan', async () => {
      const cases = [
        ['', '0 JSON values'],
        ['Error: no state', 'is no JSON'],
        ['{}', 'no plan in JSON'],
        ['[]', 'no plan in JSON'],
        ['{"format_version":"1.0","values":{}}', 'no plan in JSON'],
        ['{"version":"1.2"}\n{"type":"log"}', '2 JSON values'],
      ] as const;
      for (const [input, reason] of cases) {
        expectNoReport(await reporter([...SETTINGS, 'report', '--from', 'terraform', '-'], { input }), reason);
      }
    });
  });

  describe('kubectl diff', () => {
    it('reports the objects that differ', async () => {
      expect(namesIn(await from('kubectl', 'drift.txt', '--exit-code', '1'))).to.deep.equal([
        'v1.ConfigMap.lab.app',
        'v1.ConfigMap.lab.new',
      ]);
    });

    it('sends the diff of each object without the temporary file names', async () => {
      const outcome = await from('kubectl', 'drift.txt', '--exit-code', '1', '--with-diff');
      const [app] = reportsIn(outcome)[0]?.files ?? [];
      expect(app?.diff).to.match(/^@@ -3,7 \+3,6 @@\n {3}keep: é\n {3}motd: \|\n {5}hello\n- {4}edited by hand\n/);
      expect(app?.diff).not.to.contain('/tmp/');
    });

    it('reports SYNCED when kubectl says so by its exit code', async () => {
      expect(namesIn(await from('kubectl', 'synced.txt', '--exit-code', '0'))).to.deep.equal([]);
    });

    it('reports nothing when kubectl could not reach the cluster', async () => {
      expectNoReport(await from('kubectl', 'synced.txt', '--exit-code', '2'), 'failed with exit code 2');
      expectNoReport(await from('kubectl', 'synced.txt', '--exit-code', '1'), 'shows nothing');
    });

    it('reports nothing of another text', async () => {
      const outcome = await reporter([...SETTINGS, 'report', '--from', 'kubectl', '-'], {
        input: 'Unable to connect\n',
      });
      expectNoReport(outcome, 'no output of kubectl diff: "Unable to connect');
    });
  });

  describe('git diff --name-status', () => {
    const names = ['café "x".conf', 'gone.conf', 'link', 'moved.conf', 'rsyslog.conf', 'rsyslog.d/moved.conf'];

    it('reports every name, both of a rename, unquoted', async () => {
      expect(namesIn(await from('git', 'drift.txt'))).to.deep.equal([
        ...names,
        String.raw`tab\tname`,
        'with space.conf',
      ]);
    });

    it('reads names that Git was told not to quote', async () => {
      expect(namesIn(await from('git', 'unquoted.txt'))).to.include.members(names);
    });

    it('reports nothing of another text', async () => {
      const outcome = await reporter([...SETTINGS, 'report', '--from', 'git', '-'], {
        input: 'fatal: not a git repository\n',
      });
      expectNoReport(outcome, 'no line of git diff --name-status');
    });
  });

  describe('rsync --itemize-changes', () => {
    const names = ['café', String.raw`ctl\#001name`, 'hard1', 'hard2', 'link', 'mode', 'new file', 'old/', 'removed'];

    it('reports what would be sent, changed, linked and deleted', async () => {
      expect(namesIn(await from('rsync', 'drift.txt'))).to.deep.equal([...names, 'rsyslog.conf', 'rsyslog.d/']);
    });

    it('passes over what rsync -v says besides', async () => {
      expect(namesIn(await from('rsync', 'verbose.txt'))).to.deep.equal([...names, 'rsyslog.conf', 'rsyslog.d/']);
    });

    it('reports SYNCED when rsync succeeded and printed nothing', async () => {
      expect(namesIn(await from('rsync', 'synced.txt', '--exit-code', '0'))).to.deep.equal([]);
    });

    it('reports nothing when rsync saw only a part', async () => {
      expectNoReport(await from('rsync', 'drift.txt', '--exit-code', '23'), 'failed with exit code 23');
    });
  });

  describe('a list of names', () => {
    it('reports one name a line', async () => {
      const outcome = await reporter([...SETTINGS, 'report', '--from', 'list', '-'], { input: 'b c\r\na\n\n' });
      expect(namesIn(outcome)).to.deep.equal(['a', 'b c']);
    });
  });

  describe('JSON', () => {
    it('reports the names and diffs that it holds', async () => {
      const input = JSON.stringify([{ name: 'b', diff: '-1\n' }, { name: 'a' }]);
      const outcome = await reporter([...SETTINGS, '--with-diff', 'report', '--from', 'json'], { input });
      expect(reportsIn(outcome)[0]?.files).to.deep.equal([{ name: 'a' }, { name: 'b', diff: '-1\n' }]);
    });

    it('reports nothing when it is of another shape', async () => {
      for (const input of ['{"name":"a"}', '["a"]', '[{"name":""}]', '[{"name":"a","diff":1}]', '']) {
        const outcome = await reporter([...SETTINGS, 'report', '--from', 'json'], { input });
        expect(outcome.code, input).to.equal(1);
        expect(reportsIn(outcome), input).to.deep.equal([]);
      }
    });
  });

  describe('silence', () => {
    for (const format of ['kubectl', 'git', 'rsync', 'list']) {
      it(`is no proof: no output in format ${format} is reported only with the checker's exit code`, async () => {
        expectNoReport(await reporter([...SETTINGS, 'report', '--from', format, '-']), 'the output is empty');
        const proven = await reporter([...SETTINGS, '--exit-code', '0', 'report', '--from', format, '-']);
        expect(namesIn(proven)).to.deep.equal([]);
      });
    }

    it('counts when the script ran the checker itself and it succeeded', async () => {
      expect(namesIn(await reporter([...SETTINGS, 'report', '--from', 'list', '--', 'true']))).to.deep.equal([]);
      expectNoReport(
        await reporter([...SETTINGS, 'report', '--from', 'list', '--', 'false']),
        'failed with exit code 1',
      );
      expectNoReport(
        await reporter([...SETTINGS, 'report', '--from', 'list', '--', 'no-such-program']),
        'exit code 127',
      );
    });
  });
});
