import type { Accepted, Work } from './batch.ts';
import type { Queue } from './queue.ts';
import type { Source, SourceIndex } from './source-index.ts';
import type { WriteHealth } from './write-health.ts';

/** Notes of which sources reports were refused. */
export type Rejections = {
  /**
   * Shows it at once, and writes it with the next commit; nobody waits for that. While the disk cannot be written it is in memory only.
   * @returns false when one was noted a moment ago
   */
  note(source: Source): boolean;
};

export type RejectionsOptions = {
  readonly sourceIndex: SourceIndex;
  readonly queue: Queue<Work, Accepted>;
  readonly health: WriteHealth;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
};

/** Those of one source are noted no more often. */
const NOTE_MS = 1000;

export function createRejections({ sourceIndex, queue, health, now, monotonic }: RejectionsOptions): Rejections {
  /** Their notes wait to be written: each source at most once. */
  const waiting = new Set<Source>();

  function write(source: Source): void {
    if (waiting.has(source) || health.failure !== undefined) return;
    waiting.add(source);
    void queue
      .add({ rejected: source }, source.key, 0)
      // it stays in memory; that the disk failed is told elsewhere
      .catch(() => {})
      .finally(() => waiting.delete(source));
  }

  return {
    note(source) {
      source.heardAt = monotonic();
      const isNoted = source.snapshot.lastRejectedAt !== null;
      if (source.isRemoved || (isNoted && monotonic() - source.rejectionNotedAt < NOTE_MS)) return false;
      source.rejectionNotedAt = monotonic();
      sourceIndex.reject(source, now());
      write(source);
      return true;
    },
  };
}
