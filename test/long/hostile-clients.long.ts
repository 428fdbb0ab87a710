import { describeHostileClients } from '../e2e/hostile-clients.ts';

/** Each is what once ended the service within seconds. */
const CLIENTS: Readonly<Record<string, number>> = {
  'reports of 10,000 files each': 300,
  'connections that send all but one byte of 1 MiB': 600,
};

describeHostileClients(
  'all that hostile clients once did',
  ({ name }) => ({ clients: CLIENTS[name] ?? 400, holdMs: 40_000 }),
  100,
);
