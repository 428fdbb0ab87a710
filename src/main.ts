import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import pino from 'pino';
import { createMay } from './access/authorize.ts';
import { createApp } from './http/app.ts';
import { type Config, ConfigError, HELP, parseConfig } from './config.ts';
import { createEventStream } from './http/event-stream.ts';
import { createFleet } from './fleet/fleet.ts';
import { startHousekeeping } from './fleet/housekeeping.ts';
import { listen } from './http/listen.ts';
import { createMetrics } from './http/metrics.ts';
import { openSqlite } from './store/sqlite/sqlite.ts';
import { StoreError } from './store/store.ts';
import { type Tokens, openTokens } from './access/tokens.ts';

const NAME = 'gitops-status-server';
const COMMIT_TIMEOUT_MS = 10_000;
/** Less than what is promised: after it the process ends, whatever still hangs. */
const STOP_TIMEOUT_MS = 9_500;

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

await main();

async function main(): Promise<void> {
  try {
    const { values } = parseArgs({
      options: { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' } },
    });
    if (values.help) process.stdout.write(HELP);
    else if (values.version) process.stdout.write(`${NAME} ${version}\n`);
    else await run(parseConfig(process.env));
  } catch (error) {
    if (error instanceof ConfigError) exit(2, `wrong configuration\n  ${error.problems.join('\n  ')}`);
    if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS'))
      exit(2, `${(error as Error).message}. See --help`);
    if (error instanceof StoreError) exit(1, error.message);
    if ((error as { syscall?: string }).syscall === 'listen') exit(1, `cannot listen: ${(error as Error).message}`);
    throw error;
  }
}

async function run(config: Config): Promise<void> {
  const destination = pino.destination({ dest: 1, minLength: 8192, periodicFlush: 500, sync: true });
  const log = pino({ level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  const startedAt = performance.now();
  const now = Date.now;
  let isStopping = false;
  // until it listens nothing is under way, and what is on disk is whole
  let close = async (): Promise<void> => {};
  // before anything that takes time, and in the place of `early-signals.ts`
  for (const signal of ['SIGTERM', 'SIGINT']) process.removeAllListeners(signal).on(signal, stop);

  const tokens = config.tokensFile === undefined ? undefined : openTokens(config.tokensFile);
  const store = await openSqlite(config.dataDir);
  const metrics = createMetrics({ version, store: store.name });
  const fleet = await createFleet({
    store,
    now,
    staleAfterMs: config.staleAfterMs,
    maxSources: config.maxSources,
    commitTimeoutMs: COMMIT_TIMEOUT_MS,
    onCommit: metrics.commitDone,
    onStoreError(operation, error) {
      metrics.storeFailed(operation);
      log.error({ operation, err: error }, 'the store failed');
    },
  });
  const housekeeping = startHousekeeping({ fleet, store, config, now, metrics, log });
  const events = createEventStream(now);
  const app = createApp({
    fleet,
    store,
    metrics,
    events,
    may: createMay(tokens?.current, now),
    log,
    now,
    newRequestId: randomUUID,
    bootId: randomUUID().slice(0, 8),
    version,
    publicUrl: config.publicUrl,
    maxBodyBytes: config.maxBodyBytes,
    historyRetentionMs: config.historyRetentionMs,
    isStopping: () => isStopping,
  });
  const server = await listen(app.callback(), config);
  const watching = tokens?.watch(tokensChanged);

  const loadMs = Math.round(performance.now() - startedAt);
  log.info(
    { data_dir: config.dataDir, store: store.name, sources: fleet.size, ms: loadMs },
    `data is in ${config.dataDir}`,
  );
  if (tokens === undefined) log.warn('access control is off: whoever reaches the port can report, read and delete');
  else log.info(tokensLine(tokens.current()), 'access control is on');
  log.info({ port: server.port, version, node: process.version }, `listening on ${server.url}`);
  log.flush();

  close = async () => {
    events.close();
    await server.close();
    housekeeping.stop();
    watching?.stop();
    await fleet.drain();
    await store.close();
  };

  function tokensChanged(changed: Tokens | ConfigError): void {
    const isUsable = !(changed instanceof ConfigError);
    metrics.tokensRead(isUsable);
    if (isUsable) {
      log.info(tokensLine(changed), 'TOKENS_FILE has changed and counts from now on');
      // whoever listens must show again that he may
      events.disconnect();
    } else {
      log.error(
        { problems: changed.problems },
        'TOKENS_FILE has changed and cannot be used: the tokens before still count',
      );
    }
  }

  function stop(signal: NodeJS.Signals): void {
    if (isStopping) process.exit(128 + (signal === 'SIGINT' ? 2 : 15));
    isStopping = true;
    log.info({ signal }, 'stopping');
    setTimeout(() => finish(1, 'stopped before everything had finished'), STOP_TIMEOUT_MS).unref();
    void close().then(() => finish(0, 'stopped'));
  }

  function finish(code: number, message: string): void {
    log.info(message);
    destination.flushSync();
    process.exit(code);
  }
}

function tokensLine({ size, anonymous }: Tokens): Record<string, unknown> {
  return { tokens: size, without_token: [...anonymous] };
}

function exit(code: number, message: string): never {
  process.stderr.write(`${NAME}: ${message}\n`);
  process.exit(code);
}
