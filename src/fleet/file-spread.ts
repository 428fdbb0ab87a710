import type { OpenDrift } from '../core/ledger.ts';

/** On how many servers each file differs now. It is updated with every change, so that reads need not visit every source. */
export type FileSpread = {
  /** A source of `repo` has changed its open drifts from `before` (null: it is new) to `after` (null: it is removed). */
  change(repo: string, before: readonly OpenDrift[] | null, after: readonly OpenDrift[] | null): void;
  /** How many servers the repo has. */
  servers(repo: string): number;
  /** On how many servers of the repo the file differs now. */
  drifted(repo: string, name: string): number;
  /** The repos, each with its files that differ now and on how many servers. */
  entries(): Iterable<readonly [repo: string, files: ReadonlyMap<string, number>]>;
};

export function createFileSpread(): FileSpread {
  const repos = new Map<string, { servers: number; files: Map<string, number> }>();

  return {
    change(repo, before, after) {
      if (before === after) return;
      const entry = repos.get(repo) ?? { servers: 0, files: new Map<string, number>() };
      if (before === null) entry.servers += 1;
      if (after === null) entry.servers -= 1;
      for (const { name } of before ?? []) count(entry.files, name, -1);
      for (const { name } of after ?? []) count(entry.files, name, 1);
      if (entry.servers === 0) repos.delete(repo);
      else repos.set(repo, entry);
    },
    servers: (repo) => repos.get(repo)?.servers ?? 0,
    drifted: (repo, name) => repos.get(repo)?.files.get(name) ?? 0,
    *entries() {
      for (const [repo, { files }] of repos) yield [repo, files];
    },
  };
}

function count(files: Map<string, number>, name: string, by: 1 | -1): void {
  const drifted = (files.get(name) ?? 0) + by;
  if (drifted === 0) files.delete(name);
  else files.set(name, drifted);
}
