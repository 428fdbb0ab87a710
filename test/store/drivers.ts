/** What the contract tests of the store share: the drivers under test, and changes as the fleet would commit them. */
import { type Advance, advance, lapseUntil, outageUntil, rewind } from '../../src/core/ledger.ts';
import { parseReport } from '../../src/core/report.ts';
import { openSqlite } from '../../src/store/sqlite/sqlite.ts';
import type { RemovalChange, ReportChange, Store, StoredSource } from '../../src/store/store.ts';
import { reportOf } from '../fixtures.ts';

/** Each opens the store in a folder. A new folder is an empty store. */
export const drivers: readonly { readonly name: string; open(folder: string): Promise<Store> }[] = [
  { name: 'sqlite', open: openSqlite },
];

export const STALE_AFTER_MS = 600_000;

/** The change that the fleet would commit for a report of these files that arrives at `at`. */
export function reportChange(
  previous: StoredSource | null,
  names: readonly string[],
  at: number,
  changes: Record<string, unknown> = {},
): ReportChange {
  const key = previous === null ? {} : { repo: previous.snapshot.repo, server: previous.snapshot.server };
  const report = parseReport(reportOf(names, { ...key, ...changes }), at);
  return {
    kind: 'report',
    expected: previous && { id: previous.id, version: previous.snapshot.version },
    advance: advance(previous?.snapshot ?? null, report, at, STALE_AFTER_MS) as Advance,
    diffs: report.diffs,
  };
}

export function removalChange({ id, snapshot }: StoredSource, at: number): RemovalChange {
  const rewound = rewind(snapshot, at);
  return {
    kind: 'removal',
    expected: { id, version: snapshot.version },
    at,
    closed: rewound.files,
    lapse: lapseUntil(rewound, at),
    outage: outageUntil(rewound, at),
    isRewound: rewound !== snapshot,
  };
}
