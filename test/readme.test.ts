/** What the README tells its readers to type is typed here. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { parseTokens } from '../src/access/tokens.ts';
import { type Service, createClock, startService } from './fixtures.ts';

const run = promisify(execFile);
const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const shellBlocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text = '']) => text);
const inlineCommands = [...readme.matchAll(/`(curl [^`]*)`/gs)].map(([, text = '']) => text);

describe('README', () => {
  let service: Service;

  before(async () => {
    service = await startService({ clock: createClock(Date.now()) });
  });
  after(() => service.stop());

  async function type(command: string): Promise<unknown> {
    const { stdout } = await run('bash', ['-c', command.replaceAll('http://localhost:8080', service.url)]);
    return stdout === '' ? undefined : JSON.parse(stdout);
  }

  it('shows how to report a drift and its end, and how to read it', async () => {
    const [drifted, synced, read] = shellBlocks.filter((text) => text.includes('curl'));
    expect(await type(drifted ?? '')).to.include({ result: 'created', verdict: 'OUT_OF_SYNC', drift_count: 2 });
    expect(await type(read ?? '')).to.have.length(1);
    expect(await type(synced ?? '')).to.include({ result: 'changed', verdict: 'SYNCED', drift_count: 0 });
    expect(await type(read ?? '')).to.deep.equal([]);
  });

  it('shows how to forget a server', async () => {
    const [one, matching] = inlineCommands.filter((text) => text.includes('DELETE'));
    expect(await type(matching ?? '')).to.deep.equal({ deleted: 1 });
    expect(await type(one ?? '')).to.equal(undefined);
    expect(service.fleet.size).to.equal(0);
  });

  it('shows a tokens file that the service takes, and how to make a token for it', async () => {
    const [, file = ''] = /^```json\n(.*?)^```$/ms.exec(readme) ?? [];
    const make = shellBlocks.find((text) => text.includes('sha256sum')) ?? '';
    const made = async (): Promise<readonly string[]> => (await run('bash', ['-c', make])).stdout.split(/\s+/);
    const [[ours = '', hash = ''], [theirs = '', otherHash = '']] = [await made(), await made()];
    const text = file.replace('SHA256_OF_THE_TOKEN', hash).replace('SHA256_OF_ANOTHER', otherHash);
    const { size, find } = parseTokens(text);
    expect([size, find(ours)?.name, find(theirs)?.name]).to.deep.equal([2, 'woodpecker', 'grafana']);
  });
});
