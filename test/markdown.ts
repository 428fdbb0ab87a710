/** Reads the documentation as tests compare it. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';

export function read(path: string): string {
  return readFileSync(path, 'utf8');
}

/** The cells of each row of the table whose first heading is `heading`. */
export function rowsOf(path: string, heading: string): string[][] {
  const [, table = ''] = new RegExp(`^\\| ${heading} \\|.*\\n\\|[-|]+\\n((?:\\|.*\\n)+)`, 'm').exec(read(path)) ?? [];
  expect(table, `the table of ${heading} in ${path}`).to.not.equal('');
  const rows = table.trimEnd().split('\n');
  return rows.map((row) => row.split(/(?<!\\)\|/).slice(1, -1)).map((cells) => cells.map((cell) => cell.trim()));
}

/** What stands between backticks. */
export function codesOf(cell = ''): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
}
