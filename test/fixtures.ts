/** Fixtures that the suites share: a valid report, a temporary folder, a clock that tests set, the service in this process. */
import { hash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import pino, { type Logger } from 'pino';
import { createApp } from '../src/http/app.ts';
import { createRequireScope } from '../src/http/authorization.ts';
import { serializeError } from '../src/error-serializer.ts';
import { createConnections } from '../src/http/connections.ts';
import { createFleetEtag } from '../src/http/etag.ts';
import { type Pulse, createPulse } from '../src/http/pulse.ts';
import { toEtagHeader } from '../src/http/response.ts';
import { type EventStream, createEventStream } from '../src/http/event-stream.ts';
import { type Fleet, createFleet } from '../src/fleet/fleet.ts';
import type { Snapshot } from '../src/core/ledger.ts';
import { type SourceIndex, createSourceIndex } from '../src/fleet/source-index.ts';
import { type Limits, type Weight, toLimits, weigh } from '../src/fleet/usage.ts';
import { type ListenOptions, TIME_LIMITS, type TimeLimits, listen } from '../src/http/listen.ts';
import { type Metrics, createMetrics } from '../src/http/metrics.ts';
import { createProtocolErrors } from '../src/http/protocol-errors.ts';
import { createObservers } from '../src/observers.ts';
import { openSqlite } from '../src/store/sqlite/sqlite.ts';
import type { StateChange } from '../src/core/history.ts';
import { type ClosedDrift, type Store, StoreError, type StoredSource } from '../src/store/store.ts';
import type { Tokens } from '../src/access/tokens.ts';

/** Five seconds after the `last_check` of {@link reportBody}. */
export const NOW = Date.UTC(2026, 3, 21, 10, 32, 20);

/** A valid body with two files. `changes` replaces fields; a field that is undefined is left out. */
export function reportBody(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const body = {
    repo: 'rsyslog',
    server: 'rsyslog-lab',
    sync_status: 'OUT_OF_SYNC',
    drift_count: 2,
    files: [{ name: 'rsyslog.conf' }, { name: 'rsyslog.d/30-lab.conf' }],
    last_check: '2026-04-21T10:32:15Z',
    ...changes,
  };
  return JSON.parse(JSON.stringify(body)) as Record<string, unknown>;
}

/** As {@link reportBody}, with exactly these files and the matching status and count. */
export function reportOf(names: readonly string[], changes: Record<string, unknown> = {}): Record<string, unknown> {
  return reportBody({
    sync_status: names.length === 0 ? 'SYNCED' : 'OUT_OF_SYNC',
    drift_count: names.length,
    files: names.map((name) => ({ name })),
    ...changes,
  });
}

/** A source as a store returns it: server `lab` of repo `web`, with `changes`. It is in sync unless it has files. */
export function storedSource(
  id: number,
  { files = [], ...changes }: Partial<Omit<Snapshot, 'files'>> & { files?: readonly string[] } = {},
): StoredSource {
  const snapshot: Snapshot = {
    repo: 'web',
    server: 'lab',
    version: 1,
    toldStatus: files.length === 0 ? 'SYNCED' : 'OUT_OF_SYNC',
    unknownSince: null,
    message: null,
    files: files.map((name) => ({ name, since: NOW, times: 1 })),
    hidden: null,
    truncatedCount: null,
    labels: null,
    lastCheck: '2026-04-21T10:32:15Z',
    lastCheckMs: NOW - 5000,
    commit: null,
    pipelineUrl: null,
    reportedBy: null,
    firstSeen: NOW,
    statusSince: NOW,
    receivedAt: NOW,
    staleAt: NOW - 5000 + 600_000,
    lastRejectedAt: null,
    doubtedAt: null,
    ...changes,
  };
  return { id, snapshot };
}

/** Far more than a test needs, unless it says otherwise. */
export const LIMITS: Limits = toLimits(100_000, 500_000);

/** An index of these sources. */
export function sourceIndexOf(stored: readonly StoredSource[], limits = LIMITS): SourceIndex {
  const index = createSourceIndex(limits);
  index.load(stored);
  return index;
}

/** All that a store holds, in one list. */
export async function loadAll(store: Store): Promise<StoredSource[]> {
  return (await Array.fromAsync(store.load())).flat();
}

/** Closed drifts, without whether there are more. */
export async function driftsOf(store: Store, ...args: Parameters<Store['drifts']>): Promise<ClosedDrift[]> {
  return (await store.drifts(...args)).rows;
}

/** Changes of state, without whether there are more. */
export async function changesOf(store: Store, ...args: Parameters<Store['history']>): Promise<StateChange[]> {
  return (await store.history(...args)).rows;
}

/** Expects that the usage of a fleet is the sum of its sources, none of which has hidden drifts. */
export function expectUsage({ list, usage }: Fleet): void {
  const weights = list().map(({ snapshot }) => weigh(snapshot));
  const sum = (of: (weight: Weight) => number): number => weights.reduce((total, weight) => total + of(weight), 0);
  expect({ ...usage }).to.include({
    sources: weights.length,
    openDrifts: sum(({ drifts }) => drifts),
    nameBytes: sum(({ nameBytes }) => nameBytes),
    textBytes: sum(({ textBytes }) => textBytes),
  });
}

/** A new empty folder. `remove` deletes it with everything in it. */
export function makeFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'gitops-status-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A clock that moves only when a test moves it. Milliseconds since the epoch. */
export type Clock = {
  now: () => number;
  /** The clock that nobody sets: `set` does not move it. */
  monotonic: () => number;
  set(ms: number): void;
  advance(ms: number): void;
};

export function createClock(start = NOW): Clock {
  let ms = start;
  let monotonicMs = 1000;
  return {
    now: () => ms,
    monotonic: () => monotonicMs,
    set(to) {
      ms = to;
    },
    advance(by) {
      ms += by;
      monotonicMs += Math.max(by, 0);
    },
  };
}

/** The hash of a token, as a tokens file has it. */
export function sha256(token: string): string {
  return hash('sha256', token);
}

/** A tokens file. */
export function tokensText(tokens: readonly Record<string, unknown>[], anonymous?: readonly string[]): string {
  return JSON.stringify({ anonymous, tokens });
}

/** Polls until the condition holds. Mocha's timeout ends it. */
export async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await setTimeout(2);
}

export type Disk = {
  /** The store on this disk; reading never fails. */
  readonly store: Store;
  /** The writing operations that were called, in order. */
  readonly calls: readonly string[];
  /** From now on every write fails, with this reason. */
  fail(reason: string): void;
  /** From now on writes hang. */
  hang(): void;
  /** Writes succeed again, and those that hang go on. */
  heal(): void;
};

/** Wraps a store so that its writes can be made to fail or hang. */
export function createDisk(store: Store): Disk {
  const calls: string[] = [];
  let gate = Promise.withResolvers<void>();
  gate.resolve();
  const write =
    <A extends unknown[], R>(operation: string, run: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      calls.push(operation);
      await gate.promise;
      return run(...args);
    };

  return {
    store: {
      ...store,
      commit: write('commit', store.commit),
      prune: write('prune', store.prune),
      ready: write('ready', store.ready),
    },
    calls,
    fail(reason) {
      gate = Promise.withResolvers();
      gate.promise.catch(() => {});
      gate.reject(new StoreError(reason));
    },
    hang() {
      gate = Promise.withResolvers();
    },
    heal() {
      gate.resolve();
      gate = Promise.withResolvers();
      gate.resolve();
    },
  };
}

export type ServiceOptions = {
  /** Kept after `stop`. Without it the service gets a temporary folder, which `stop` deletes. */
  readonly dataDir?: string;
  readonly clock?: Clock;
  readonly staleAfterMs?: number;
  readonly maxSources?: number;
  readonly maxOpenDrifts?: number;
  readonly maxBodyBytes?: number;
  readonly commitTimeoutMs?: number;
  readonly publicUrl?: string;
  readonly bootId?: string;
  readonly maxConnections?: number;
  readonly trustedProxies?: number;
  readonly timeLimits?: Partial<TimeLimits>;
  /** Without it: http. */
  readonly tls?: ListenOptions['tls'];
  /** Undefined: access control is off. */
  readonly tokens?: () => Tokens;
  /** Wraps the real store, such as with a disk that fails. */
  readonly wrapStore?: (store: Store) => Store;
};

export type Service = {
  /** Without a slash at its end. */
  readonly url: string;
  readonly port: number;
  readonly clock: Clock;
  readonly fleet: Fleet;
  readonly store: Store;
  readonly metrics: Metrics;
  readonly events: EventStream;
  /** Beats when a test lets it. */
  readonly pulse: Pulse;
  readonly logger: Logger;
  /** All lines logged so far, at level debug and above. */
  readonly log: readonly Record<string, unknown>[];
  /** Posts a report; a string is sent as it is, anything else as JSON. */
  post(body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** `fetch` of a path of this service. */
  request(path: string, init?: RequestInit): Promise<Response>;
  /** Sets what `isStopping` of the app returns from now on. */
  setStopping(isStopping: boolean): void;
  stop(): Promise<void>;
};

/** Starts the real service on a free port with a real SQLite database. Only its clock is a fake. */
export async function startService(options: ServiceOptions = {}): Promise<Service> {
  const folder = options.dataDir === undefined ? makeFolder() : { path: options.dataDir, remove() {} };
  const clock = options.clock ?? createClock();
  const lines: Record<string, unknown>[] = [];
  const logger = pino(
    { level: 'debug', base: null, serializers: { err: serializeError } },
    { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  let isStopping = false;
  let requests = 0;
  const newRequestId = (): string => {
    requests += 1;
    return `request-${requests}`;
  };

  const opened = await openSqlite(folder.path);
  const store = options.wrapStore?.(opened) ?? opened;
  const limits = toLimits(options.maxSources ?? 100_000, options.maxOpenDrifts ?? 500_000);
  const maxConnections = options.maxConnections ?? 2000;
  const connections = createConnections(maxConnections);
  const metrics = createMetrics({
    version: '1.2.3',
    store: store.name,
    connections: () => connections.size,
    limits,
    maxConnections,
  });
  const bootId = options.bootId ?? 'boot';
  const events = createEventStream(bootId, clock.now);
  const fleet = await createFleet({
    store,
    now: clock.now,
    monotonic: clock.monotonic,
    staleAfterMs: options.staleAfterMs ?? 600_000,
    limits,
    commitTimeoutMs: options.commitTimeoutMs ?? 60_000,
    ...createObservers(logger, metrics, events, clock.now),
  });
  const etagAt = createFleetEtag(fleet, bootId);
  const pulse = createPulse({ fleet, events, now: clock.now, etagNow: () => toEtagHeader(etagAt(clock.now())) });
  const protocolErrors = createProtocolErrors({ connections, metrics, log: logger, newRequestId, now: clock.now });
  const app = createApp({
    fleet,
    store,
    metrics,
    events,
    requireScope: createRequireScope(options.tokens, clock.now),
    log: logger,
    now: clock.now,
    newRequestId,
    bootId,
    version: '1.2.3',
    publicUrl: options.publicUrl,
    maxBodyBytes: options.maxBodyBytes ?? 1_048_576,
    historyRetentionMs: 90 * 24 * 60 * 60_000,
    isStopping: () => isStopping,
    isBroken: protocolErrors.isBroken,
    trustedProxies: options.trustedProxies ?? 0,
  });
  const server = await listen(app.callback(), {
    host: '127.0.0.1',
    port: 0,
    tls: options.tls,
    connections,
    protocolErrors,
    timeLimits: { ...TIME_LIMITS, ...options.timeLimits },
  });

  return {
    url: server.url,
    port: server.port,
    clock,
    fleet,
    store,
    metrics,
    events,
    pulse,
    logger,
    log: lines,
    post: (body, headers = {}) =>
      fetch(`${server.url}/api/status`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    request: (path, init) => fetch(`${server.url}${path}`, init),
    setStopping(value) {
      isStopping = value;
    },
    async stop() {
      events.disconnect();
      await server.close();
      await fleet.drain();
      await opened.close();
      folder.remove();
    },
  };
}
