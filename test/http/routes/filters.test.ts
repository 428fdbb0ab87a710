import { expect } from 'chai';
import { type Service, reportOf, startService } from '../../fixtures.ts';

const LISTS = ['/status.json', '/files.json', '/drifts.json', '/history.json'];
const ROUTES = [...LISTS, '/summary.json', '/metrics'];

type Row = { repo: string; server: string };

describe('a query', () => {
  let service: Service;

  before(async () => {
    service = await startService();
    for (const repo of ['acme', 'rsyslog']) {
      for (const server of ['h1', 'h2', 'h3']) {
        await service.post(reportOf(['both'], { repo, server }));
      }
    }
    // one is stale, one is in sync
    await service.post(reportOf(['both'], { repo: 'rsyslog', server: 'h3', stale_after_seconds: 1 }));
    await service.post(reportOf([], { repo: 'rsyslog', server: 'h2' }));
    service.clock.advance(1000);
  });
  after(() => service.stop());

  async function sourcesOf(path: string): Promise<string[]> {
    const rows = (await (await service.request(path)).json()) as Row[];
    return [...new Set(rows.map(({ repo, server }) => `${repo} ${server}`))];
  }

  for (const route of LISTS) {
    for (const servers of ['h1,h3', '{h1,h3}', '(h1|h3)', 'h1&server=h3']) {
      it(`of ${route} takes server=${servers}`, async () => {
        expect(await sourcesOf(`${route}?repo=acme&server=${servers}`)).to.deep.equal(['acme h1', 'acme h3']);
      });
    }

    for (const verdict of ['OUT_OF_SYNC', 'out_of_sync', 'Out_of_sync,SYNCED']) {
      it(`of ${route} takes verdict=${verdict}`, async () => {
        const sources = await sourcesOf(`${route}?repo=acme&verdict=${verdict}`);
        expect(sources).to.deep.equal(['acme h1', 'acme h2', 'acme h3']);
      });
    }
  }

  it('of /summary.json takes all forms, too', async () => {
    for (const query of ['verdict=out_of_sync', 'verdict=OUT_OF_SYNC', 'verdict={out_of_sync}']) {
      const summary = await (await service.request(`/summary.json?${query}`)).json();
      expect(summary).to.include({ sources: 4, out_of_sync: 4, drift_count: 4 });
    }
  });

  for (const route of ROUTES) {
    for (const query of ['status=OUT_OF_SYNC', 'server[]=h1', 'verdict=green', 'repos=acme', 'VERDICT=SYNCED']) {
      it(`of ${route} with ?${query} is refused`, async () => {
        for (const method of ['GET', 'HEAD']) {
          const response = await service.request(`${route}?${query}`, { method });
          expect(response.status).to.equal(400);
        }
        const problem = (await (await service.request(`${route}?${query}`)).json()) as Record<string, string>;
        expect(problem.reason).to.equal('bad_query');
        expect(problem.detail)
          .to.contain(query.split('=')[query.startsWith('verdict') ? 1 : 0])
          .and.contain('There is');
      });
    }

    it(`of ${route} may have names that begin with _`, async () => {
      expect((await service.request(`${route}?_=1732540000`)).status).to.equal(200);
    });
  }

  it('of a page or a probe may have any name', async () => {
    expect((await service.request('/healthz?utm_source=mail')).status).to.equal(200);
    expect((await service.request('/readyz?verbose')).status).to.equal(200);
  });

  describe('of /metrics', () => {
    async function series(query: string): Promise<string[]> {
      const response = await service.request(`/metrics?${query}`);
      expect(response.headers.get('Content-Type')).to.match(/^text\/plain; version=0\.0\.4/);
      return (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    }

    it('has only the series of sources that match, and of their repos', async () => {
      const lines = await series('repo=acme&server={h1,h2}');
      expect(lines.filter((line) => line.startsWith('gitops_drift_count'))).to.deep.equal([
        'gitops_drift_count{repo="acme",server="h1"} 1',
        'gitops_drift_count{repo="acme",server="h2"} 1',
      ]);
      expect(lines).to.include('gitops_file_drifted_servers{repo="acme",file="both"} 3');
      expect(lines.every((line) => line.includes('{repo="acme",'))).to.equal(true);
    });

    it('goes by the verdict', async () => {
      const lines = await series('verdict=synced');
      expect(lines).to.include('gitops_in_sync{repo="rsyslog",server="h2"} 1');
      expect(lines.filter((line) => line.includes('server=') && !line.includes('server="h2"'))).to.deep.equal([]);
    });

    it('has the time to reconcile of the repos that match', async () => {
      const lines = await series('repo=rsyslog');
      expect(lines).to.include('gitops_drift_duration_seconds_count{repo="rsyslog"} 1');
    });

    it('has none where nothing matches', async () => {
      expect(await series('repo=nowhere')).to.deep.equal([]);
    });

    it('that selects everything has everything', async () => {
      // what the process itself has to tell differs from one scrape to the next
      const names = (lines: string[]): string[] => [
        ...new Set(lines.map((line) => /^gitops_\w+/.exec(line)?.[0] ?? '').filter((name) => name !== '')),
      ];
      const everything = await series('');
      expect(names(await series('repo=*&server=${server}'))).to.deep.equal(names(everything));
      expect(names(everything)).to.include('gitops_sources');
      expect(everything.some((line) => line.startsWith('process_cpu_seconds_total'))).to.equal(true);
    });
  });

  describe('of a deletion', () => {
    const remove = (query: string): Promise<Response> => service.request(`/api/status?${query}`, { method: 'DELETE' });

    for (const query of [
      'repo=&server=h1',
      'repo=acme&server=',
      'repo=%20&server=h1',
      'repo={}&server=h1',
      'repo=()&server=h1',
      'repo=,&server=h1',
      'repo&server=h1',
      'repo=acme&repo=&server=h1',
      'verdict=&server=h1',
      'repo=${REPO}&server=h1',
      'repo=acme,${REPO}',
      'repo={${REPO}}',
      'verdict=gone',
      'repo=acme&sever=h1',
      'server[]=h1',
      '',
      'dry_run=true',
      '_=1',
    ]) {
      it(`with ?${query} is refused, and deletes nothing`, async () => {
        const before = service.fleet.size;
        for (const dryRun of ['', '&dry_run=true']) {
          const response = await remove(`${query}${dryRun}`);
          expect(response.status).to.equal(400);
          expect(await response.json()).to.include({ reason: 'bad_query' });
        }
        expect(service.fleet.size).to.equal(before);
      });
    }

    it('of one source has no query: none of it would be heeded', async () => {
      const before = service.fleet.size;
      for (const query of ['dry_run=true', 'server=h2', 'verdict=STALE']) {
        const response = await service.request(`/api/status/acme/h1?${query}`, { method: 'DELETE' });
        expect(response.status).to.equal(400);
      }
      expect(service.fleet.size).to.equal(before);
    });

    for (const [query, deleted] of [
      ['repo=*&server=h1', 2],
      ['repo={acme,rsyslog}&server=(h1|h2)', 4],
      ['verdict=synced', 1],
      ['repo=$REPO', 0],
    ] as const) {
      it(`with ?${query} finds ${deleted}`, async () => {
        expect(await (await remove(`${query}&dry_run=true`)).json()).to.deep.equal({ deleted });
      });
    }
  });
});
