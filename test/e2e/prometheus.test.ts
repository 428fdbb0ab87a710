import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeFolder, reportBody, reportOf, sha256, tokensText } from '../fixtures.ts';
import { type Service, isMissing, startMain, until } from '../process.ts';
import { startDaemon } from './daemon.ts';

const TOKEN = 'the-token-of-prometheus';

describe('a real Prometheus, with a token,', function () {
  this.timeout(180_000);

  let folder: ReturnType<typeof makeFolder>;
  let service: Service;
  let prometheus: Prometheus;

  before(async function () {
    if (isMissing('prometheus') || isMissing('promtool')) this.skip();
    folder = makeFolder();
    const tokensFile = join(folder.path, 'tokens.json');
    const reader = { name: 'prometheus', sha256: sha256(TOKEN), scopes: ['read'] };
    writeFileSync(tokensFile, tokensText([reader], ['report', 'delete']));
    service = await startMain({ DATA_DIR: join(folder.path, 'data'), TOKENS_FILE: tokensFile });
    // the two payloads of the report contract, and one of now
    expect((await service.post(reportBody())).status).to.equal(201);
    expect((await service.post(reportOf([], { server: 'rsyslog-prod', last_check: minutesAgo(60) }))).status).to.equal(
      201,
    );
    expect(
      (await service.post(reportOf([], { repo: 'nginx', server: 'web-1', last_check: minutesAgo(0) }))).status,
    ).to.equal(201);
    prometheus = await startPrometheus(service, folder.path);
  });
  after(async () => {
    await prometheus?.stop();
    await service?.kill();
    folder?.remove();
  });

  it('scrapes the service and answers the query for the drift count', async () => {
    expect(await prometheus.answer('gitops_drift_count{repo="rsyslog"}', 2)).to.deep.equal([
      { repo: 'rsyslog', server: 'rsyslog-lab', value: 2 },
      { repo: 'rsyslog', server: 'rsyslog-prod', value: 0 },
    ]);
  });

  it('knows which sources are in sync, and that a stale one is not', async () => {
    expect(await prometheus.answer('gitops_in_sync', 3)).to.deep.equal([
      { repo: 'nginx', server: 'web-1', value: 1 },
      { repo: 'rsyslog', server: 'rsyslog-lab', value: 0 },
      { repo: 'rsyslog', server: 'rsyslog-prod', value: 0 },
    ]);
    expect(await prometheus.answer('gitops_stale == 1', 2)).to.have.lengthOf(2);
  });

  it('no longer sees a source that was deleted', async () => {
    expect(await prometheus.answer('gitops_drift_count{server="web-1"}', 1)).to.have.lengthOf(1);
    await fetch(`${service.url}/api/status/nginx/web-1`, { method: 'DELETE' });
    expect(await prometheus.answer('gitops_drift_count{server="web-1"}', 0)).to.deep.equal([]);
  });

  it('finds nothing to advise but the known _count suffix (promtool check metrics)', async () => {
    // one of everything: a refused report, a deleted source, a file that differs on two servers
    await service.post({ server: 'rsyslog-lab', drift_count: 7 });
    await service.post(reportOf(['rsyslog.conf'], { server: 'rsyslog-dr' }));
    const headers = { Authorization: `Bearer ${TOKEN}` };
    const metrics = await (await fetch(`${service.url}/metrics`, { headers })).text();
    for (const name of ['gitops_last_rejected_timestamp_seconds', 'gitops_file_drifted_servers']) {
      expect(metrics).to.match(new RegExp(`^${name}\\{`, 'm'));
    }
    const { stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: metrics, encoding: 'utf8' });
    expect(`${stdout}${stderr}`.trim().split('\n')).to.deep.equal([
      'gitops_drift_count non-histogram and non-summary metrics should not have "_count" suffix',
    ]);
  });
});

type Sample = { readonly repo: string; readonly server: string; readonly value: number };

type Prometheus = {
  /** Asks until the answer has `length` samples; sorted by repo, then server. */
  answer(query: string, length: number): Promise<Sample[]>;
  stop(): Promise<void>;
};

async function startPrometheus(service: Service, path: string): Promise<Prometheus> {
  const config = join(path, 'prometheus.yml');
  writeFileSync(
    config,
    `scrape_configs:
  - job_name: gitops
    scrape_interval: 1s
    scrape_timeout: 1s
    authorization: { credentials: ${TOKEN} }
    static_configs: [{ targets: ['127.0.0.1:${service.port}'] }]
`,
  );
  const prometheus = await startDaemon('prometheus', (address) => [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(path, 'tsdb')}`,
    `--web.listen-address=${address}`,
  ]);

  return {
    answer: (query, length) =>
      until(async () => {
        const samples = await ask(prometheus.url, query);
        return samples.length === length ? samples : undefined;
      }),
    stop: prometheus.stop,
  };
}

async function ask(url: string, query: string): Promise<Sample[]> {
  const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(query)}`);
  const { data } = (await response.json()) as {
    data: { result: { metric: { repo: string; server: string }; value: [number, string] }[] };
  };
  return data.result
    .map(({ metric: { repo, server }, value }) => ({ repo, server, value: Number(value[1]) }))
    .toSorted((a, b) => (`${a.repo} ${a.server}` < `${b.repo} ${b.server}` ? -1 : 1));
}

function minutesAgo(minutes: number): string {
  return new Date(Date.now() - minutes * 60_000).toISOString();
}
