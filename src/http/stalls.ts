import type { Socket } from 'node:net';

/** Looks so often before it judges: a process that was suspended for a while then cuts nobody for what was its own fault. */
const LOOKS = 30;

type Progress = { taken: number; looksWithout: number };

/**
 * Cuts off connections whose client takes nothing: while bytes wait for it, some must go out within `stallMs`. It holds for whatever is
 * sent on a connection that was handed over once: lists, events, refusals, and answers to requests that nobody waited with.
 */
export function createStallWatch(stallMs: number): (socket: Socket) => void {
  const watched = new Map<Socket, Progress>();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    for (const [socket, progress] of watched) if (hasStalled(socket, progress)) socket.destroy();
  }

  function forget(socket: Socket): void {
    watched.delete(socket);
    if (watched.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  return (socket) => {
    if (watched.has(socket) || socket.destroyed) return;
    watched.set(socket, { taken: 0, looksWithout: 0 });
    socket.once('close', () => forget(socket));
    timer ??= setInterval(look, stallMs / LOOKS).unref();
  };
}

function hasStalled(socket: Socket, progress: Progress): boolean {
  const unread = socket.writableLength;
  const taken = socket.bytesWritten - unread;
  const isIdle = unread > 0 && taken === progress.taken;
  progress.taken = taken;
  progress.looksWithout = isIdle ? progress.looksWithout + 1 : 0;
  return progress.looksWithout >= LOOKS;
}
