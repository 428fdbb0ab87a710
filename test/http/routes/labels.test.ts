import { expect } from 'chai';
import { type Clock, type Service, createClock, makeFolder, reportOf, startService } from '../../fixtures.ts';

type Row = Record<string, unknown>;

describe('labels', () => {
  let folder: ReturnType<typeof makeFolder>;
  let clock: Clock;
  let service: Service;

  beforeEach(async () => {
    folder = makeFolder();
    clock = createClock();
    service = await startService({ dataDir: folder.path, clock });
  });
  afterEach(async () => {
    await service.stop();
    folder.remove();
  });

  async function post(labels: unknown, changes: Row = {}): Promise<Row> {
    const response = await service.post(reportOf(['a'], { labels, ...changes }));
    return { ...((await response.json()) as Row), code: response.status };
  }

  async function labelsOf(): Promise<unknown> {
    const [row] = (await (await service.request('/status.json')).json()) as Row[];
    const detail = await (await service.request('/api/status/rsyslog/rsyslog-lab')).json();
    expect(detail).to.deep.include({ labels: row?.labels });
    return row?.labels;
  }

  it('are shown with their source, also after a restart', async () => {
    const labels = { team: 'web', environment: 'Produktion — Süd', _x1: 'a|b (c) {d}' };
    await post(labels);
    expect(await labelsOf()).to.deep.equal(labels);
    await service.stop();
    service = await startService({ dataDir: folder.path, clock });
    expect(await labelsOf()).to.deep.equal(labels);
  });

  it('stay until others are posted, and {} removes them all', async () => {
    expect(await labelsOf().catch(() => 'none')).to.equal('none');
    await post({ team: 'web', tier: '1' });
    for (const none of [undefined, null]) {
      await post(none);
      expect(await labelsOf()).to.deep.equal({ team: 'web', tier: '1' });
    }
    await post({ team: 'dns' });
    expect(await labelsOf()).to.deep.equal({ team: 'dns' });
    expect(await post({})).to.include({ result: 'unchanged' });
    expect(await labelsOf()).to.deep.equal({});
  });

  it('stay with a check that could not tell, or come with it', async () => {
    await post({ team: 'web' });
    await service.post(reportOf([], { sync_status: 'UNKNOWN' }));
    expect(await labelsOf()).to.deep.equal({ team: 'web' });
    await service.post(reportOf([], { sync_status: 'UNKNOWN', labels: { team: 'dns' } }));
    expect(await labelsOf()).to.deep.equal({ team: 'dns' });
  });

  it('may be called as objects have it', async () => {
    await service.post(`{"labels":{"__proto__":"p","constructor":"c"},${JSON.stringify(reportOf(['a'])).slice(1)}`);
    expect(JSON.stringify(await labelsOf())).to.equal('{"__proto__":"p","constructor":"c"}');
    const rows = await (await service.request('/status.json?label.__proto__=p&label.constructor=c')).json();
    expect(rows).to.have.lengthOf(1);
    expect(await (await service.request('/status.json?label.toString=x')).json()).to.deep.equal([]);
  });

  const refused: readonly (readonly [what: string, labels: unknown, says: RegExp])[] = [
    ['a list', ['web'], /^\/labels must be an object of at most 16 labels/],
    ['a text', 'team=web', /^\/labels must be an object/],
    ['17', Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`l${i}`, 'x'])), /^\/labels must be .*at most 16/],
    ['a name with a dash', { 'a-b': 'x' }, /^\/labels must be an? .*but has "a-b"$/],
    ['a name that begins with a digit', { '1a': 'x' }, /^\/labels must be .*but has "1a"$/],
    ['an empty name', { '': 'x' }, /^\/labels must be .*but has ""$/],
    ['a name of 64 characters', { ['a'.repeat(64)]: 'x' }, /^\/labels must be/],
    ['a number', { team: 5 }, /^\/labels\/team must be 1 to 200 characters.*but is the number 5$/],
    ['null', { team: null }, /^\/labels\/team must be/],
    ['an empty value', { team: '' }, /^\/labels\/team must be/],
    ['a value of 201 characters', { team: 'x'.repeat(201) }, /^\/labels\/team must be/],
    ['a comma', { team: 'a,b' }, /^\/labels\/team must be/],
    ['a line break', { team: 'a\nb' }, /^\/labels\/team must be/],
    ['half a character', { team: 'a\ud800' }, /^\/labels\/team must be/],
  ];
  for (const [what, labels, says] of refused) {
    it(`(${what}) are refused, and only for that`, async () => {
      const problem = await post(labels);
      expect(problem.code).to.equal(422);
      const errors = problem.errors as { pointer: string; detail: string }[];
      expect(errors.map(({ pointer, detail }) => `${pointer} ${detail}`)).to.have.lengthOf(1);
      expect(`${errors[0]?.pointer} ${errors[0]?.detail}`).to.match(says);
    });
  }

  it('are there in full where more is stored than memory may hold', async () => {
    const long = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`l${i}`, 'x'.repeat(200)]));
    for (let i = 0; i < 20; i += 1) await post({ ...long, team: 'web' }, { server: `s${i}` });
    await service.stop();
    service = await startService({ dataDir: folder.path, clock, maxOpenDrifts: 100 });
    expect(await (await service.request('/summary.json?label.team=web')).json()).to.include({ sources: 20 });
    await post(undefined, { server: 's19' });
    const detail = await (await service.request('/api/status/rsyslog/s19')).json();
    expect(detail).to.deep.include({ labels: { ...long, team: 'web' } });
  });

  it('count towards the text in memory', async () => {
    await post({});
    const before = service.fleet.usage.textBytes;
    await post({ team: 'x'.repeat(100) });
    expect(service.fleet.usage.textBytes).to.equal(before + 104);
    await service.post(reportOf([], { sync_status: 'UNKNOWN', message: 'm'.repeat(50) }));
    expect(service.fleet.usage.textBytes).to.equal(before + 154);
    await service.post(reportOf([], { labels: {} }));
    expect(service.fleet.usage.textBytes).to.equal(before);
  });

  describe('as filters', () => {
    beforeEach(async () => {
      await post({ team: 'web', tier: '1' }, { server: 'a' });
      await post({ team: 'dns' }, { server: 'b' });
      await post({ team: 'we | (b)' }, { server: 'c' });
      await post(undefined, { server: 'd' });
      clock.advance(1000);
    });

    async function servers(path: string): Promise<string> {
      const rows = (await (await service.request(path)).json()) as Row[];
      return [...new Set(rows.map((row) => row.server ?? row.name))].join();
    }

    const chosen: readonly (readonly [query: string, expected: string])[] = [
      ['label.team=web', 'a'],
      ['label.team=web,dns', 'a,b'],
      ['label.team=web&label.team=dns', 'a,b'],
      ['label.team={web,dns}', 'a,b'],
      ['label.team=(web|dns)', 'a,b'],
      ['label.team=we%20|%20(b)', 'c'],
      ['label.team=web&label.tier=1', 'a'],
      ['label.team=dns&label.tier=1', ''],
      ['label.team=dns&server=a', ''],
      ['label.team=', 'a,b,c,d'],
      ['label.team=*', 'a,b,c,d'],
      ['label.team=${team}', 'a,b,c,d'],
      ['label.nothing=web', ''],
    ];
    for (const route of ['/status.json', '/files.json', '/history.json', '/drifts.json', '/servers.json']) {
      for (const [query, expected] of chosen) {
        it(`choose in ${route}?${query}`, async () => {
          expect(await servers(`${route}?${query}`)).to.equal(expected);
        });
      }
    }

    it('choose in /summary.json and /metrics', async () => {
      const summary = await (await service.request('/summary.json?label.team=web,dns')).json();
      expect(summary).to.include({ sources: 2 });
      const metrics = await (await service.request('/metrics?label.team=web')).text();
      const names = [...metrics.matchAll(/server="(\w)"/g)].map(([, server]) => server);
      expect([...new Set(names)]).to.deep.equal(['a']);
    });

    it('choose what is deleted, and are refused where they are empty', async () => {
      const remove = (query: string): Promise<Response> =>
        service.request(`/api/status?${query}&dry_run=true`, { method: 'DELETE' });
      expect(await (await remove('label.team=web,dns')).json()).to.deep.equal({ deleted: 2 });
      for (const query of ['label.team=', 'label.team=${TEAM}', 'label.team=&server=a']) {
        expect((await remove(query)).status).to.equal(400);
      }
    });

    for (const name of ['label.', 'label.1a', 'label.a-b', 'labels.team', 'label']) {
      it(`are 400 under the name ${name}`, async () => {
        const response = await service.request(`/status.json?${name}=x`);
        expect(response.status).to.equal(400);
        expect(await response.text()).to.contain('label.NAME');
      });
    }

    it('have a series for joins, which sources without labels have not', async () => {
      const metrics = await (await service.request('/metrics')).text();
      expect(metrics.split('\n').filter((line) => line.startsWith('gitops_source_labels{'))).to.deep.equal([
        'gitops_source_labels{repo="rsyslog",server="a",label_team="web",label_tier="1"} 1',
        'gitops_source_labels{repo="rsyslog",server="b",label_team="dns"} 1',
        'gitops_source_labels{repo="rsyslog",server="c",label_team="we | (b)"} 1',
      ]);
    });
  });
});
