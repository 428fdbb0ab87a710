import { type Snapshot, openDriftsOf } from '../core/ledger.ts';
import type { Store, StoredSource } from '../store/store.ts';
import type { Accepted, Work } from './batch.ts';
import { type Task, storeUnavailable } from './queue.ts';
import type { SourceIndex } from './source-index.ts';

type Tasks = readonly Task<Work, Accepted>[];

/** Open drifts read from the disk for one batch, at most, unless a single source has more. */
const MAX_DRIFTS_READ = 50_000;

/** A batch whose sources are all known in full: those that are not whole in memory as they are on disk, by their keys. */
type WholeBatch = {
  readonly tasks: Tasks;
  readonly whole: ReadonlyMap<string, StoredSource>;
  /** For the next batch: there was no room for their sources. */
  readonly later: Tasks;
};

/** Reads from the disk what a batch needs and memory has not. Nearly always that is nothing. */
export async function readWhole(batch: Tasks, sourceIndex: SourceIndex, store: Store): Promise<WholeBatch> {
  if (sourceIndex.partial === 0) return { tasks: batch, whole: new Map(), later: [] };
  const tasks: Task<Work, Accepted>[] = [];
  const later: Task<Work, Accepted>[] = [];
  const whole = new Map<string, StoredSource>();
  let drifts = 0;
  for (const task of batch) {
    const snapshot = sourceIndex.find(task.key)?.snapshot;
    if (snapshot === undefined || snapshot.hidden === null) {
      tasks.push(task);
    } else if (drifts > 0 && drifts + openDriftsOf(snapshot) > MAX_DRIFTS_READ) {
      later.push(task);
    } else {
      drifts += openDriftsOf(snapshot);
      if (await readSource(task, snapshot, whole, store)) tasks.push(task);
    }
  }
  return { tasks, whole, later };
}

/** Returns whether it could be read; where it could not, the task is answered. */
async function readSource(
  task: Task<Work, Accepted>,
  { repo, server }: Snapshot,
  whole: Map<string, StoredSource>,
  store: Store,
): Promise<boolean> {
  try {
    const stored = await store.source(repo, server);
    if (stored !== null) whole.set(task.key, stored);
    return true;
  } catch (error) {
    task.reject(storeUnavailable('It could not be compared with what is stored, and was not stored', false, error));
    return false;
  }
}
