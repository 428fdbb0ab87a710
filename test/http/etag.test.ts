import { expect } from 'chai';
import { type Service, reportBody, startService } from '../fixtures.ts';

/** Each with an ETag that stays while nothing happens. */
const PATHS = [
  '/status.json',
  '/status.json?repo=rsyslog',
  '/files.json',
  '/summary.json',
  '/history.json?from=2026-04-20T00:00:00Z&to=2026-04-21T00:00:00Z',
  '/drifts.json',
  '/api/status/rsyslog/rsyslog-lab',
  '/api/status?repo=rsyslog&server=rsyslog-lab',
  '/openapi.json',
];

/** What If-None-Match says of the ETag whose text between the quotes is given. */
const KNOWN: readonly (readonly [what: string, header: (tag: string) => string])[] = [
  ['as it was given', (tag) => `W/"${tag}"`],
  ['as a strong one', (tag) => `"${tag}"`],
  ['with the suffix of mod_deflate', (tag) => `W/"${tag}-gzip"`],
  ['strong, with the suffix of mod_deflate', (tag) => `"${tag}-gzip"`],
  ['with the suffix of mod_brotli', (tag) => `W/"${tag}-br"`],
  ['with the suffix of Caddy for zstd', (tag) => `"${tag}-zstd"`],
  ['with the suffix of Jetty', (tag) => `W/"${tag}--gzip"`],
  ['with the suffix of an older proxy', (tag) => `"${tag};gzip"`],
  ['first of a list', (tag) => `W/"${tag}", "b"`],
  ['last of a list', (tag) => `"a", W/"b-gzip" ,"${tag}-gzip"`],
  ['in a list without blanks', (tag) => `"a","${tag}","b"`],
  ['behind one with a comma in it', (tag) => `"a,b", W/"${tag}"`],
  ['as any', () => '*'],
  ['as any, with blanks', () => ' * '],
];
const OTHER: readonly (readonly [what: string, header: (tag: string) => string])[] = [
  ['another', () => '"other"'],
  ['the beginning of one', (tag) => `"${tag.slice(0, -1)}"`],
  ['one with more behind it', (tag) => `"${tag}1"`],
  ['one with an unknown suffix', (tag) => `"${tag}-other"`],
  ['one inside of another', (tag) => `"a ${tag} b"`],
  ['a star in quotes', () => '"*"'],
  ['nothing', () => ''],
];

describe('a reader that has read before', () => {
  let service: Service;

  before(async () => {
    service = await startService();
    await service.post(reportBody());
  });
  after(() => service.stop());

  const ask = (path: string, known: string, method = 'GET'): Promise<Response> =>
    service.request(path, { method, headers: { 'If-None-Match': known } });

  async function tagOf(path: string): Promise<string> {
    const [, tag = ''] = /^W\/"(.+)"$/.exec((await service.request(path)).headers.get('ETag') ?? '') ?? [];
    expect(tag).to.not.equal('');
    return tag;
  }

  for (const path of PATHS) {
    it(`gets 304 from ${path} however a proxy has rewritten the ETag`, async () => {
      const tag = await tagOf(path);
      for (const [what, header] of KNOWN) {
        for (const method of ['GET', 'HEAD']) {
          const response = await ask(path, header(tag), method);
          expect(response.status, what).to.equal(304);
          expect(response.headers.get('ETag')).to.equal(`W/"${tag}"`);
          expect(await response.text()).to.equal('');
        }
      }
    });

    it(`gets the whole of ${path} for an ETag that is another`, async () => {
      const tag = await tagOf(path);
      for (const [what, header] of OTHER) {
        expect((await ask(path, header(tag))).status, what).to.equal(200);
      }
    });
  }

  it('may send a very long list of ETags', async () => {
    const tag = await tagOf('/status.json');
    const others = Array.from({ length: 5000 }, (_, i) => `"${i}"`).join(',');
    expect((await ask('/status.json', `${others},"${tag}"`)).status).to.equal(304);
    expect((await ask('/status.json', '"'.repeat(50_001))).status).to.equal(200);
  });
});
