import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { findFreePort, until } from '../process.ts';

export type Daemon = { readonly url: string; stop(): Promise<void> };

/**
 * Starts Prometheus or Alertmanager, and resolves when it says that it is ready. `argsOf` gets the address to listen on: neither can
 * choose a free port and tell which.
 */
export async function startDaemon(program: string, argsOf: (address: string) => string[]): Promise<Daemon> {
  return until(async () => {
    const address = `127.0.0.1:${await findFreePort()}`;
    const child = spawn(program, argsOf(address));
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(-10_000);
      });
    }
    await once(child, 'spawn');
    const isReady = await until(async () => {
      if (child.exitCode !== null) return false;
      const response = await fetch(`http://${address}/-/ready`).catch(() => undefined);
      return response?.ok ? true : undefined;
    });
    // somebody else was given the port meanwhile: try another
    if (!isReady && output.includes('address already in use')) return undefined;
    if (!isReady) throw new Error(`${program} has stopped:\n${output}`);
    return {
      url: `http://${address}`,
      async stop() {
        if (child.exitCode !== null) return;
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      },
    };
  });
}
