/** Fills a database as if the service had run for a long time. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { createHistogram, observe } from '../src/core/reconcile-histogram.ts';
import { migrate } from '../src/store/sqlite/migrations.ts';

export type Seed = {
  readonly sources: number;
  /** Closed drifts per source, evenly distributed over the last 89 days. */
  readonly closedDrifts?: number;
};

const HOUR_MS = 3_600_000;
/** A little less than what HISTORY_RETENTION keeps by default. */
const HISTORY_MS = 89 * 24 * HOUR_MS;
const SERVERS_PER_REPO = 100;
const FILES = ['rsyslog.conf', 'rsyslog.d/30-lab.conf'] as const;

/** Names as in `report.lua`. */
export function nameOf(i: number, sources: number): { repo: string; server: string } {
  return { repo: `repo-${i % (sources / SERVERS_PER_REPO)}`, server: `server-${i}` };
}

/** Two files, one of two sets. */
export function reportBody(i: number, sources: number, set: number): Record<string, unknown> {
  return {
    ...nameOf(i, sources),
    sync_status: 'OUT_OF_SYNC',
    drift_count: 2,
    files: [{ name: FILES[0] }, { name: `rsyslog.d/${set === 0 ? 30 : 40}-lab.conf` }],
    last_check: new Date().toISOString(),
  };
}

/** Fills the folder of a service that does not run. Every source has two files that differ; none becomes stale for a day. */
export function seedFolder(dataDir: string, { sources, closedDrifts = 0 }: Seed): void {
  const now = Date.now();
  const db = new DatabaseSync(join(dataDir, 'gitops-status.db'));
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000');
  migrate(db);
  db.exec('BEGIN');
  insertSources(db, sources, closedDrifts, now);
  if (closedDrifts > 0) insertDrifts(db, sources, closedDrifts, now);
  db.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
  db.close();
}

function insertSources(db: DatabaseSync, sources: number, closedDrifts: number, now: number): void {
  const insert =
    db.prepare(`INSERT INTO sources (repo, server, version, sync_status, last_check, first_seen, status_since,
    received_at, stale_at, files) VALUES (?, ?, 1, 'OUT_OF_SYNC', ?, ?, ?, ?, ?, ?)`);
  const since = now - HOUR_MS;
  const times = Math.ceil(closedDrifts / FILES.length) + 1;
  const files = JSON.stringify(FILES.map((name) => [name, since, times]));
  const lastCheck = new Date(now).toISOString();
  for (let i = 0; i < sources; i += 1) {
    const { repo, server } = nameOf(i, sources);
    insert.run(repo, server, lastCheck, now - HISTORY_MS, since, now, now + 24 * HOUR_MS, files);
  }
}

/** Inserts drifts in the order of time, so that the pages of the file are as full and as scattered as in real use. */
function insertDrifts(db: DatabaseSync, sources: number, closedDrifts: number, now: number): void {
  const insert = db.prepare('INSERT INTO drifts (source_id, name, times, opened_at, closed_at) VALUES (?, ?, ?, ?, ?)');
  const slotMs = (HISTORY_MS - 2 * HOUR_MS) / closedDrifts;
  const durationMs = Math.floor(Math.min(HOUR_MS, slotMs / 2));
  for (let k = 0; k < closedDrifts; k += 1) {
    const name = FILES[k % FILES.length] as string;
    const times = Math.floor(k / FILES.length) + 1;
    for (let i = 0; i < sources; i += 1) {
      const openedAt = Math.floor(now - HISTORY_MS + slotMs * (k + i / sources / 2));
      insert.run(i + 1, name, times, openedAt, openedAt + durationMs);
    }
  }

  const insertHistogram = db.prepare('INSERT INTO durations (repo, counts, sum_ms) VALUES (?, ?, ?)');
  const histogram = createHistogram();
  for (let n = 0; n < closedDrifts * SERVERS_PER_REPO; n += 1) observe(histogram, durationMs);
  for (let i = 0; i < sources / SERVERS_PER_REPO; i += 1) {
    insertHistogram.run(nameOf(i, sources).repo, JSON.stringify(histogram.counts), histogram.sumMs);
  }
}
