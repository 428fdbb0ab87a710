import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Logger } from 'pino';
import { type Tokens, type TokensFile, openTokens } from './access/tokens.ts';
import { type Config, HELP, parseConfig } from './config.ts';
import { ConfigError } from './core/config-error.ts';
import { type Fleet, createFleet } from './fleet/fleet.ts';
import { startHousekeeping } from './fleet/housekeeping.ts';
import { type Limits, overfullWarning, toLimits } from './fleet/usage.ts';
import { createApp } from './http/app.ts';
import { createRequireScope } from './http/authorization.ts';
import { type Connections, createConnections } from './http/connections.ts';
import { type EventStream, createEventStream } from './http/event-stream.ts';
import { listen } from './http/listen.ts';
import { type Metrics, createMetrics } from './http/metrics.ts';
import { createFleetEtag } from './http/etag.ts';
import { startPulse } from './http/pulse.ts';
import { toEtagHeader } from './http/response.ts';
import { createProtocolErrors } from './http/protocol-errors.ts';
import { openLog } from './log.ts';
import { connectionsThatFit } from './open-files.ts';
import { type Observers, createObservers } from './observers.ts';
import { type Shutdown, handleSignals } from './shutdown.ts';
import { openSqlite } from './store/sqlite/sqlite.ts';
import { type Store, StoreError } from './store/store.ts';

const NAME = 'gitops-status-server';
const COMMIT_TIMEOUT_MS = 10_000;
const CLOCKS = { now: Date.now, monotonic: () => performance.now() };

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

await main();

async function main(): Promise<void> {
  // that nobody reads them (any more) is no reason to end
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
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

/** Starts the service, step by step: each needs the one before. It runs until a signal ends it. */
async function run(config: Config): Promise<void> {
  const startedAt = performance.now();
  const { log, output } = openLog(config.logLevel);
  // before anything that takes time
  const shutdown = handleSignals({ log, drainLog: output.drain, maySignalTwice: isRunByNpm() });
  const tokens = config.tokensFile === undefined ? undefined : openTokens(config.tokensFile);
  const warnings: string[] = [];
  const store = await openSqlite(config.dataDir, (warning) => warnings.push(warning));
  const limits = toLimits(config.maxSources, config.maxOpenDrifts);
  const maxConnections = Math.min(config.maxConnections, connectionsThatFit());
  const connections = createConnections(maxConnections);
  const metrics = createMetrics({
    version,
    store: store.name,
    connections: () => connections.size,
    limits,
    maxConnections,
  });
  output.onDrop(metrics.logLinesDropped);
  const bootId = randomUUID().slice(0, 8);
  const events = createEventStream(bootId, Date.now);
  const observers = createObservers(log, metrics, events, Date.now);
  const fleet = await loadFleet(config, limits, store, observers);
  const housekeeping = startHousekeeping({ ...observers, ...config, ...CLOCKS, fleet, store });
  const etagAt = createFleetEtag(fleet, bootId);
  const pulse = startPulse({ fleet, events, now: Date.now, etagNow: () => toEtagHeader(etagAt(Date.now())) });
  const server = await serve(config, { bootId, fleet, store, metrics, events, connections, tokens, log, shutdown });
  const watching = tokens?.watch((changed) => tokensChanged(changed, metrics, events, log));

  log.info(
    {
      data_dir: config.dataDir,
      store: store.name,
      sources: fleet.size,
      ms: Math.round(performance.now() - startedAt),
      ...(warnings.length > 0 && { warnings }),
    },
    `data is in ${config.dataDir}`,
  );
  for (const warning of warnings) log.warn(warning);
  const overfull = overfullWarning(fleet);
  if (overfull !== undefined) log.warn(overfull);
  if (maxConnections < config.maxConnections) {
    log.warn(`${maxConnections} connections instead of MAX_CONNECTIONS: no more fit into the files that may be open`);
  }
  if (tokens === undefined) log.warn('access control is off: whoever reaches the port can report, read and delete');
  else log.info(tokensLine(tokens.current()), 'access control is on');
  log.info({ port: server.port, version, node: process.version }, `listening on ${server.url}`);
  output.flush();

  shutdown.closeWith(async () => {
    pulse.stop();
    events.disconnect();
    await server.close();
    housekeeping.stop();
    watching?.stop();
    await fleet.drain();
    await store.close();
  });
}

function loadFleet(config: Config, limits: Limits, store: Store, observers: Observers): Promise<Fleet> {
  return createFleet({
    ...observers,
    store,
    ...CLOCKS,
    staleAfterMs: config.staleAfterMs,
    limits,
    commitTimeoutMs: COMMIT_TIMEOUT_MS,
  });
}

type Parts = {
  readonly bootId: string;
  readonly fleet: Fleet;
  readonly store: Store;
  readonly metrics: Metrics;
  readonly events: EventStream;
  readonly connections: Connections;
  readonly tokens: TokensFile | undefined;
  readonly log: Logger;
  readonly shutdown: Shutdown;
};

function serve(config: Config, { connections, tokens, shutdown, ...parts }: Parts): ReturnType<typeof listen> {
  const protocolErrors = createProtocolErrors({ ...parts, connections, newRequestId: randomUUID, now: Date.now });
  const app = createApp({
    ...parts,
    requireScope: createRequireScope(tokens?.current, Date.now),
    now: Date.now,
    newRequestId: randomUUID,
    version,
    publicUrl: config.publicUrl,
    maxBodyBytes: config.maxBodyBytes,
    historyRetentionMs: config.historyRetentionMs,
    isStopping: shutdown.isStopping,
    isBroken: protocolErrors.isBroken,
    trustedProxies: config.trustedProxies,
  });
  return listen(app.callback(), { ...config, connections, protocolErrors });
}

function tokensChanged(changed: Tokens | ConfigError, metrics: Metrics, events: EventStream, log: Logger): void {
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

function tokensLine({ size, anonymous }: Tokens): Record<string, unknown> {
  return { tokens: size, without_token: [...anonymous] };
}

function isRunByNpm(): boolean {
  return ['start', 'dev'].includes(process.env.npm_lifecycle_event ?? '');
}

function exit(code: number, message: string): never {
  process.stderr.write(`${NAME}: ${message}\n`);
  process.exit(code);
}
