import { readFileSync } from 'node:fs';

/** For the database, the log, the threads, and connections that are just being closed. */
const RESERVED_FILES = 64;
const MIN_CONNECTIONS = 10;

/**
 * How many connections fit into the files that the system lets this process open: beyond, it could close none to make room for a new one.
 * Infinite where the system does not tell.
 */
export function connectionsThatFit(): number {
  try {
    const [, files] = /^Max open files +(\d+) /m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return files === undefined ? Number.POSITIVE_INFINITY : Math.max(Number(files) - RESERVED_FILES, MIN_CONNECTIONS);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
