/** One line of the report. Empty where it does not apply. */
export type Row = {
  readonly what: string;
  readonly figure: string;
  readonly comparedWith: string;
  readonly ratio: string;
  readonly must: string;
  readonly verdict: 'ok' | 'short' | '';
};

const HEAD = {
  what: 'what',
  figure: 'figure',
  comparedWith: 'compared with',
  ratio: 'ratio',
  must: 'must',
  verdict: '',
};

/** A figure that must be at least `least` times another one. Without `least` it is shown for information. */
export function ratioRow(row: {
  what: string;
  figure: string;
  comparedWith: string;
  ratio: number;
  least?: number;
}): Row {
  const { ratio, least } = row;
  return {
    what: row.what,
    figure: row.figure,
    comparedWith: row.comparedWith,
    ratio: ratio >= 100 ? ratio.toFixed(0) : ratio.toFixed(2),
    must: least === undefined ? '' : `≥ ${least}`,
    verdict: least === undefined ? '' : verdict(ratio >= least),
  };
}

/** A figure that must not exceed `most`. Without `most` it is shown for information. */
export function limitRow(row: { what: string; figure: number; most?: number; format: (value: number) => string }): Row {
  const { what, figure, most, format } = row;
  return {
    what,
    figure: format(figure),
    comparedWith: '',
    ratio: '',
    must: most === undefined ? '' : `≤ ${format(most)}`,
    verdict: most === undefined ? '' : verdict(figure <= most),
  };
}

export function renderTable(rows: readonly Row[]): string {
  const columns = Object.keys(HEAD) as (keyof Row)[];
  const widths = columns.map((column) => Math.max(...[HEAD, ...rows].map((row) => row[column].length)));
  const lines = [HEAD, ...rows].map((row) =>
    columns
      .map((column, i) => row[column].padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => '─'.repeat(width)).join('  '));
  return `${lines.join('\n')}\n`;
}

export const perSecond = (value: number): string => `${Math.round(value).toLocaleString('en')}/s`;
export const ms = (value: number): string => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
export const megabytes = (value: number): string => `${(value / 1e6).toFixed(1)} MB`;
export const bytes = (value: number): string => `${Math.round(value).toLocaleString('en')} B`;

function verdict(isReached: boolean): Row['verdict'] {
  return isReached ? 'ok' : 'short';
}
