import {
  type Advance,
  type OpenDrift,
  type Snapshot,
  advance,
  lapseUntil,
  outageUntil,
  rewind,
  timeAfter,
} from '../core/ledger.ts';
import { type ReconcileHistogram, createHistogram, observe } from '../core/reconcile-histogram.ts';
import { Refusal } from '../core/refusal.ts';
import type { Report } from '../core/report.ts';
import { nameBytesOf, otherTextBytesOf, textBytes } from '../core/text-size.ts';
import type { Change, Outcome, StoredSource } from '../store/store.ts';
import { type Admission, type Reporter, createAdmission } from './admission.ts';
import type { Task } from './queue.ts';
import type { Source, SourceIndex } from './source-index.ts';
import { type Limits, type Weight, weigh } from './usage.ts';

/** What became of a report, once it is on disk. */
export type Accepted = {
  readonly result: Advance['result'] | 'superseded';
  readonly previous: Snapshot | null;
  /** What the source now is. */
  readonly snapshot: Snapshot;
  readonly opened: readonly string[];
  readonly closed: readonly OpenDrift[];
};

/** What waits in the queue: a report to store, a source to forget if `isWanted` still holds by then, or marks of a source. */
export type Work =
  | {
      readonly report: Report;
      readonly reporter: Reporter | undefined;
      /** When a report of the source had last been refused when this one came. */
      readonly rejectedAt: number | null;
    }
  | { readonly removal: Source; readonly isWanted: (source: Source) => boolean }
  | { readonly marked: Source };

/** A task and what it means. Without a change there is nothing to write. */
export type Step = {
  readonly task: Task<Work, Accepted>;
  readonly accepted: Accepted;
  readonly change: Change | null;
  /** Of the snapshot that a report leads to. */
  readonly weight?: Weight;
};
export type WritingStep = Step & { readonly change: Change };

/** What a batch is planned from, and what its outcome changes. */
export type BatchContext = {
  readonly sourceIndex: SourceIndex;
  /** Per repo. */
  readonly histograms: Map<string, ReconcileHistogram>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly staleAfterMs: number;
  readonly limits: Limits;
  readonly onStored: (accepted: Accepted, ignored: readonly string[]) => void;
  readonly onRemoved: (snapshot: Snapshot, at: number) => void;
};

/**
 * Decides what each task means, given that everything before it is on disk: memory holds exactly that. Tasks that cannot be done are
 * rejected here and have no step.
 * @param whole the sources of the batch that are not whole in memory, as they are on disk
 */
export function planBatch(
  batch: readonly Task<Work, Accepted>[],
  context: BatchContext,
  whole: ReadonlyMap<string, StoredSource>,
): Step[] {
  const admission = createAdmission(context.sourceIndex.usage, context.limits);
  const steps: Step[] = [];
  for (const task of batch) {
    const source = context.sourceIndex.find(task.key);
    const snapshot = whole.get(task.key)?.snapshot ?? source?.snapshot ?? null;
    const step = planTask(task, source, snapshot, context, admission);
    if (step instanceof Refusal) task.reject(step);
    else steps.push(step);
  }
  return steps;
}

/**
 * Brings memory to what is on disk and answers each task.
 * @returns the tasks to try again: another process had written their source first
 */
export function settleBatch(
  steps: readonly WritingStep[],
  outcomes: readonly Outcome[],
  context: BatchContext,
): readonly Task<Work, Accepted>[] {
  const again: Task<Work, Accepted>[] = [];
  for (const [index, step] of steps.entries()) {
    const outcome = outcomes[index] as Outcome;
    if ('conflict' in outcome) {
      context.sourceIndex.put(step.task.key, outcome.conflict);
      again.push(step.task);
    } else if (step.change.kind === 'report') {
      settleReport(step, outcome, context);
    } else {
      if (step.change.kind === 'removal') settleRemoval(step, step.change.at, context);
      step.task.resolve(step.accepted);
    }
  }
  return again;
}

function planTask(
  task: Task<Work, Accepted>,
  source: Source | undefined,
  snapshot: Snapshot | null,
  context: BatchContext,
  admission: Admission,
): Step | Refusal {
  if ('removal' in task.work) return planRemoval(task, task.work, source, snapshot, context.now());
  if ('marked' in task.work) return planMarks(task, task.work.marked, source);
  return planReport(task, task.work, source, snapshot, context, admission);
}

function planReport(
  task: Task<Work, Accepted>,
  { report, reporter }: Extract<Work, { report: Report }>,
  source: Source | undefined,
  previous: Snapshot | null,
  { now, monotonic, staleAfterMs }: BatchContext,
  admission: Admission,
): Step | Refusal {
  if (source !== undefined) source.heardAt = monotonic();
  const advanced = advance(previous, report, now(), staleAfterMs, reporter?.name ?? null);
  if (advanced === null) {
    const snapshot = previous as Snapshot;
    return { task, accepted: { result: 'superseded', previous, snapshot, opened: [], closed: [] }, change: null };
  }
  const { result, next, opened, closed } = advanced;
  const weight = source === undefined ? weigh(next) : weightAfter(source, advanced);
  const refusal = admission.admit(source, weight, reporter);
  if (refusal !== undefined) return refusal;
  const expected = source === undefined ? null : { id: source.id, version: source.snapshot.version };
  return {
    task,
    accepted: { result, previous, snapshot: next, opened, closed },
    change: { kind: 'report', expected, advance: advanced, diffs: report.diffs },
    weight,
  };
}

/** As `weigh` of the next snapshot, without looking at the files that stay. */
function weightAfter({ nameBytes }: Source, { next, opened, closed }: Advance): Weight {
  let bytes = nameBytes - nameBytesOf(closed);
  for (const name of opened) bytes += textBytes(name);
  return { drifts: next.files.length, nameBytes: bytes, textBytes: otherTextBytesOf(next) };
}

function planRemoval(
  task: Task<Work, Accepted>,
  { removal, isWanted }: Extract<Work, { removal: Source }>,
  source: Source | undefined,
  snapshot: Snapshot | null,
  now: number,
): Step | Refusal {
  if (source !== removal || snapshot === null || !isWanted(source)) {
    return new Refusal('unknown_source', 'The source is gone already');
  }
  const at = timeAfter(snapshot, now);
  const rewound = rewind(snapshot, at);
  return {
    task,
    accepted: { result: 'unchanged', previous: snapshot, snapshot, opened: [], closed: snapshot.files },
    change: {
      kind: 'removal',
      expected: { id: source.id, version: snapshot.version },
      at,
      closed: rewound.files,
      lapse: lapseUntil(rewound, at),
      outage: outageUntil(rewound, at),
      isRewound: rewound !== snapshot,
    },
  };
}

/** As they are by now: a report that was accepted since has taken them away. */
function planMarks(task: Task<Work, Accepted>, marked: Source, source: Source | undefined): Step | Refusal {
  const { snapshot, id } = marked;
  if (source !== marked) return new Refusal('unknown_source', 'The source is gone already');
  const { lastRejectedAt, doubtedAt } = snapshot;
  return {
    task,
    accepted: { result: 'unchanged', previous: snapshot, snapshot, opened: [], closed: [] },
    change: { kind: 'marks', id, lastRejectedAt, doubtedAt },
  };
}

function settleRemoval({ task, accepted }: Step, at: number, { sourceIndex, onRemoved }: BatchContext): void {
  sourceIndex.put(task.key, null);
  onRemoved(accepted.snapshot, at);
}

function settleReport(
  { task, accepted: planned, weight }: Step,
  { id, times }: Exclude<Outcome, { conflict: unknown }>,
  { sourceIndex, histograms, monotonic, onStored }: BatchContext,
): void {
  for (const { since } of planned.closed) countDrift(histograms, planned.snapshot, since);
  const snapshot = withCounts(planned.snapshot, times);
  const accepted = snapshot === planned.snapshot ? planned : { ...planned, snapshot };
  // one that was refused after this one came
  const refusedSince = sourceIndex.find(task.key)?.snapshot.lastRejectedAt ?? null;
  sourceIndex.put(task.key, { id, snapshot }, weight);
  const source = sourceIndex.find(task.key) as Source;
  source.heardAt = monotonic();
  if ('report' in task.work) {
    if (refusedSince !== null && refusedSince !== task.work.rejectedAt)
      sourceIndex.mark(source, { lastRejectedAt: refusedSince });
    onStored(accepted, task.work.report.ignored);
  }
  task.resolve(accepted);
}

/** Counts in memory the drift that the store has counted on disk. */
function countDrift(
  histograms: Map<string, ReconcileHistogram>,
  { repo, receivedAt }: Snapshot,
  openedAt: number,
): void {
  const histogram = histograms.get(repo) ?? createHistogram();
  histograms.set(repo, histogram);
  observe(histogram, receivedAt - openedAt);
}

/** The snapshot with the `times` that the store has counted for its newly opened drifts. */
function withCounts(snapshot: Snapshot, times: readonly number[]): Snapshot {
  if (times.length === 0) return snapshot;
  let next = 0;
  const files = snapshot.files.map((drift) => {
    if (drift.times !== 0) return drift;
    const count = times[next] ?? 1;
    next += 1;
    return { ...drift, times: count };
  });
  return { ...snapshot, files };
}
