import type { Stage } from './stage.ts';
import type { Row } from './table.ts';

/** The tools of a section. */
export type Bench = {
  readonly stage: Stage;
  readonly rounds: number;
  /** How long one measured run lasts. */
  readonly seconds: number;
  readonly hasPushgateway: boolean;
  /** Prints progress. */
  readonly say: (text: string) => void;
};

export type Section = {
  readonly name: string;
  readonly about: string;
  readonly needsWrk: boolean;
  readonly measure: (bench: Bench) => Promise<Row[]>;
};

export const WARM_UP_SECONDS = 8;
const WARM_UP_REQUESTS = 60_000;

/**
 * V8 optimizes hot code late: the first 30,000 reports run at a third of the speed. So each server gets load before it is measured, and for
 * longer on a slow machine.
 * @param run loads a server for so many seconds; resolves with requests per second
 */
export async function warmUp(run: (seconds: number) => Promise<number>): Promise<void> {
  for (let requests = 0; requests < WARM_UP_REQUESTS;) requests += (await run(WARM_UP_SECONDS)) * WARM_UP_SECONDS;
}

/** Runs every contestant once per round, in turn, so that other load on the machine affects all alike. One figure per round. */
export async function alternate<Contestants extends Record<string, () => Promise<number>>>(
  { rounds, say }: Pick<Bench, 'rounds' | 'say'>,
  contestants: Contestants,
): Promise<{ [Name in keyof Contestants]: number[] }> {
  const figures: Record<string, number[]> = {};
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, run] of Object.entries(contestants)) {
      const figure = await run();
      (figures[name] ??= []).push(figure);
      say(`round ${round}: ${name} ${figure >= 100 ? Math.round(figure) : figure.toPrecision(3)}`);
    }
  }
  return figures as { [Name in keyof Contestants]: number[] };
}

export function median(numbers: readonly number[]): number {
  return quantile(numbers, 0.5);
}

/** @param at 0 … 1 */
export function quantile(numbers: readonly number[], at: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  if (at === 0.5 && sorted.length % 2 === 0) {
    return ((sorted[sorted.length / 2 - 1] ?? Number.NaN) + (sorted[sorted.length / 2] ?? Number.NaN)) / 2;
  }
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? Number.NaN;
}

/** The median of the rounds' ratios. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((figure, round) => figure / (theirs[round] ?? Number.NaN)));
}
