import { WELL_FORMED, reportSchema } from '../core/report-schema.ts';

/** Control characters, as every engine of regular expressions reads them. */
const CONTROL_CHARACTERS = String.raw`\x00-\x1f\x7f-\x9f`;

/**
 * The schema of a report as it is published. Clients of other languages compile its patterns, and `\p{…}` is not the same, or nothing, in
 * Python, Go and Rust. So control characters are spelt out, and half characters, which most languages cannot have in a text, are left to
 * the schema that validates.
 */
export const publishedReport = toPortable(reportSchema) as object;

function toPortable(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(toPortable);
  if (typeof schema !== 'object' || schema === null) return schema;
  const entries = Object.entries(schema)
    .filter(([key, value]) => key !== 'pattern' || value !== WELL_FORMED)
    .map(([key, value]) => [key, key === 'pattern' ? toPortablePattern(String(value)) : toPortable(value)] as const);
  return Object.fromEntries(entries);
}

function toPortablePattern(pattern: string): string {
  return pattern.replaceAll(String.raw`\p{Cc}`, CONTROL_CHARACTERS).replaceAll(String.raw`\p{Cs}`, '');
}
