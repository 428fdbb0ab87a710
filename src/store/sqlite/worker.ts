import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker, parentPort } from 'node:worker_threads';
import { Refusal, type RefusalReason } from '../../core/refusal.ts';
import { StoreError } from '../store.ts';

/**
 * Functions that a worker thread runs for the main thread. Arguments and results are cloned. A generator function runs in slices, in turn with
 * the others: it yields wherever it can be interrupted, and its return value is the result.
 */
type Operations = Record<string, (...args: never[]) => unknown>;
type Sliced = Generator<void, unknown>;
/** The type that the caller of an operation gets. */
type Result<T> = T extends Generator<unknown, infer R> ? R : T;

type Request = readonly [id: number, name: string, args: readonly unknown[]] | readonly [cancelled: number];
type Reply =
  | { readonly id: number; readonly value: unknown }
  | {
      readonly id: number;
      readonly error: string;
      readonly reason?: RefusalReason | undefined;
      readonly mayBeStored?: boolean;
    };

/** How long a sliced operation runs before it is the next one's turn. */
const SLICE_MS = 5;
const READY = 0;

/**
 * Runs in the worker: answers the calls of {@link startWorker}, and ends after `close`. Plain operations are answered in the order of their
 * calls, sliced ones whenever they are done.
 */
export function serve(operations: Operations): void {
  const port = parentPort;
  if (port === null) throw new Error('not in a worker thread');
  const reply = (message: Reply): void => port.postMessage(message);
  const turns = createTurns(reply);
  port.on('message', ([id, name, args]: [id: number, name?: string, args?: never[]]) => {
    if (name === undefined) {
      turns.cancel(id);
      return;
    }
    try {
      const value = operations[name]?.(...(args as never[]));
      if (isSliced(value)) turns.add(id, value);
      else reply({ id, value });
    } catch (error) {
      reply({ id, ...describe(error) });
    }
    if (name === 'close') port.close();
  });
  reply({ id: READY, value: undefined });
}

/** Runs operations in slices, in turn. Between two slices the thread receives messages. */
function createTurns(reply: (message: Reply) => void): {
  add(id: number, sliced: Sliced): void;
  cancel(id: number): void;
} {
  const running = new Map<number, Sliced>();
  let loop: Promise<void> | undefined;

  async function run(): Promise<void> {
    while (running.size > 0) {
      for (const [id, sliced] of running) {
        runSlice(id, sliced);
        await nextTurn();
      }
    }
    loop = undefined;
  }

  function runSlice(id: number, sliced: Sliced): void {
    // it may have been cancelled since this round began
    if (!running.has(id)) return;
    const end = performance.now() + SLICE_MS;
    try {
      let step = sliced.next();
      while (step.done !== true && performance.now() < end) step = sliced.next();
      if (step.done !== true) return;
      running.delete(id);
      reply({ id, value: step.value });
    } catch (error) {
      running.delete(id);
      reply({ id, ...describe(error) });
    }
  }

  return {
    add(id, sliced) {
      running.set(id, sliced);
      loop ??= run();
    },
    cancel(id) {
      running.get(id)?.return(undefined);
      running.delete(id);
    },
  };
}

function isSliced(value: unknown): value is Sliced {
  return typeof value === 'object' && value !== null && Symbol.iterator in value && 'return' in value;
}

function describe(error: unknown): { error: string; reason?: RefusalReason; mayBeStored?: boolean } {
  const { message } = error as Error;
  if (error instanceof Refusal) return { error: message, reason: error.reason };
  return { error: message, mayBeStored: error instanceof StoreError && error.mayBeStored };
}

type Pending = { resolve(value: unknown): void; reject(error: unknown): void };

/**
 * Calls an operation in the worker. Plain operations are done in the order of their calls.
 * @param signal when it is aborted, the call rejects with the signal's reason, and the worker stops the operation
 */
export type Call<O extends Operations> = <K extends keyof O & string>(
  name: K,
  args: Parameters<O[K]>,
  signal?: AbortSignal,
) => Promise<Result<ReturnType<O[K]>>>;

/**
 * Starts a worker thread whose module calls {@link serve}, and resolves once it does. If the thread crashes, the process does too: without its
 * store the service is of no use.
 * @param onOrphan gets the results of calls that were cancelled too late
 * @throws {StoreError} when the module fails while it loads, and from calls whose operation throws; a {@link Refusal} stays one
 */
export async function startWorker<O extends Operations>(
  module: URL,
  workerData: unknown,
  onOrphan: (value: unknown) => void = () => {},
): Promise<Call<O>> {
  const worker = new Worker(module, { workerData });
  const pending = new Map<number, Pending>();
  let lastId = READY;
  try {
    await once(worker, 'message');
  } catch (error) {
    throw new StoreError((error as Error).message, { cause: error });
  }

  worker.on('message', (reply: Reply) => {
    const call = pending.get(reply.id);
    pending.delete(reply.id);
    if (call === undefined) {
      if ('value' in reply) onOrphan(reply.value);
    } else if ('error' in reply) call.reject(toError(reply));
    else call.resolve(reply.value);
  });
  worker.on('error', (error) => {
    throw error;
  });

  return (name, args, signal) => {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    lastId += 1;
    const id = lastId;
    worker.postMessage([id, name, args] satisfies Request);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    pending.set(id, { resolve, reject });
    if (signal === undefined) return promise as never;
    const cancel = (): void => {
      pending.delete(id);
      worker.postMessage([id] satisfies Request);
      reject(signal.reason);
    };
    signal.addEventListener('abort', cancel);
    return promise.finally(() => signal.removeEventListener('abort', cancel)) as never;
  };
}

function toError({ error, reason, mayBeStored = false }: Extract<Reply, { error: string }>): Error {
  return reason === undefined ? new StoreError(error, { mayBeStored }) : new Refusal(reason, error);
}
