import { once } from 'node:events';
import { Worker, parentPort } from 'node:worker_threads';
import { StoreError } from '../store.ts';

/** Functions that a worker thread runs for the main thread; arguments and results are cloned. */
type Operations = Record<string, (...args: never[]) => unknown>;

type Reply = { readonly value: unknown } | { readonly error: string };

/** Runs in the worker: answers the calls of {@link startWorker} one after another, and ends after `close`. */
export function serve(operations: Operations): void {
  const port = parentPort;
  if (port === null) throw new Error('not in a worker thread');
  port.on('message', ([name, args]: [string, never[]]) => {
    let reply: Reply;
    try {
      reply = { value: operations[name]?.(...args) };
    } catch (error) {
      reply = { error: (error as Error).message };
    }
    port.postMessage(reply);
    if (name === 'close') port.close();
  });
  port.postMessage({ value: undefined } satisfies Reply);
}

/**
 * Starts a worker thread whose module calls {@link serve}, and resolves once it does. Calls are answered in their order. If the thread dies
 * by itself, so does the process: without its store it has nothing to say.
 * @throws {StoreError} when the module fails while it loads, and from calls whose operation throws
 */
export async function startWorker<O extends Operations>(module: URL, workerData: unknown) {
  const worker = new Worker(module, { workerData });
  const pending: { resolve: (value: never) => void; reject: (error: Error) => void }[] = [];
  try {
    await once(worker, 'message');
  } catch (error) {
    throw new StoreError((error as Error).message, { cause: error });
  }

  worker.on('message', (reply: Reply) => {
    const call = pending.shift();
    if ('error' in reply) call?.reject(new StoreError(reply.error));
    else call?.resolve(reply.value as never);
  });
  worker.on('error', (error) => {
    throw error;
  });

  return function call<K extends keyof O & string>(name: K, ...args: Parameters<O[K]>): Promise<ReturnType<O[K]>> {
    return new Promise((resolve, reject) => {
      pending.push({ resolve, reject });
      worker.postMessage([name, args]);
    });
  };
}
