import { Refusal } from '../core/refusal.ts';
import { type Source, weightOf } from './source-index.ts';
import type { Limits, Usage, Weight } from './usage.ts';

/** The token that a report was sent with, and its share: how much the sources may use whose latest report was sent with it. */
export type Reporter = {
  readonly name: string;
  readonly maxSources: number | undefined;
  readonly maxOpenDrifts: number | undefined;
};

/** Decides for each report of a batch, in order, whether the limits have room for what it adds. */
export type Admission = {
  /**
   * Counts the report in, unless it is refused.
   * @param source undefined: the report is its first
   * @param weight of the source after the report
   * @returns why it is refused, undefined if it is not
   */
  admit(source: Source | undefined, weight: Weight, reporter: Reporter | undefined): Refusal | undefined;
};

type Totals = { sources: number; drifts: number; nameBytes: number; textBytes: number };

const NOTHING: Totals = { sources: 0, drifts: 0, nameBytes: 0, textBytes: 0 };

/** @param usage what is on disk already: the batch comes on top */
export function createAdmission(usage: Usage, limits: Limits): Admission {
  const added = { ...NOTHING };
  const addedTo = new Map<string, Totals>();

  return {
    admit(source, weight, reporter) {
      const growth = minus(weight, source);
      const refusal = refuseGrowth(growth, added, usage, limits) ?? refuseShare(growth, source, weight, reporter);
      if (refusal !== undefined) return refusal;
      count(added, growth);
      moveShare(source, weight, reporter);
      return undefined;
    },
  };

  /** A source counts towards the token of its latest report. If that was another token, all of the source is added to this one's share. */
  function refuseShare(
    growth: Totals,
    source: Source | undefined,
    weight: Weight,
    reporter: Reporter | undefined,
  ): Refusal | undefined {
    if (reporter === undefined) return undefined;
    const { name, maxSources = Infinity, maxOpenDrifts = Infinity } = reporter;
    const share = usage.shareOf(name);
    const pending = addedTo.get(name) ?? NOTHING;
    const toShare = source?.snapshot.reportedBy === name ? growth : { ...weight, sources: 1 };
    if (toShare.sources > 0 && share.sources + pending.sources + 1 > maxSources) {
      return new Refusal(
        'too_many_sources',
        `The token ${name} has its share of sources (max_sources ${maxSources}); those that it reported last go on`,
      );
    }
    if (toShare.drifts > 0 && share.drifts + pending.drifts + toShare.drifts > maxOpenDrifts) {
      return new Refusal(
        'too_many_drifts',
        `The token ${name} has its share of open drifts (max_open_drifts ${maxOpenDrifts}); reports that add none go on`,
      );
    }
    return undefined;
  }

  function moveShare(source: Source | undefined, weight: Weight, reporter: Reporter | undefined): void {
    const before = source?.snapshot.reportedBy ?? null;
    if (source !== undefined && before !== null) {
      const { drifts } = weightOf(source);
      count(pendingOf(before), { ...NOTHING, sources: -1, drifts: -drifts });
    }
    if (reporter !== undefined) count(pendingOf(reporter.name), { ...NOTHING, sources: 1, drifts: weight.drifts });
  }

  function pendingOf(token: string): Totals {
    const pending = addedTo.get(token) ?? { ...NOTHING };
    addedTo.set(token, pending);
    return pending;
  }
}

/** What the report adds, negative where it takes away. */
function minus(weight: Weight, source: Source | undefined): Totals {
  if (source === undefined) return { ...weight, sources: 1 };
  const before = weightOf(source);
  return {
    sources: 0,
    drifts: weight.drifts - before.drifts,
    nameBytes: weight.nameBytes - before.nameBytes,
    textBytes: weight.textBytes - before.textBytes,
  };
}

/** Refuses growth only: beyond a limit, a report may still have less or the same. */
function refuseGrowth(growth: Totals, added: Totals, usage: Usage, limits: Limits): Refusal | undefined {
  if (growth.sources > 0 && usage.sources + added.sources + 1 > limits.maxSources) {
    return new Refusal(
      'too_many_sources',
      `All ${limits.maxSources} sources (MAX_SOURCES) are taken; known ones go on`,
    );
  }
  if (growth.drifts > 0 && usage.openDrifts + added.drifts + growth.drifts > limits.maxOpenDrifts) {
    return new Refusal(
      'too_many_drifts',
      `${usage.openDrifts} files differ already, and ${growth.drifts} more would be over MAX_OPEN_DRIFTS (${limits.maxOpenDrifts}); reports that add none go on`,
    );
  }
  if (growth.nameBytes > 0 && usage.nameBytes + added.nameBytes + growth.nameBytes > limits.maxNameBytes) {
    return tooMuchText('The names of files that differ', limits.maxNameBytes);
  }
  if (growth.textBytes > 0 && usage.textBytes + added.textBytes + growth.textBytes > limits.maxTextBytes) {
    return tooMuchText('Names of sources, URLs and other text', limits.maxTextBytes);
  }
  return undefined;
}

function tooMuchText(what: string, maxBytes: number): Refusal {
  const detail = `${what} would take more than ${maxBytes} bytes (128 for each of MAX_OPEN_DRIFTS); reports that add none go on`;
  return new Refusal('too_much_text', detail);
}

function count(totals: Totals, more: Totals): void {
  totals.sources += more.sources;
  totals.drifts += more.drifts;
  totals.nameBytes += more.nameBytes;
  totals.textBytes += more.textBytes;
}
