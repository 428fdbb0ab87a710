import { once } from 'node:events';
import { request } from 'node:http';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { toIso } from '../../../src/core/timestamp.ts';
import { NOW, type Service, reportBody, reportOf, startService } from '../../fixtures.ts';
import { until } from '../../process.ts';

type ProblemBody = {
  type: string;
  title: string;
  status: number;
  detail: string;
  request_id: string;
  errors?: { pointer: string; detail: string }[];
};

type Body = NonNullable<RequestInit['body']> | null;

const VALID = JSON.stringify(reportBody());

describe('a report that is sent', () => {
  let service: Service;

  beforeEach(async () => {
    service = await startService({ maxBodyBytes: 2000, maxSources: 2 });
  });
  afterEach(() => service.stop());

  function send(body: Body, headers: Record<string, string>): Promise<Response> {
    return service.request('/api/status', { method: 'POST', headers, body, duplex: 'half' });
  }

  function sendJson(body: Body, headers: Record<string, string> = {}): Promise<Response> {
    return send(body, { 'Content-Type': 'application/json', ...headers });
  }

  /** Must be a whole RFC 9457 problem that is counted under `reason`. */
  async function expectProblem(response: Response, status: number, reason: string): Promise<ProblemBody> {
    const problem = (await response.json()) as ProblemBody;
    expect(response.status, problem.detail).to.equal(status);
    expect(response.headers.get('Content-Type')).to.equal('application/problem+json');
    expect(problem).to.include({ type: 'about:blank', status, request_id: response.headers.get('X-Request-Id') });
    expect(problem.title).to.be.a('string').and.not.equal('');
    expect(problem.detail).to.be.a('string').and.not.equal('');
    const metrics = await (await service.request('/metrics')).text();
    expect(metrics).to.contain(`gitops_reports_rejected_total{reason="${reason}"} 1\n`);
    expect(metrics).to.contain('gitops_reports_total{result="rejected"} 1\n');
    return problem;
  }

  describe('with another type', () => {
    const refused = [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/jsonp',
      'application/vnd.api+json',
      'application/json; charset=latin1',
      'application/json, text/plain',
      ';',
    ];
    for (const type of refused) {
      it(`${type} is refused with 415`, async () => {
        const problem = await expectProblem(await send(VALID, { 'Content-Type': type }), 415, 'unsupported_media_type');
        expect(problem.detail).to.contain(type).and.contain('application/json');
      });
    }

    it('none at all is refused with 415', async () => {
      await expectProblem(await send(new TextEncoder().encode(VALID), {}), 415, 'unsupported_media_type');
    });

    const taken = [
      'application/json;charset=utf-8',
      'application/json; charset="UTF-8"',
      'Application/JSON',
      'application/json; charset=us-ascii; v=1',
      'application/json;',
    ];
    for (const type of taken) {
      it(`${type} is taken`, async () => {
        expect((await send(VALID, { 'Content-Type': type })).status).to.equal(201);
      });
    }
  });

  describe('that is not JSON', () => {
    it('is refused without a password that stands where it breaks', async () => {
      const problem = await expectProblem(await sendJson('{"repo":"u:hunter2@h"x}'), 400, 'malformed');
      expect(problem.detail).to.not.contain('hunter2');
    });

    const refused: readonly (readonly [what: string, body: string])[] = [
      ['an empty body', ''],
      ['only spaces', '   '],
      ['a form', 'repo=rsyslog'],
      ['one that is cut off', VALID.slice(0, -1)],
      ['something after its end', `${VALID}}`],
      ['two reports in one body', `${VALID}\n${VALID}`],
      ['single quotes', VALID.replaceAll('"', "'")],
      ['NaN', VALID.replace('"drift_count":2', '"drift_count":NaN')],
      ['a comment', `// report\n${VALID}`],
      ['a line feed inside a text', VALID.replace('rsyslog.conf', 'rsyslog\n.conf')],
    ];
    for (const [what, body] of refused) {
      it(`(${what}) is refused with 400`, async () => {
        await expectProblem(await sendJson(body), 400, 'malformed');
        expect(service.fleet.size).to.equal(0);
      });
    }

    it('(no body at all) is refused with 400', async () => {
      await expectProblem(await sendJson(null), 400, 'malformed');
    });

    it('is shown with its source, where the readable part tells which one', async () => {
      await service.post(reportBody());
      await expectProblem(await sendJson(VALID.slice(0, -1)), 400, 'malformed');
      expect(await (await service.request('/metrics')).text()).to.match(
        /^gitops_last_rejected_timestamp_seconds\{repo="rsyslog",server="rsyslog-lab"\} 1776767540$/m,
      );
    });
  });

  describe('that breaks rules', () => {
    const deep = '['.repeat(900) + ']'.repeat(900);
    const refused: readonly (readonly [what: string, body: string, pointers: string[]])[] = [
      ['null', 'null', ['']],
      ['a number', '42', ['']],
      ['a text', '"report"', ['']],
      ['a list of none', '[]', ['']],
      ['an empty object', '{}', ['/repo', '/server', '/sync_status', '/drift_count', '/files', '/last_check']],
      ['a wrong count', VALID.replace('"drift_count":2', '"drift_count":3'), ['/drift_count']],
      ['a name that HTML would take', VALID.replace('rsyslog-lab', '<b>'), ['/server']],
      ['half a character in a file name', VALID.replace('rsyslog.conf', String.raw`\ud800`), ['/files/0/name']],
      ['lists in lists', VALID.replace('"OUT_OF_SYNC"', deep), ['/sync_status', '/sync_status']],
    ];
    for (const [what, body, pointers] of refused) {
      it(`(${what}) is refused with 422, naming each`, async () => {
        const { errors } = await expectProblem(await sendJson(body), 422, 'invalid');
        expect(errors?.map(({ pointer }) => pointer)).to.have.members(pointers);
        for (const { detail } of errors ?? []) expect(detail).to.match(/^(is|must) /);
        expect(service.fleet.size).to.equal(0);
      });
    }

    it('(a misspelt field) is told beside what is missing', async () => {
      const problem = await expectProblem(await sendJson(VALID.replace('"files"', '"file"')), 422, 'invalid');
      expect(problem.detail).to.equal('/files is required (unknown field /file: files?)');
    });

    it('changes nothing of its source but when it was last refused', async () => {
      await service.post(reportBody());
      const before = await (await service.request('/status.json')).json();
      await expectProblem(await service.post(reportBody({ drift_count: 5 })), 422, 'invalid');
      const [row] = before as Record<string, unknown>[];
      expect(row).to.include({ last_rejected_at: null });
      const after = [{ ...row, last_rejected_at: toIso(NOW) }];
      expect(await (await service.request('/status.json')).json()).to.deep.equal(after);
      expect(await (await service.request('/metrics')).text()).to.match(
        /^gitops_last_rejected_timestamp_seconds\{repo="rsyslog",server="rsyslog-lab"\} 1776767540$/m,
      );
    });
  });

  describe('with a field __proto__', () => {
    const POISON = '{"repo":"other","polluted":true}';
    const taken: readonly (readonly [where: string, body: string, ignored: string[]])[] = [
      ['in the report', VALID.replace('{', `{"__proto__":${POISON},`), ['__proto__']],
      ['written with escapes', VALID.replace('{', String.raw`{"\u005f_proto\u005F_":${POISON},`), ['__proto__']],
      ['that is empty', VALID.replace('{', '{"x":1,"__proto__":{},'), ['x', '__proto__']],
      ['that is no object', VALID.replace('{', '{"__proto__":null,'), ['__proto__']],
      ['of a file', VALID.replace('{"name"', `{"__proto__":${POISON},"name"`), ['files[].__proto__']],
      ['in a field that is not kept', VALID.replace('{', `{"x":{"y":[{"__proto__":${POISON}}]},`), ['x']],
      ['beside a constructor', VALID.replace('{', `{"constructor":{"prototype":${POISON}},`), ['constructor']],
    ];
    for (const [where, body, ignored] of taken) {
      it(`${where} is taken: it is JSON, and the field is ignored`, async () => {
        const response = await sendJson(body);
        expect(response.status).to.equal(201);
        expect(await response.json())
          .to.include({ repo: 'rsyslog' })
          .and.deep.include({ ignored });
        expect(({} as Record<string, unknown>).polluted).to.equal(undefined);
      });
    }

    it('gives nothing that the report itself has not', async () => {
      const body = `{"__proto__":${VALID}}`;
      const { errors } = await expectProblem(await sendJson(body), 422, 'invalid');
      expect(errors?.map(({ pointer }) => pointer)).to.include.members(['/repo', '/files']);
    });

    it('gives a file no name', async () => {
      const file = VALID.replace('{"name":"rsyslog.conf"}', '{"__proto__":{"name":"rsyslog.conf"}}');
      expect((await expectProblem(await sendJson(file), 422, 'invalid')).detail).to.contain('/files/0/name');
    });
  });

  describe('with half a character, which UTF-8 cannot say', () => {
    const LONE = [String.raw`\ud800`, String.raw`\uDFFF`, String.raw`a\ude00\ud83db`];
    const broken = (field: string, text: string): string => VALID.replace('{', `{${field.replace('?', text)},`);
    const fields: readonly (readonly [where: string, field: string, pointer: string])[] = [
      ['a message', '"message":"?"', '/message'],
      ['the value of a label', '"labels":{"team":"?"}', '/labels/team'],
      ['the name of a label', '"labels":{"?":"web"}', '/labels'],
      ['a pipeline_url', '"pipeline_url":"https://ci.example.org/?"', '/pipeline_url'],
      ['a commit', '"commit":"?"', '/commit'],
    ];
    for (const [where, field, pointer] of fields) {
      it(`in ${where} is refused: it would come back as another text`, async () => {
        for (const text of LONE) {
          const response = await sendJson(broken(field, text));
          expect(response.status).to.equal(422);
          const { errors } = (await response.json()) as ProblemBody;
          expect(errors?.map((error) => error.pointer)).to.deep.equal([pointer]);
        }
        expect(service.fleet.size).to.equal(0);
      });
    }

    it('in a diff is refused', async () => {
      for (const text of LONE) {
        const response = await sendJson(VALID.replace('{"name"', `{"diff":"${text}","name"`));
        expect(response.status).to.equal(422);
        expect(((await response.json()) as ProblemBody).errors).to.have.lengthOf(1);
      }
    });

    it('is not in what the answers repeat, however they cut it', async () => {
      const answers = [
        await sendJson(broken('"?":1', LONE.join('')), {}),
        await sendJson(VALID.replace('{"name"', String.raw`{"\ud800":1,"name"`)),
        await sendJson(broken('"labels":{"?":1}', LONE.join(''))),
        await service.request(`/${encodeURIComponent('\u{1F600}'.repeat(200))}`),
        await service.request(`/x${encodeURIComponent('\u{1F600}'.repeat(200))}`),
        await service.request(`/api/status/a/x${encodeURIComponent('\u{1F600}'.repeat(99))}`),
        await service.request(`/status.json?verdict=x${encodeURIComponent('\u{1F600}'.repeat(200))}`),
        ...(await Promise.all(
          ['', 'x'].map((text) => service.post(reportBody({ sync_status: text + '\u{1F600}'.repeat(100) }))),
        )),
      ];
      for (const answer of answers) {
        expect(JSON.stringify(JSON.parse(await answer.text()))).to.not.match(/(?<!\\)\\ud[89a-f]/i);
      }
    });

    it('and its other half is taken, and comes back as it was', async () => {
      const diff = '-\u{1F600}\n+\u{1F601}\n';
      await service.post(
        reportBody({ files: [{ name: '\u{1F600}', diff }], drift_count: 1, labels: { team: '\u{1F600}' } }),
      );
      const detail = (await (await service.request('/api/status/rsyslog/rsyslog-lab')).json()) as object;
      expect(detail).to.nested.include({ 'files[0].name': '\u{1F600}', 'files[0].diff': diff });
      expect(detail).to.nested.include({ 'labels.team': '\u{1F600}' });
    });
  });

  it('may have a label that is called __proto__', async () => {
    const body = VALID.replace('{', '{"labels":{"__proto__":"web","constructor":"x"},');
    expect((await sendJson(body)).status).to.equal(201);
    expect(await (await service.request('/status.json')).text()).to.contain(
      '"labels":{"__proto__":"web","constructor":"x"}',
    );
  });

  it('with one key twice counts by the last of them', async () => {
    const response = await sendJson(VALID.replace('{', '{"repo":"first",'));
    expect(response.status).to.equal(201);
    expect(await response.json()).to.include({ repo: 'rsyslog' });
  });

  it('with a byte order mark is taken', async () => {
    expect((await sendJson(`\uFEFF${VALID}`)).status).to.equal(201);
  });

  describe('of a size', () => {
    const padded = (bytes: number): string => VALID + ' '.repeat(bytes - VALID.length);

    it('of exactly the limit is taken', async () => {
      expect((await sendJson(padded(2000))).status).to.equal(201);
    });

    it('one byte over the limit is refused with 413', async () => {
      await expectProblem(await sendJson(padded(2001)), 413, 'too_large');
    });

    it('over the limit is refused though it comes in chunks, without a length', async () => {
      await expectProblem(await sendJson(inChunks(padded(2001))), 413, 'too_large');
    });

    it('over the limit once it is unpacked is refused', async () => {
      await expectProblem(
        await sendJson(gzipSync(padded(5_000_000)), { 'Content-Encoding': 'gzip' }),
        413,
        'too_large',
      );
    });

    it('far over the limit is refused, and the next one on the connection is taken', async () => {
      await expectProblem(await sendJson(padded(3_000_000)), 413, 'too_large');
      expect((await sendJson(VALID)).status).to.equal(201);
    });
  });

  describe('packed', () => {
    const packers = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync };
    for (const [encoding, pack] of Object.entries(packers)) {
      it(`with ${encoding} is taken`, async () => {
        expect((await sendJson(pack(VALID), { 'Content-Encoding': encoding })).status).to.equal(201);
      });
    }

    it('in an unknown way is refused with 415', async () => {
      await expectProblem(await sendJson(VALID, { 'Content-Encoding': 'lzma' }), 415, 'unsupported_media_type');
    });

    it('with gzip in the header only is refused with 400', async () => {
      await expectProblem(await sendJson(VALID, { 'Content-Encoding': 'gzip' }), 400, 'malformed');
    });

    it('with gzip and cut off is refused with 400', async () => {
      const cut = gzipSync(VALID).subarray(0, -12);
      await expectProblem(await sendJson(cut, { 'Content-Encoding': 'gzip' }), 400, 'malformed');
    });
  });

  it('in chunks is taken', async () => {
    expect((await sendJson(inChunks(VALID))).status).to.equal(201);
  });

  /** Part of a body, until the service has begun with it; then the sender is gone. */
  async function giveUp(headers: Record<string, string>, part: string | Buffer): Promise<void> {
    const all = { 'Content-Type': 'application/json', 'Content-Length': 1000, Expect: '100-continue', ...headers };
    const post = request(`${service.url}/api/status`, { method: 'POST', headers: all });
    post.on('error', () => {});
    post.write(part);
    await once(post, 'continue');
    post.destroy();
  }

  it('and given up half-way leaves no trace but its line in the log', async () => {
    await giveUp({}, VALID.slice(0, 30));
    const line = await until(() => service.log.find(({ msg }) => msg === 'report'));
    expect(line).to.include({ result: 'rejected', reason: 'malformed' });
    expect(service.fleet.size).to.equal(0);
    expect((await sendJson(VALID)).status).to.equal(201);
  });

  it('packed and given up half-way leaves no source', async () => {
    await giveUp({ 'Content-Encoding': 'gzip' }, gzipSync(VALID).subarray(0, 30));
    expect((await service.post(reportBody({ server: 'other' }))).status).to.equal(201);
    expect(service.fleet.size).to.equal(1);
  });

  it('of one source too many is refused with 429, while known ones go on', async () => {
    for (const server of ['one', 'two']) expect((await service.post(reportBody({ server }))).status).to.equal(201);
    const problem = await expectProblem(await service.post(reportBody({ server: 'three' })), 429, 'too_many_sources');
    expect(problem.detail).to.contain('MAX_SOURCES');
    expect((await service.post(reportOf([], { server: 'one' }))).status).to.equal(200);
  });

  it('of a new source is taken again once another was forgotten', async () => {
    for (const server of ['one', 'two']) await service.post(reportBody({ server }));
    await service.request('/api/status/rsyslog/one', { method: 'DELETE' });
    expect((await service.post(reportBody({ server: 'three' }))).status).to.equal(201);
  });
});

describe('a huge report without sense', () => {
  let service: Service;

  before(async () => {
    service = await startService();
  });
  after(() => service.stop());

  const lists = '['.repeat(200_000) + ']'.repeat(200_000);
  const objects = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
  const bodies: readonly (readonly [what: string, body: string, status: number])[] = [
    ['only lists in lists', lists, 422],
    ['only objects in objects', objects, 422],
    ['lists in lists as a status', VALID.replace('"OUT_OF_SYNC"', lists), 422],
    ['objects in objects as a repo', VALID.replace('"rsyslog"', objects), 422],
    ['lists in lists as a file', VALID.replace('"files":[', `"files":[${lists},`), 422],
    ['a number of very many digits', VALID.replace('"drift_count":2', `"drift_count":${'9'.repeat(500_000)}`), 422],
    ['a list of very many nothings', VALID.replace('"files":[', `"files":[${'0,'.repeat(200_000)}`), 422],
    ['a list of very many wrong files', VALID.replace('"files":[', `"files":[${'{"name":""},'.repeat(9990)}`), 422],
    // each takes hours where time grows with the square of the length
    ...['repo', 'server', 'pipeline_url', 'commit', 'last_check'].flatMap((name) =>
      [':', '@', '/', ':/', ' ', 'a:'].map((text) => {
        const value = `https://${text.repeat(Math.floor(900_000 / text.length))}`;
        return [`very many ${text} in ${name}`, JSON.stringify(reportBody({ [name]: value })), 422] as const;
      }),
    ),
    ['objects in objects in a field that is not kept', VALID.replace('{', `{"x":${objects},`), 201],
  ];
  for (const [what, body, status] of bodies) {
    it(`(${what}) gets its ${status}`, async () => {
      const response = await service.post(body);
      expect(response.status).to.equal(status);
      expect((await response.text()).length).to.be.lessThan(100_000);
    });
  }
});

function inChunks(text: string): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (let i = 0; i < text.length; i += 100) controller.enqueue(new TextEncoder().encode(text.slice(i, i + 100)));
      controller.close();
    },
  });
}
