import type { Server, ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';

/** The connections of one server, at most so many at a time, since each takes memory and a file descriptor. */
export type Connections = {
  readonly size: number;
  /**
   * Counts every connection of the server. At the bound one is closed to make room: of those without a request under way the one that has
   * been idle for the longest time, else the one that has kept a request incomplete for the longest time. So whoever sends slowly, or nothing,
   * locks out nobody.
   */
  watch(server: Server | TlsServer, atBound: AtBound): void;
  /** Notes that the response's request has begun; it is under way until the response closes. */
  requestBegan(response: ServerResponse): void;
  /** Responses that the connection still waits for, in their order. */
  responsesOf(socket: Socket): readonly ServerResponse[];
  /**
   * Sends a last answer and closes. What the client still sends is read for a while and thrown away: with bytes left unread the client's
   * system would throw away the answer.
   */
  closeWith(socket: Socket, answer: string): void;
  /** Closes those that wait for a request. New ones are first given a moment to send one. */
  closeIdle(): void;
  closeAll(): void;
};

/** What is told of the bound. */
export type AtBound = {
  /** An incomplete request was cut off to make room. */
  cutOff(socket: Socket): void;
  /** All connections have complete requests under way: the new one is to be refused. */
  refuse(socket: Socket): void;
};

type Connection = {
  /** With TLS the one that carries what is encrypted, as soon as there is one. */
  socket: Socket;
  /** The list that it is in. */
  list: Set<Connection>;
  /** Since when it has waited for a request, milliseconds of `performance.now()`. */
  since: number;
  /** What the socket had read then. */
  bytesRead: number;
  readonly responses: Set<ServerResponse>;
};

/** So long a new connection may take to begin with its request, before it counts as idle. */
const NEWCOMER_MS = 1000;
/** After its last answer a connection is open for so long at most. */
const LINGER_MS = 5000;
/** What is thrown away meanwhile: as much as the largest body that anybody sends. Beyond, the connection is closed. */
const MAX_LINGER_BYTES = 8_388_608;

/** @param max how many connections there may be. While all of them are busy, there is one more: the last that was refused. */
export function createConnections(max: number): Connections {
  // each in the order in which they came into it
  const ending = new Set<Connection>();
  /** Kept after an answer. */
  const kept = new Set<Connection>();
  /** Without any request so far. */
  const fresh = new Set<Connection>();
  /** With a request under way, complete or not. */
  const busy = new Set<Connection>();
  const lists = [ending, kept, fresh, busy];
  const bySocket = new WeakMap<Socket, Connection>();
  /** By its peer, those in a TLS handshake: it makes a new socket, which does not tell which one it came from. */
  const inHandshake = new Map<string, Connection>();

  const count = (): number => ending.size + kept.size + fresh.size + busy.size;

  function add(socket: Socket): Connection {
    const connection = {
      socket,
      list: fresh,
      since: performance.now(),
      bytesRead: 0,
      responses: new Set<ServerResponse>(),
    };
    fresh.add(connection);
    bySocket.set(socket, connection);
    socket.once('close', () => remove(connection));
    return connection;
  }

  function move(connection: Connection, list: Set<Connection>): void {
    // one that has been removed stays away
    if (!connection.list.delete(connection)) return;
    connection.list = list;
    list.add(connection);
  }

  function remove(connection: Connection): void {
    connection.list.delete(connection);
  }

  function startToWait(connection: Connection, list: Set<Connection>): void {
    connection.since = performance.now();
    connection.bytesRead = connection.socket.bytesRead;
    move(connection, list);
  }

  function cut(connection: Connection): void {
    remove(connection);
    connection.socket.destroy();
  }

  /** @returns whether there is room for one more */
  function makeRoom(atBound: AtBound): boolean {
    while (count() >= max) {
      const idle = ending.values().next().value ?? oldestIdle();
      const victim = idle ?? slowest();
      if (victim === undefined) return false;
      if (idle === undefined) atBound.cutOff(victim.socket);
      cut(victim);
    }
    return true;
  }

  function oldestIdle(): Connection | undefined {
    const newcomer = oldestSilent(fresh);
    const isIdle = newcomer !== undefined && performance.now() - newcomer.since >= NEWCOMER_MS;
    return older(oldestSilent(kept), isIdle ? newcomer : undefined);
  }

  function slowest(): Connection | undefined {
    const incomplete = busy.values().find(({ responses }) => !isComplete(responses));
    return older(incomplete, oldestSilent(fresh));
  }

  /** Those in the list that have begun to send a request are busy from then on. */
  function oldestSilent(list: Set<Connection>): Connection | undefined {
    for (const connection of list) {
      if (isSilent(connection)) return connection;
      move(connection, busy);
    }
    return undefined;
  }

  function watchHandshakes(server: TlsServer): void {
    server.on('secureConnection', (secure) => {
      const connection = inHandshake.get(peerOf(secure));
      if (connection === undefined) return;
      inHandshake.delete(peerOf(secure));
      bySocket.set(secure, connection);
      connection.socket = secure;
      startToWait(connection, fresh);
    });
  }

  function findConnection(socket: Socket): Connection | undefined {
    return bySocket.get(socket) ?? inHandshake.get(peerOf(socket));
  }

  return {
    get size() {
      return count();
    },

    watch(server, atBound) {
      const isTls = 'setSecureContext' in server;
      if (isTls) watchHandshakes(server);
      server.on('connection', (socket: Socket) => {
        const hasRoom = makeRoom(atBound);
        const connection = add(socket);
        if (!hasRoom) atBound.refuse(socket);
        else if (isTls) rememberPeer(inHandshake, connection);
      });
    },

    requestBegan(response) {
      const connection = bySocket.get(response.req.socket);
      if (connection === undefined || connection.list === ending) return;
      connection.responses.add(response);
      connection.since = performance.now();
      move(connection, busy);
      response.once('close', () => {
        connection.responses.delete(response);
        if (connection.responses.size === 0 && connection.list === busy) startToWait(connection, kept);
      });
    },

    responsesOf: (socket) => [...(bySocket.get(socket)?.responses ?? [])],

    closeWith(socket, answer) {
      const connection = findConnection(socket);
      if (connection === undefined) socket.destroy();
      else {
        move(connection, ending);
        sayGoodbye(connection.socket, answer);
      }
    },

    closeIdle() {
      const newest = performance.now() - NEWCOMER_MS;
      for (const connection of kept) if (isSilent(connection)) cut(connection);
      for (const connection of fresh) if (isSilent(connection) && connection.since <= newest) cut(connection);
    },

    closeAll() {
      for (const list of lists) for (const connection of list) cut(connection);
    },
  };
}

function isSilent({ socket, bytesRead }: Connection): boolean {
  return socket.bytesRead === bytesRead;
}

/** Without any request the head of one is incomplete. */
function isComplete(responses: ReadonlySet<ServerResponse>): boolean {
  return responses.size > 0 && responses.values().every(({ req }) => req.complete);
}

function older(a: Connection | undefined, b: Connection | undefined): Connection | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a.since <= b.since ? a : b;
}

function rememberPeer(inHandshake: Map<string, Connection>, connection: Connection): void {
  const peer = peerOf(connection.socket);
  inHandshake.set(peer, connection);
  connection.socket.once('close', () => {
    // a new one from the same port may have come before this one was known to be gone
    if (inHandshake.get(peer) === connection) inHandshake.delete(peer);
  });
}

/** Two open connections never share it. */
function peerOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}

function sayGoodbye(socket: Socket, answer: string): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.on('error', () => socket.destroy());
  const limit = socket.bytesRead + MAX_LINGER_BYTES;
  // in the place of the parser, which would go on with what comes
  socket.removeAllListeners('data');
  socket.on('data', () => {
    if (socket.bytesRead > limit) socket.destroy();
  });
  socket.end(answer);
  socket.resume();
}
