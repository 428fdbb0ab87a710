import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from './core/config-error.ts';

/** The settings, as read from the environment. Times are milliseconds, sizes are bytes. */
export type Config = {
  readonly port: number;
  /** Undefined: all interfaces, IPv6 and IPv4. */
  readonly host: string | undefined;
  /** Absolute path of the folder that holds the embedded database. */
  readonly dataDir: string;
  readonly staleAfterMs: number;
  /** Undefined: sources never expire. */
  readonly expireAfterMs: number | undefined;
  readonly historyRetentionMs: number;
  readonly maxBodyBytes: number;
  readonly maxSources: number;
  readonly maxOpenDrifts: number;
  readonly maxConnections: number;
  /** The number of proxies before the service. They have added as many addresses at the right end of X-Forwarded-For. */
  readonly trustedProxies: number;
  readonly logLevel: string;
  /** Without a slash at its end. Undefined: links are relative. */
  readonly publicUrl: string | undefined;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** Undefined: access control is off. */
  readonly tokensFile: string | undefined;
};

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const UNIT_MS: Record<string, number> = { s: 1000, m: MINUTE, h: 60 * MINUTE, d: DAY, w: 7 * DAY };

/**
 * Turns the environment into a {@link Config}. An empty variable counts as not set. Variables of other programs are ignored.
 * @throws {ConfigError} naming all wrong or contradictory variables at once
 */
export function parseConfig(env: Record<string, string | undefined>): Config {
  const problems: string[] = [];

  function read<T>(name: string, fallback: T, parse: (text: string) => T): T {
    const text = env[name]?.trim();
    if (text === undefined || text === '') return fallback;
    try {
      return parse(text);
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}, but it is "${text}"`);
      return fallback;
    }
  }

  const tlsCertFile = read('TLS_CERT_FILE', undefined, parseFile);
  const tlsKeyFile = read('TLS_KEY_FILE', undefined, parseFile);
  if (isSet(env.TLS_CERT_FILE) !== isSet(env.TLS_KEY_FILE)) {
    problems.push('TLS_CERT_FILE and TLS_KEY_FILE: set both (https) or neither (http)');
  }
  // Better not to start than to ignore a setting silently.
  if (isSet(env.DATABASE_URL)) {
    problems.push('DATABASE_URL: PostgreSQL is not supported by this version; unset it and use DATA_DIR');
  }

  const config: Config = {
    port: read('PORT', 8080, (text) => parseInteger(text, 0, 65_535)),
    host: read('HOST', undefined, String),
    dataDir: resolve(read('DATA_DIR', './data', String)),
    staleAfterMs: read('STALE_AFTER', 10 * MINUTE, (text) => parseDuration(text, 365 * DAY)),
    expireAfterMs: read('EXPIRE_AFTER', undefined, parseOptionalDuration),
    historyRetentionMs: read('HISTORY_RETENTION', 90 * DAY, (text) => parseDuration(text)),
    maxBodyBytes: read('MAX_BODY_BYTES', 1_048_576, (text) => parseInteger(text, 1024, 104_857_600)),
    maxSources: read('MAX_SOURCES', 100_000, (text) => parseInteger(text, 1, 10_000_000)),
    maxOpenDrifts: read('MAX_OPEN_DRIFTS', 500_000, (text) => parseInteger(text, 100, 100_000_000)),
    maxConnections: read('MAX_CONNECTIONS', 2000, (text) => parseInteger(text, 10, 100_000)),
    trustedProxies: read('TRUSTED_PROXIES', 0, (text) => parseInteger(text, 0, 10)),
    logLevel: read('LOG_LEVEL', 'info', parseLogLevel),
    publicUrl: read('PUBLIC_URL', undefined, parseUrl),
    tls: tlsCertFile && tlsKeyFile ? { certFile: tlsCertFile, keyFile: tlsKeyFile } : undefined,
    tokensFile: read('TOKENS_FILE', undefined, parseFile),
  };
  if (config.expireAfterMs !== undefined && config.expireAfterMs < config.staleAfterMs) {
    problems.push(
      'EXPIRE_AFTER: must not be shorter than STALE_AFTER, or sources would vanish before anyone sees them stale',
    );
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

function isSet(text: string | undefined): boolean {
  return text !== undefined && text.trim() !== '';
}

function parseInteger(text: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new Error(`must be a whole number from ${min} to ${max}`);
  return value;
}

/** `30s`, `10m`, `24h`, `90d`, `2w`; at least a second. Returns milliseconds. */
function parseDuration(text: string, maxMs = 100 * 365 * DAY): number {
  const [, count, unit] = /^(\d{1,9})([smhdw])$/.exec(text) ?? [];
  const ms = Number(count) * (UNIT_MS[unit ?? ''] ?? Number.NaN);
  if (!(ms >= 1000 && ms <= maxMs)) {
    throw new Error(`must be a duration such as 30s, 10m, 24h or 90d, from 1s to ${maxMs / DAY}d`);
  }
  return ms;
}

function parseOptionalDuration(text: string): number | undefined {
  return text === 'off' ? undefined : parseDuration(text);
}

function parseLogLevel(text: string): string {
  if (!LOG_LEVELS.includes(text)) throw new Error(`must be one of ${LOG_LEVELS.join(', ')}`);
  return text;
}

function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new Error('must be an http or https URL without query, such as https://status.example.org');
  }
  return url.href.replace(/\/+$/, '');
}

function parseFile(text: string): string {
  if (!existsSync(text)) throw new Error('must be the path of a readable file');
  return resolve(text);
}

/** The text of `--help`. */
export const HELP = `gitops-status-server: shows whether what CI configured on servers still equals Git.

Usage: npm start [-- --help | --version]

It is configured by environment variables:

  PORT               8080        port to listen on (0: any free one)
  HOST               all         address to listen on
  DATA_DIR           ./data      folder of the embedded SQLite database
  STALE_AFTER        10m         a source without a report for this long is STALE
                                 (a report's own stale_after_seconds goes first)
  EXPIRE_AFTER       off         forget a source this long after its last report
  HISTORY_RETENTION  90d         how long closed drifts and lapses are kept
  MAX_BODY_BYTES     1048576     larger reports are refused with 413
  MAX_SOURCES        100000      new sources beyond are refused with 429
  MAX_OPEN_DRIFTS    500000      reports that would open more are refused with 429
  MAX_CONNECTIONS    2000        more at a time are closed, idle ones first
  TRUSTED_PROXIES    0           proxies before the service, whose X-Forwarded-For
                                 tells a client's address
  LOG_LEVEL          info        ${LOG_LEVELS.join(', ')}
  PUBLIC_URL         -           where users reach the service, for links
  TLS_CERT_FILE      -           PEM files: both set, the service speaks https
  TLS_KEY_FILE       -
  TOKENS_FILE        -           JSON file with who may report, read and delete;
                                 without it, whoever reaches the port may
  DATABASE_URL       -           not supported by this version (refused)

Durations: 30s, 10m, 24h, 90d. Exit codes: 0 stopped as asked, 1 cannot start or run, 2 wrong configuration.
`;
