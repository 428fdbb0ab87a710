import { describeHostileClients } from './hostile-clients.ts';

describeHostileClients('hostile clients', () => ({ clients: 60, holdMs: 2000 }), 20);
