import type { DatabaseSync } from 'node:sqlite';

/** Marks the file as ours ("gitS"), so that another program's database is never touched. */
export const APPLICATION_ID = 0x67697453;

/** Numbered from 1; `PRAGMA user_version` is the number of the last one applied. Never edited once released, only added to. */
export const MIGRATIONS = [
  `
  -- One row for each life of a source: from its first report until it is removed. AUTOINCREMENT: an id never names two lives.
  -- files is [[name, since, times], ...], the drifts that are open, in the order in which they were posted.
  CREATE TABLE sources (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repo TEXT NOT NULL,
    server TEXT NOT NULL,
    version INTEGER NOT NULL,
    sync_status TEXT NOT NULL CHECK (sync_status IN ('SYNCED', 'OUT_OF_SYNC')),
    last_check TEXT NOT NULL,
    commit_id TEXT,
    pipeline_url TEXT,
    first_seen INTEGER NOT NULL,
    status_since INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    stale_at INTEGER NOT NULL,
    removed_at INTEGER,
    files TEXT NOT NULL,
    diffs TEXT
  ) STRICT;
  -- one living row per source; finds it by name
  CREATE UNIQUE INDEX sources_living ON sources (repo, server) WHERE removed_at IS NULL;
  -- finds what to prune, and the removed sources of a time range
  CREATE INDEX sources_removed ON sources (removed_at) WHERE removed_at IS NOT NULL;

  -- Drifts that are over; the key finds a source's history and how often a file has drifted. Open ones are in sources.files.
  CREATE TABLE drifts (
    source_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    times INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER NOT NULL,
    PRIMARY KEY (source_id, name, times)
  ) STRICT, WITHOUT ROWID;
  -- finds what overlaps a time range of the whole fleet, and what to prune
  CREATE INDEX drifts_closed ON drifts (closed_at);

  -- Lapses that are over. The one a source is in now follows from its stale_at.
  CREATE TABLE lapses (
    source_id INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    PRIMARY KEY (source_id, began_at)
  ) STRICT, WITHOUT ROWID;
  -- as drifts_closed
  CREATE INDEX lapses_ended ON lapses (ended_at);

  -- Written to find out whether writing works.
  CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), payload BLOB NOT NULL) STRICT;
  `,
  `
  -- How long the drifts of a repo lasted that a report has ended: counts per bucket of durations.ts, as a JSON list, and their sum.
  -- Kept apart from drifts, so that pruning those takes nothing from a counter.
  CREATE TABLE durations (
    repo TEXT PRIMARY KEY,
    counts TEXT NOT NULL,
    sum_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- The name of the token that the newest report came with: what counts towards its share, also after a restart.
  ALTER TABLE sources ADD COLUMN reported_by TEXT;
  `,
  `
  -- When a report of the source was last refused; null once one is accepted.
  ALTER TABLE sources ADD COLUMN last_rejected_at INTEGER;
  `,
  `
  -- sync_status is what was last told; told = 0: nothing was yet, and sync_status says SYNCED. unknown_since is set while the newest report could
  -- not tell, and message says why. truncated_count: how many files differ, where a report did not name all. labels is a JSON object.
  ALTER TABLE sources ADD COLUMN told INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE sources ADD COLUMN unknown_since INTEGER;
  ALTER TABLE sources ADD COLUMN message TEXT;
  ALTER TABLE sources ADD COLUMN truncated_count INTEGER;
  ALTER TABLE sources ADD COLUMN labels TEXT;
  -- When last_check was found to lie ahead of the clock; null once a report is accepted.
  ALTER TABLE sources ADD COLUMN doubted_at INTEGER;

  -- Times in which the check of a source could not tell that are over. The one that it is in now follows from its unknown_since.
  CREATE TABLE outages (
    source_id INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    PRIMARY KEY (source_id, began_at)
  ) STRICT, WITHOUT ROWID;
  -- as drifts_closed
  CREATE INDEX outages_ended ON outages (ended_at);
  `,
];

/** Brings the schema up to date, each step in a transaction of its own. */
export function migrate(db: DatabaseSync): void {
  const { user_version: current } = db.prepare('PRAGMA user_version').get() as { user_version: number };
  for (const [index, sql] of MIGRATIONS.entries()) {
    if (index < current) continue;
    db.exec(
      `BEGIN IMMEDIATE; ${sql}; PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${index + 1}; COMMIT`,
    );
  }
}
