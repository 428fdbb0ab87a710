import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { renderOpenApi } from '../../src/http/openapi.ts';
import { makeFolder } from '../fixtures.ts';
import { ROOT, run } from './clients.ts';

/** It asks nobody for a newer version, and tells nobody that it ran. */
const OFFLINE = { REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };

describe('the linter of OpenAPI documents', function () {
  this.timeout(60_000);

  async function lint(document: string): Promise<readonly { ruleId: string; message: string }[]> {
    const folder = makeFolder();
    const file = join(folder.path, 'openapi.json');
    const cli = fileURLToPath(import.meta.resolve('@redocly/cli/bin/cli.js'));
    const config = join(ROOT, 'test/clients/redocly.yaml');
    try {
      writeFileSync(file, document);
      const args = [cli, 'lint', file, '--config', config, '--format', 'json'];
      const printed = await run(ROOT, process.execPath, args, OFFLINE).catch((error: Error) => error.message);
      const [json = '{}'] = /\{[^]*\}/.exec(printed) ?? [];
      return (JSON.parse(json) as { problems: readonly { ruleId: string; message: string }[] }).problems;
    } finally {
      folder.remove();
    }
  }

  it('finds nothing, neither errors nor warnings', async () => {
    expect(await lint(renderOpenApi('1.2.3', undefined))).to.deep.equal([]);
    expect(await lint(renderOpenApi('1.2.3', 'https://status.example.org'))).to.deep.equal([]);
  });

  it('would find an operation without a name, and an example that breaks its schema', async () => {
    const text = renderOpenApi('1.2.3', undefined);
    const rules = await lint(
      text.replace('"operationId":"getSource",', '').replace('"out_of_sync":1', '"out_of_sync":"1"'),
    );
    expect(new Set(rules.map(({ ruleId }) => ruleId)))
      .to.include('operation-operationId')
      .and.include('no-invalid-media-type-examples');
  });
});
