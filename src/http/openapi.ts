import { paths } from './openapi-operations.ts';
import { schemas } from './openapi-schemas.ts';

const DESCRIPTION = `Whether what CI configured on servers still equals Git. Beside the answers that are named, any request may be refused because \
of its form (400, 404, 405, 408, 417, 431), because of a fault of the service (500) or because the service has too much to do (503 with Retry-After, \
reason \`overloaded\`); a query of the past that takes too long is 503 \`query_timeout\`. Each refusal is a Problem. Objects may have more \
members one day: ignore those that you do not know.`;

const tags = [
  { name: 'reports', description: 'What checks found.' },
  { name: 'sources', description: 'What is known now of each pair of repo and server.' },
  { name: 'history', description: 'What was.' },
  { name: 'events', description: 'What happens.' },
  { name: 'operations', description: 'The service itself.' },
];

/** The OpenAPI 3.1 document as JSON text. */
export function renderOpenApi(version: string, publicUrl: string | undefined): string {
  return JSON.stringify({
    openapi: '3.1.0',
    info: {
      title: 'gitops-status-server',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: DESCRIPTION,
    },
    servers: [{ url: publicUrl ?? '/' }],
    tags,
    paths,
    components: {
      schemas,
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'Where the service has a TOKENS_FILE: a token with the scope that the operation names.',
        },
      },
    },
  });
}
