import { mkdirSync, writeFileSync } from 'node:fs';
import { driftDashboard } from './drift.ts';
import { statusDashboard } from './status.ts';

/** What `npm run generate` writes into grafana/dashboards: the text of each file by its name. */
export function renderDashboards(): Map<string, string> {
  const files = new Map<string, string>();
  for (const builder of [statusDashboard(), driftDashboard()]) {
    const dashboard = builder.build();
    // Links and panel menus refer to a panel by its id; the builder leaves them out.
    for (const [index, panel] of (dashboard.panels ?? []).entries()) panel.id = index + 1;
    // By default the builder hides these in a menu.
    for (const link of dashboard.links ?? []) delete link.placement;
    for (const annotation of dashboard.annotations.list ?? []) delete annotation.placement;
    files.set(`${dashboard.uid}.json`, `${JSON.stringify(dashboard, null, 2)}\n`);
  }
  return files;
}

if (import.meta.main) {
  const folder = new URL('./dashboards/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of renderDashboards()) writeFileSync(new URL(name, folder), text);
}
