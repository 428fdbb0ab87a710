import { expect } from 'chai';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ansiblePython } from './ansible.ts';
import { get, makeFolder, type Outcome, ROOT, run, type Service, startService } from './run.ts';

/** What a CI runs of an example, and the variables that it sets itself. */
type Job = { deploys: string[]; reports: string[]; env: Record<string, string>; ci: Record<string, string> };
type Step = { name: string; commands: string[]; environment?: Record<string, string | { from_secret: string }> };

const WOODPECKER = { CI: 'woodpecker', CI_REPO_NAME: 'rsyslog', CI_COMMIT_SHA: 'c0ffee' };
const SECRETS: Record<string, string> = { gitops_token: 'from-a-secret' };

describe('reporter: the examples', function () {
  this.timeout(180_000);

  let python: string;
  let service: Service;
  let checkout: string;
  before(async function () {
    python = await ansiblePython(this);
    service = await startService();
    checkout = await makeFolder();
    await cp(join(ROOT, 'reporter/examples/rsyslog'), checkout, { recursive: true });
    await cp(join(ROOT, 'reporter'), join(checkout, 'reporter'), { recursive: true });
    const inventory = join(checkout, 'inventory.yaml');
    const text = await readFile(inventory, 'utf8');
    expect(text).to.contain('etc: /tmp/rsyslog-lab/etc');
    await writeFile(inventory, text.replace('/tmp/rsyslog-lab/etc', join(checkout, 'etc')));
  });
  after(async () => {
    await service.stop();
    await rm(checkout, { recursive: true });
  });

  /** YAML as Ansible's own library reads it, which every machine has that runs these tests. */
  async function yaml<T>(file: string): Promise<T> {
    const code = 'import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))';
    const outcome = await run(python, ['-c', code], { input: await readFile(join(ROOT, 'reporter', file), 'utf8') });
    expect(outcome.code, outcome.stderr).to.equal(0);
    return JSON.parse(outcome.stdout) as T;
  }

  async function start(commands: string[], { env, ci }: Job, url = service.url): Promise<Outcome> {
    const own = { ...env, GITOPS_URL: env.GITOPS_URL?.endsWith('/api/status') ? `${url}/api/status` : url };
    return run('bash', ['-ec', commands.join('\n')], {
      cwd: checkout,
      env: { ...ci, ...own, GITOPS_BASE_DIR: join(checkout, 'etc') },
    });
  }

  async function expectItReports(job: Job): Promise<void> {
    expect(new URL(job.env.GITOPS_URL ?? '').pathname).to.be.oneOf(['/', '/api/status']);
    expect(job.env.GITOPS_BASE_DIR).to.equal('/etc');
    await run('ansible-playbook', ['-i', 'inventory.yaml', 'playbook.yaml'], { cwd: checkout });
    await fetch(`${service.url}/api/status/rsyslog/rsyslog-lab`, { method: 'DELETE' });
    const deployed = await start(job.deploys, job);
    expect(deployed.code, deployed.stdout + deployed.stderr).to.equal(0);
    const reported = await start(job.reports, job);
    expect(reported.code, reported.stdout + reported.stderr).to.equal(0);
    expect(await get(service, '/api/status/rsyslog/rsyslog-lab')).to.include({ verdict: 'SYNCED' });
    expect((await start(job.reports, job, 'http://127.0.0.1:1')).code, 'with the service down').to.equal(4);
  }

  async function woodpecker(file: string, reporting: string): Promise<{ job: Job; steps: Step[]; when: object }> {
    const { steps, when } = await yaml<{ steps: Step[]; when: object }>(`woodpecker/${file}`);
    const step = steps.find(({ name }) => name === reporting);
    const environment = Object.entries(step?.environment ?? {}).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : (SECRETS[value.from_secret] ?? ''),
    ]);
    return {
      job: {
        deploys: steps.filter(({ name }) => name === 'deploy').flatMap(({ commands }) => commands),
        reports: step?.commands ?? [],
        env: Object.fromEntries(environment) as Record<string, string>,
        ci: WOODPECKER,
      },
      steps,
      when,
    };
  }

  it('Woodpecker deploys and reports after a push to master', async () => {
    const { job, steps, when } = await woodpecker('deploy.yaml', 'update-gitops-status');
    expect(steps.map(({ name }) => name)).to.deep.equal(['deploy', 'update-gitops-status']);
    expect(when).to.deep.equal([{ event: 'push', branch: 'master' }]);
    expect(job.env.GITOPS_TOKEN).to.equal('from-a-secret');
    expect(job.env.GITOPS_URL).to.equal(
      'http://gitops-status-server.observability-stack.svc.cluster.local:80/api/status',
    );
    await expectItReports(job);
  });

  it('Woodpecker reports by cron', async () => {
    const { job, steps, when } = await woodpecker('cron.yaml', 'gitops_sync_check');
    expect(steps.map(({ name }) => name)).to.deep.equal(['gitops_sync_check']);
    expect(when).to.deep.equal([{ event: 'cron', cron: 'gitops_sync_check' }]);
    expect(job.env.GITOPS_TOKEN).to.equal('from-a-secret');
    await expectItReports(job);
  });

  it('GitHub Actions deploys and reports', async () => {
    type Workflow = {
      jobs: Record<string, { steps: { name?: string; run?: string; env?: Record<string, string> }[] }>;
    };
    const { jobs } = await yaml<Workflow>('github/gitops-status.yaml');
    const steps = jobs['gitops-status']?.steps ?? [];
    const named = (name: string) => steps.find((step) => step.name === name);
    const env = named('Report')?.env ?? {};
    expect(env.GITOPS_TOKEN).to.equal('${{ secrets.GITOPS_TOKEN }}');
    await expectItReports({
      deploys: [named('Deploy')?.run ?? ''],
      reports: [named('Report')?.run ?? ''],
      env: { ...env, GITOPS_TOKEN: 'from-a-secret' },
      ci: {
        GITHUB_REPOSITORY: 'acme/rsyslog',
        GITHUB_SHA: 'c0ffee',
        GITHUB_SERVER_URL: 'https://github.com',
        GITHUB_RUN_ID: '1',
      },
    });
  });

  it('GitLab CI reports', async () => {
    type Pipeline = Record<string, { script: string[]; variables: Record<string, string> }>;
    const { 'gitops-status': job } = await yaml<Pipeline>('gitlab/gitlab-ci.yaml');
    await expectItReports({
      deploys: [],
      reports: job?.script ?? [],
      env: job?.variables ?? {},
      ci: { GITLAB_CI: 'true', CI_PROJECT_NAME: 'rsyslog', CI_COMMIT_SHA: 'c0ffee', GITOPS_TOKEN: 'from-a-secret' },
    });
  });

  it('systemd reports from a machine without CI, every two minutes', async () => {
    const unit = await readFile(join(ROOT, 'reporter/systemd/gitops-check.service'), 'utf8');
    const values = (name: string) =>
      [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map((match) => match[1] ?? '');
    const credentials = await makeFolder();
    try {
      expect(values('LoadCredential')).to.deep.equal(['token:/etc/gitops-status/token']);
      await writeFile(join(credentials, 'token'), 'from-a-file\n');
      await expectItReports({
        deploys: [],
        reports: values('ExecStart').map((command) => command.replace('/opt/gitops-reporter/', 'reporter/')),
        env: Object.fromEntries(values('Environment').map((text) => text.replace('%d', credentials).split('=', 2))),
        ci: {},
      });
    } finally {
      await rm(credentials, { recursive: true });
    }
    const timer = await readFile(join(ROOT, 'reporter/systemd/gitops-check.timer'), 'utf8');
    expect(timer).to.contain('OnUnitInactiveSec=2min').and.to.contain('WantedBy=timers.target');
  });

  it('the README names the settings, formats and files that there are', async () => {
    const readme = await readFile(join(ROOT, 'reporter/README.md'), 'utf8');
    const { stdout: help } = await run('reporter/update-gitops-status.sh', ['--help']);
    for (const option of new Set(readme.match(/(?<=[ `])--[a-z][a-z-]+/g))) {
      const isOthers = OTHERS.has(option);
      if (!isOthers) expect(help, option).to.contain(option);
    }
    for (const variable of new Set(readme.match(/GITOPS_[A-Z_]+/g))) expect(help).to.contain(variable);
    for (const [, file] of readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
      expect(await readFile(join(ROOT, 'reporter', file ?? ''), 'utf8').catch(() => undefined), file).to.be.a('string');
    }
  });
});

/** Options of other programs that the README speaks of. */
const OTHERS = new Set([
  '--check',
  '--diff',
  '--limit',
  '--tags',
  '--start-at-task',
  '--step',
  '--name-status',
  '--dry-run',
  '--itemize-changes',
  '--delete',
  '--omit-dir-times',
  '--no-install-recommends',
  '--no-cache',
]);
