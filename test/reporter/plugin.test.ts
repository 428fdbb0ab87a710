import { expect } from 'chai';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ansiblePython } from './ansible.ts';
import { makeFolder, ROOT, run } from './run.ts';

describe("reporter: Ansible's callback plugin", function () {
  this.timeout(120_000);

  it('compiles', async () => {
    const files = ['callback_plugins/gitops_findings.py', 'gitops_reporter/changes.py', 'gitops_reporter/findings.py'];
    const paths = files.map((file) => `reporter/ansible/${file}`);
    const folder = await makeFolder();
    try {
      const outcome = await run('python3', ['-m', 'py_compile', ...paths], { env: { PYTHONPYCACHEPREFIX: folder } });
      expect(outcome).to.include({ code: 0, stderr: '' });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('passes its own tests', async function () {
    const python = await ansiblePython(this);
    const outcome = await run(python, ['-m', 'unittest', 'discover', '-s', 'test/reporter']);
    expect(outcome.code, outcome.stderr).to.equal(0);
    expect(outcome.stderr).to.match(/^Ran [1-9]\d+ tests/m);
  });

  it('keeps its diffs as long as the report does', async () => {
    const plugin = await readFile(join(ROOT, 'reporter/ansible/gitops_reporter/changes.py'), 'utf8');
    const report = await readFile(join(ROOT, 'reporter/report.jq'), 'utf8');
    expect(/MAX_DIFF_BYTES = (.+)/.exec(plugin)?.[1]).to.equal('16 * 1024');
    expect(/def max_diff: (\d+);/.exec(report)?.[1]).to.equal(`${16 * 1024}`);
  });
});
