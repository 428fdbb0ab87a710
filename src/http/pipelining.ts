import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Knows which answers a connection still waits for: a client may send requests without waiting for answers (HTTP pipelining). */
export type Pipelining = {
  /** Counts the request. Undefined: it is one too many, and its connection has been closed. */
  enter(request: IncomingMessage, response: ServerResponse): PendingAnswer | undefined;
};

export type PendingAnswer = {
  /**
   * Resolves when all answers before this one have gone out: whoever waits for it needs no memory for a body. Never settles when the client
   * leaves before: nobody waits for the answer any more.
   */
  turn(): Promise<unknown>;
  /** Calls back when the answer has gone out, or its connection has ended; at once if that is so already. */
  onClose(callback: () => void): void;
};

/** On one connection; at the bound it is closed. Those who pipeline at all have a few. */
const MAX_WAITING_PER_CONNECTION = 100;
/** Behind others on all connections; at the bound whoever adds one is closed. Who waits for answers never adds one. */
const MAX_WAITING = 5000;

type Callbacks = (() => void)[];
/** What to call for each of its answers. */
type Connection = Map<ServerResponse, Callbacks>;

export function createPipelining(): Pipelining {
  const connections = new WeakMap<Socket, Connection>();
  let waiting = 0;

  function open(socket: Socket): Connection {
    const connection: Connection = new Map();
    connections.set(socket, connection);
    // answers that wait behind another one are not told
    socket.once('close', () => {
      for (const response of connection.keys()) close(connection, response);
    });
    return connection;
  }

  function close(connection: Connection, response: ServerResponse): void {
    const callbacks = connection.get(response);
    if (callbacks === undefined) return;
    connection.delete(response);
    if (connection.size > 0) waiting -= 1;
    for (const callback of callbacks) callback();
  }

  return {
    enter({ socket }, response) {
      // what else was read from a connection that has been closed
      if (socket.destroyed) return undefined;
      const connection = connections.get(socket) ?? open(socket);
      if (connection.size > MAX_WAITING_PER_CONNECTION || (connection.size > 0 && waiting >= MAX_WAITING)) {
        socket.destroy();
        return undefined;
      }
      if (connection.size > 0) waiting += 1;
      const callbacks: Callbacks = [];
      connection.set(response, callbacks);
      response.once('close', () => close(connection, response));

      return {
        async turn() {
          if (response.socket === null) await new Promise((resolve) => response.once('socket', resolve));
        },
        onClose(callback) {
          if (connection.has(response)) callbacks.push(callback);
          else callback();
        },
      };
    },
  };
}
