import { isAhead } from '../core/ledger.ts';
import type { Accepted, Work } from './batch.ts';
import type { Queue } from './queue.ts';
import type { Marks, Source, SourceIndex } from './source-index.ts';
import type { WriteHealth } from './write-health.ts';

/**
 * What is found out of sources beside their reports. It is shown at once, and written with the next commit; nobody waits for that. While the
 * disk cannot be written it is in memory only.
 */
export type MarkKeeper = {
  /**
   * A report of the source was refused.
   * @returns false when one was noted a moment ago
   */
  noteRejection(source: Source): boolean;
  /** Looks for sources whose last check lies ahead of the clock. They stay STALE until their next report, whatever time it becomes. */
  doubtAhead(): void;
  /** The clock has turned out to have been behind: takes back what this process has doubted of what no longer lies ahead. */
  withdrawDoubts(): void;
};

export type MarkKeeperOptions = {
  readonly sourceIndex: SourceIndex;
  readonly queue: Queue<Work, Accepted>;
  readonly health: WriteHealth;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
};

/** Refusals of one source are noted no more often. */
const NOTE_MS = 1000;

export function createMarkKeeper({ sourceIndex, queue, health, now, monotonic }: MarkKeeperOptions): MarkKeeper {
  /** Their marks wait to be written: each source at most once. */
  const waiting = new Set<Source>();
  /** Of those that wait, which have another mark since: what is being written may be the one before. */
  const changed = new Set<Source>();
  /** By this process: of those before, nobody knows how their clock went. */
  let doubted = new Set<Source>();

  function mark(source: Source, marks: Marks): void {
    sourceIndex.mark(source, marks);
    if (waiting.has(source)) changed.add(source);
    else write(source);
  }

  function write(source: Source): void {
    if (health.failure !== undefined) return;
    waiting.add(source);
    void queue
      .add({ marked: source }, source.key, 0)
      // it stays in memory; that the disk failed is told elsewhere
      .catch(() => {})
      .finally(() => {
        waiting.delete(source);
        if (changed.delete(source) && !source.isRemoved) write(source);
      });
  }

  return {
    noteRejection(source) {
      source.heardAt = monotonic();
      const isNoted = source.snapshot.lastRejectedAt !== null;
      if (source.isRemoved || (isNoted && monotonic() - source.rejectionNotedAt < NOTE_MS)) return false;
      source.rejectionNotedAt = monotonic();
      mark(source, { lastRejectedAt: now() });
      return true;
    },

    doubtAhead() {
      for (const source of sourceIndex.list()) {
        if (source.snapshot.doubtedAt !== null || !isAhead(source.snapshot, now())) continue;
        doubted.add(source);
        mark(source, { doubtedAt: now() });
      }
    },

    withdrawDoubts() {
      const before = doubted;
      doubted = new Set();
      for (const source of before) {
        if (source.isRemoved || source.snapshot.doubtedAt === null) continue;
        if (isAhead(source.snapshot, now())) doubted.add(source);
        else mark(source, { doubtedAt: null });
      }
    },
  };
}
