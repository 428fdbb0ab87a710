import { readFileSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import { parse } from 'yaml';
import { VERDICTS } from '../../src/core/ledger.ts';
import { renderDashboards } from '../../grafana/generate.ts';

const folder = 'grafana/dashboards';

describe('dashboards', () => {
  it('are what npm run generate writes', () => {
    const committed = readdirSync(folder).map((name) => [name, readFileSync(`${folder}/${name}`, 'utf8')] as const);
    expect(new Map(committed)).to.deep.equal(renderDashboards());
  });

  it('of the sources name and colour each verdict and each state that there is', () => {
    const text = readFileSync(`${folder}/gitops-status.json`, 'utf8').replace(/\s/g, '');
    for (const value of [...VERDICTS, ...VERDICTS.keys()])
      expect(text).to.match(new RegExp(`"${value}":\\{"[^}]*"color"`));
  });

  for (const name of readdirSync(folder)) {
    const dashboard: Dashboard = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'));
    const panels = dashboard.panels.filter(({ type }) => type !== 'row');

    describe(dashboard.title, () => {
      it('is a classic dashboard with a fixed uid and no id, named like its file', () => {
        expect(dashboard).to.include({ id: null, uid: name.replace('.json', '') });
        expect(dashboard.schemaVersion).to.be.a('number');
      });

      it('has panels with unique ids and unique titles', () => {
        const ids = dashboard.panels.map(({ id }) => id);
        const titles = dashboard.panels.map(({ title }) => title);
        expect(new Set(ids).size).to.equal(ids.length);
        expect(new Set(titles).size).to.equal(titles.length);
        expect(titles.every((title) => title !== '')).to.equal(true);
      });

      it('has panels that stay within the grid and do not cover each other', () => {
        const taken = new Map<string, string>();
        for (const { title, gridPos } of dashboard.panels) {
          expect(gridPos.x + gridPos.w, title).to.be.at.most(24);
          for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
            for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
              expect(taken.get(`${x},${y}`), `${title} covers it`).to.equal(undefined);
              taken.set(`${x},${y}`, title);
            }
          }
        }
      });

      it('has a unit on every panel', () => {
        for (const { title, fieldConfig } of panels) expect(fieldConfig.defaults.unit, title).to.be.a('string');
      });

      it('leaves the choice of the data source to the viewer, everywhere', () => {
        const [variable] = dashboard.templating.list;
        expect(variable?.type).to.equal('datasource');
        const sources = JSON.stringify(dashboard).matchAll(/"datasource":\{"type":"[^"]+","uid":"([^"]+)"\}/g);
        expect(new Set([...sources].map(([, uid]) => uid))).to.deep.equal(new Set([`\${${variable?.name}}`]));
      });

      it('offers repo and server, several or all of them', () => {
        for (const wanted of ['repo', 'server']) {
          const variable = dashboard.templating.list.find((one) => one.name === wanted);
          expect(variable).to.include({ multi: true, includeAll: true });
          expect(variable?.allValue).to.be.oneOf(['*', '.*']);
        }
      });

      it('overrides only columns that exist', () => {
        for (const { title, targets, fieldConfig } of panels) {
          const columns = targets.flatMap((target) => target.columns ?? []).map(({ text }) => text);
          for (const { matcher } of fieldConfig.overrides ?? []) {
            if (matcher.id === 'byName') expect(columns, title).to.include(matcher.options);
          }
        }
      });
    });
  }
});

describe('Grafana provisioning', () => {
  const { datasources }: { datasources: DataSource[] } = parse(
    readFileSync('grafana/provisioning/datasources/gitops.yml', 'utf8'),
  );
  const { providers }: { providers: { type: string }[] } = parse(
    readFileSync('grafana/provisioning/dashboards/gitops.yml', 'utf8'),
  );

  it('gives the Infinity data source its URL, the hosts it may reach, and a health check that calls the service', () => {
    const infinity = datasources.find(({ type }) => type === 'yesoreyeram-infinity-datasource');
    expect(infinity?.jsonData?.allowedHosts).to.deep.equal([`${infinity?.url}/`]);
    expect(infinity?.jsonData).to.include({ customHealthCheckEnabled: true, customHealthCheckUrl: '/healthz' });
  });

  it('gives both data sources fixed uids', () => {
    expect(datasources.map(({ uid }) => uid)).to.deep.equal(['gitops-status', 'gitops-prometheus']);
  });

  it('reads the dashboards from a folder', () => {
    expect(providers.map(({ type }) => type)).to.deep.equal(['file']);
  });
});

type Dashboard = {
  id: null;
  uid: string;
  title: string;
  schemaVersion: number;
  templating: { list: Variable[] };
  panels: Panel[];
};
type Variable = { type: string; name: string; multi: boolean; includeAll: boolean; allValue?: string };
type Panel = {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets: { columns?: { text: string }[] }[];
  fieldConfig: {
    defaults: { unit?: string };
    overrides?: { matcher: { id: string; options: string } }[];
  };
};
type DataSource = {
  uid: string;
  type: string;
  url: string;
  jsonData?: { allowedHosts?: string[]; customHealthCheckEnabled?: boolean; customHealthCheckUrl?: string };
};
