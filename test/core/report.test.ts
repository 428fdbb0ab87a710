import { expect } from 'chai';
import { Refusal } from '../../src/core/refusal.ts';
import { parseReport, sourceOf } from '../../src/core/report.ts';
import { NOW, reportBody, reportOf } from '../fixtures.ts';

const KIB = 1024;
/** One character, two UTF-16 units, four bytes. */
const ASTRAL = '\u{1F600}';

describe('report', () => {
  describe('what a valid body says', () => {
    it('is taken as it was posted', () => {
      const body = reportBody({
        stale_after_seconds: 900,
        commit: 'a1b2c3d',
        pipeline_url: 'https://ci.example.org/jobs/7?a=b#c',
        files: [{ name: 'rsyslog.conf', diff: '-a\n+b\n' }, { name: 'rsyslog.d/30-lab.conf' }],
      });
      const { diffs, ...report } = parseReport(body, NOW);
      expect(report).to.deep.equal({
        repo: 'rsyslog',
        server: 'rsyslog-lab',
        syncStatus: 'OUT_OF_SYNC',
        files: ['rsyslog.conf', 'rsyslog.d/30-lab.conf'],
        truncatedCount: null,
        message: null,
        labels: undefined,
        lastCheck: '2026-04-21T10:32:15Z',
        lastCheckMs: Date.UTC(2026, 3, 21, 10, 32, 15),
        staleAfterMs: 900_000,
        commit: 'a1b2c3d',
        pipelineUrl: 'https://ci.example.org/jobs/7?a=b#c',
        ignored: [],
      });
      expect({ ...diffs }).to.deep.equal({ 'rsyslog.conf': '-a\n+b\n' });
    });

    for (const absent of [null, '']) {
      it(`takes optional fields that are ${JSON.stringify(absent)} for absent`, () => {
        const names = ['stale_after_seconds', 'commit', 'pipeline_url'];
        const body = reportBody(Object.fromEntries(names.map((name) => [name, absent])));
        expect(parseReport(body, NOW)).to.deep.equal(parseReport(reportBody(), NOW));
      });
    }

    it('leaves out what was not posted', () => {
      expect(parseReport(reportOf([]), NOW)).to.include({
        syncStatus: 'SYNCED',
        staleAfterMs: undefined,
        commit: null,
        pipelineUrl: null,
        diffs: null,
      });
    });

    it('names the fields that it does not keep', () => {
      const files = [
        { name: 'a', mode: '0644' },
        { name: 'b', mode: '0600', owner: 'root' },
      ];
      const { ignored } = parseReport(reportBody({ files, hostname: 'lab', extra: null }), NOW);
      expect(ignored).to.have.members(['hostname', 'extra', 'files[].mode', 'files[].owner']);
    });

    it('names a hundred ignored fields at most', () => {
      const many = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`field_${i}`, i]));
      expect(parseReport(reportBody(many), NOW).ignored).to.have.length(100);
    });

    it('may have files that are called as objects have it', () => {
      const names = ['__proto__', 'constructor', 'toString'];
      const text = JSON.stringify({ ...reportOf(names), files: names.map((name) => ({ name, diff: `of ${name}` })) });
      const { files, diffs } = parseReport(JSON.parse(text), NOW);
      expect(files).to.deep.equal(names);
      expect(Object.entries(diffs ?? {})).to.deep.equal(names.map((name) => [name, `of ${name}`]));
    });
  });

  const accepted: readonly (readonly [what: string, changes: Record<string, unknown>])[] = [
    ['a repo of 1 character', { repo: '0' }],
    ['a repo of 200 characters', { repo: 'r'.repeat(200) }],
    ['a repo of all characters allowed', { repo: 'aZ0._:/@-' }],
    ['a server of 1 character', { server: 'Z' }],
    ['a server of 200 characters', { server: 's'.repeat(200) }],
    ['no files when SYNCED', { sync_status: 'SYNCED', drift_count: 0, files: [] }],
    ['a count with a fraction of nothing', { drift_count: 2.0 }],
    ['10,000 files', filesNamed(10_000)],
    ['a file name of 1 character', { drift_count: 1, files: [{ name: 'x' }] }],
    ['a file name of 1,024 characters', { drift_count: 1, files: [{ name: 'n'.repeat(1024) }] }],
    ['1,024 characters beyond the basic plane', { drift_count: 1, files: [{ name: ASTRAL.repeat(1024) }] }],
    [
      'a file name with spaces, quotes and letters of the world',
      { drift_count: 1, files: [{ name: ' "ä\\日本.conf' }] },
    ],
    ['names that differ only in case', { files: [{ name: 'a' }, { name: 'A' }] }],
    ['an empty diff', { drift_count: 1, files: [{ name: 'a', diff: '' }] }],
    ['a check 5 minutes ahead', { last_check: '2026-04-21T10:37:20Z' }],
    ['a check long ago', { last_check: '1999-12-31T23:59:59-12:00' }],
    ['stale_after_seconds of 1', { stale_after_seconds: 1 }],
    ['stale_after_seconds of a year', { stale_after_seconds: 31_536_000 }],
    ['a commit of 1 character', { commit: 'f' }],
    ['a commit of 64 characters', { commit: 'f'.repeat(64) }],
    ['a commit that is a branch', { commit: 'feature/one_two-3.4' }],
    ['an http URL', { pipeline_url: 'http://ci/1' }],
    ['a URL of 2,048 characters', { pipeline_url: `https://ci/${'p'.repeat(2048 - 11)}` }],
    ['unknown fields', { anything: { at: ['all'] } }],
  ];
  describe('takes', () => {
    for (const [what, changes] of accepted) {
      it(what, () => {
        expect(parseReport(reportBody(changes), NOW)).to.include.keys('repo', 'files');
      });
    }
  });

  const refused: readonly (readonly [what: string, body: unknown, pointer: string, detail: string])[] = [
    ['null', null, '', 'must be a JSON object'],
    ['a list', [], '', 'but is a list'],
    ['a string', 'report', '', 'but is a string'],
    ['a number', 7, '', 'but is the number 7'],
    ...['repo', 'server', 'sync_status', 'drift_count', 'files', 'last_check'].map(
      (name) => [`no ${name}`, reportBody({ [name]: undefined }), `/${name}`, 'is required'] as const,
    ),
    ...['repo', 'server'].flatMap((name) =>
      (
        [
          ['an empty', '', 'but has 0 characters'],
          ['of 201 characters', 'r'.repeat(201), 'but has 201 characters'],
          ['with a space', 'a b', 'but is "a b"'],
          ['that begins with a dot', '.a', 'must be 1 to 200 characters'],
          ['that begins with a slash', '/a', 'must be 1 to 200 characters'],
          ['with a comma', 'a,b', 'must be 1 to 200 characters'],
          ['with an umlaut', 'ä', 'must be 1 to 200 characters'],
          ['with a line feed at its end', 'a\n', 'must be 1 to 200 characters'],
          ['that is a number', 7, 'but is the number 7'],
          ['that is null', null, 'but is null'],
        ] as const
      ).map(([how, value, detail]) => [`a ${name} ${how}`, reportBody({ [name]: value }), `/${name}`, detail] as const),
    ),
    [
      'another sync_status',
      reportBody({ sync_status: 'DRIFTED' }),
      '/sync_status',
      'must be SYNCED, OUT_OF_SYNC, or UNKNOWN',
    ],
    ['a sync_status in lower case', reportBody({ sync_status: 'out_of_sync' }), '/sync_status', 'but is "out_of_sync"'],
    ['a sync_status that is a boolean', reportBody({ sync_status: true }), '/sync_status', 'but is a boolean'],
    ['a count that is negative', reportBody({ drift_count: -1 }), '/drift_count', 'must be a whole number'],
    ['a count that is no whole number', reportBody({ drift_count: 1.5 }), '/drift_count', 'but is the number 1.5'],
    ['a count that is text', reportBody({ drift_count: '2' }), '/drift_count', 'but is a string'],
    [
      'a count below the files',
      reportBody({ drift_count: 1 }),
      '/drift_count',
      'must be the length of files (2), but is 1',
    ],
    [
      'a count above the files',
      reportBody({ drift_count: 3 }),
      '/drift_count',
      'must be the length of files (2), but is 3',
    ],
    ['files that are an object', reportBody({ files: {} }), '/files', 'but is an object'],
    ['10,001 files', reportBody(filesNamed(10_001)), '/files', 'but has 10001'],
    ['files when SYNCED', reportBody({ sync_status: 'SYNCED' }), '/files', 'must be empty when sync_status is SYNCED'],
    ['no files when OUT_OF_SYNC', reportBody({ drift_count: 0, files: [] }), '/files', 'must name at least one file'],
    ['a file that is a string', reportBody({ files: ['a', { name: 'b' }] }), '/files/0', 'must be an object such as'],
    ['a file without name', reportBody({ files: [{ name: 'a' }, {}] }), '/files/1/name', 'is required'],
    ['a file with an empty name', withFile({ name: '' }), '/files/0/name', 'but has 0 characters'],
    [
      'a file name of 1,025 characters',
      withFile({ name: 'n'.repeat(1025) }),
      '/files/0/name',
      'but has 1025 characters',
    ],
    ['a file name with a line feed', withFile({ name: 'a\nb' }), '/files/0/name', 'without control characters'],
    ['a file name with a zero byte', withFile({ name: 'a\0' }), '/files/0/name', 'without control characters'],
    ['a file name with DEL', withFile({ name: 'a\u007f' }), '/files/0/name', 'without control characters'],
    ['a file name with a C1 control', withFile({ name: '\u0085' }), '/files/0/name', 'without control characters'],
    ['a file name with half a character', withFile({ name: 'a\ud800' }), '/files/0/name', 'without control characters'],
    ['a file name that is a number', withFile({ name: 1 }), '/files/0/name', 'but is the number 1'],
    [
      'the same name twice',
      reportBody({ files: [{ name: 'a' }, { name: 'a' }] }),
      '/files/1/name',
      'must not repeat the name of /files/0',
    ],
    ['a diff that is a number', withFile({ name: 'a', diff: 7 }), '/files/0/diff', 'but is the number 7'],
    ['a last_check without zone', reportBody({ last_check: '2026-04-21T10:32:15' }), '/last_check', 'must have a zone'],
    ['a last_check that is no date', reportBody({ last_check: 'now' }), '/last_check', 'but is "now"'],
    [
      'a last_check on a day that is none',
      reportBody({ last_check: '2026-02-30T00:00:00Z' }),
      '/last_check',
      'must be an ISO 8601',
    ],
    ['a last_check in seconds', reportBody({ last_check: 1776767535 }), '/last_check', 'but is the number 1776767535'],
    [
      'a last_check of 65 characters',
      reportBody({ last_check: `2026-04-21T10:32:15.${'0'.repeat(44)}Z` }),
      '/last_check',
      'but has 65 characters',
    ],
    [
      'a last_check 5 minutes and a bit ahead',
      reportBody({ last_check: '2026-04-21T10:37:20.001Z' }),
      '/last_check',
      'but is 301 seconds ahead: check the clock',
    ],
    [
      'stale_after_seconds of 0',
      reportBody({ stale_after_seconds: 0 }),
      '/stale_after_seconds',
      'from 1 to 31,536,000',
    ],
    [
      'stale_after_seconds past a year',
      reportBody({ stale_after_seconds: 31_536_001 }),
      '/stale_after_seconds',
      'from 1 to 31,536,000',
    ],
    [
      'stale_after_seconds with a fraction',
      reportBody({ stale_after_seconds: 1.5 }),
      '/stale_after_seconds',
      'must be a whole number',
    ],
    [
      'stale_after_seconds that is true',
      reportBody({ stale_after_seconds: true }),
      '/stale_after_seconds',
      'but is a boolean',
    ],
    ['a commit of 65 characters', reportBody({ commit: 'f'.repeat(65) }), '/commit', '1 to 64 characters'],
    ['a commit with a space', reportBody({ commit: 'a b' }), '/commit', 'but is "a b"'],
    ['a commit that is a list', reportBody({ commit: [] }), '/commit', 'but is a list'],
    [
      'a URL of another scheme',
      reportBody({ pipeline_url: 'ftp://ci/1' }),
      '/pipeline_url',
      'must be an http or https URL',
    ],
    [
      'a URL that is a script',
      reportBody({ pipeline_url: 'javascript:alert(1)' }),
      '/pipeline_url',
      'must be an http or https URL',
    ],
    [
      'a URL with a space',
      reportBody({ pipeline_url: 'https://ci/a b' }),
      '/pipeline_url',
      'must be an http or https URL',
    ],
    [
      'a URL with half a character',
      reportBody({ pipeline_url: 'https://ci/\ud800' }),
      '/pipeline_url',
      'must be an http',
    ],
    ['a URL without host', reportBody({ pipeline_url: 'https://' }), '/pipeline_url', 'must be an http or https URL'],
    [
      'a URL of 2,049 characters',
      reportBody({ pipeline_url: `https://ci/${'p'.repeat(2049 - 11)}` }),
      '/pipeline_url',
      'but has 2049 characters',
    ],
  ];
  describe('refuses', () => {
    for (const [what, body, pointer, detail] of refused) {
      it(`${what}, and only for that`, () => {
        const { reason, errors } = refusalOf(body);
        expect(reason).to.equal('invalid');
        const places = new Set((errors ?? []).map((error) => error.pointer));
        expect([...places]).to.deep.equal([pointer]);
        expect(errors?.map((error) => error.detail).join('; ')).to.include(detail);
      });
    }

    const misspelt: readonly (readonly [field: string, missing: string])[] = [
      ['file', 'files'],
      ['Files', 'files'],
      ['fiels', 'files'],
      ['syncStatus', 'sync_status'],
      ['sync-status', 'sync_status'],
      ['sync_satus', 'sync_status'],
      ['driftCount', 'drift_count'],
      ['drifts_count', 'drift_count'],
      ['lastcheck', 'last_check'],
      ['last_cehck', 'last_check'],
      ['repos', 'repo'],
      ['sever', 'server'],
    ];
    for (const [field, missing] of misspelt) {
      it(`${missing} that is spelt ${field}, and names that`, () => {
        const { [missing]: value, ...rest } = reportBody();
        expect(refusalOf({ [field]: value, ...rest, [`${missing}_or_nothing_like_it`]: 1 }).errors).to.deep.equal([
          { pointer: `/${missing}`, detail: `is required (unknown field /${field}: ${missing}?)` },
        ]);
      });
    }

    it('a name of a file that is misspelt, and names the field with its place', () => {
      const files = [{ name: 'a' }, { nmae: 'b' }, { mode: 'c' }];
      expect(refusalOf(reportBody({ drift_count: 3, files })).errors).to.deep.equal([
        { pointer: '/files/1/name', detail: 'is required (unknown field /files/1/nmae: name?)' },
        { pointer: '/files/2/name', detail: 'is required' },
      ]);
    });

    it('what is missing without a guess where nothing looks like it, or it is a field of its own', () => {
      const body = { hostserver: 1, f: 1, xy: 1, commit: 'a', message: 'b', '': 1 };
      expect(refusalOf(body).errors?.map(({ detail }) => detail)).to.deep.equal(repeated(6, 'is required'));
    });

    it('what is missing with the nearest of several, as a JSON Pointer', () => {
      const { files, ...rest } = reportBody();
      expect(refusalOf({ ...rest, fil: files, 'file~/': files }).errors?.[0]?.detail).to.equal('is required');
      expect(refusalOf({ ...rest, filex: files, FILES: files }).errors?.[0]?.detail).to.contain('/FILES:');
      const { server, ...others } = reportBody();
      expect(refusalOf({ ...others, 'serv/r': server }).errors?.[0]?.detail).to.contain('/serv~1r: server?');
    });

    it('with every broken rule at once', () => {
      const body = {
        repo: 'a b',
        sync_status: 'SYNCED',
        drift_count: 9,
        files: [{ name: 'x' }, { name: 'x' }, { name: '' }, 4],
        last_check: '2031-01-01T00:00:00Z',
        stale_after_seconds: 0,
        commit: '?',
        pipeline_url: 'no',
      };
      const { errors } = refusalOf(body);
      expect(errors?.map(({ pointer }) => pointer)).to.have.members([
        '/server',
        '/repo',
        '/drift_count',
        '/files',
        '/files/1/name',
        '/files/2/name',
        '/files/3',
        '/last_check',
        '/stale_after_seconds',
        '/commit',
        '/pipeline_url',
      ]);
    });

    it('with a detail that is a sentence about the first, and the number of the others', () => {
      expect(refusalOf(reportBody({ repo: '', server: '', commit: '' })).message).to.match(
        /^\/repo must be .*, but has 0 characters \(and \d more, see errors\)$/,
      );
      expect(refusalOf(reportBody({ commit: '?' })).message).to.equal(
        '/commit must be a Git revision: 1 to 64 characters of 0-9 A-Z a-z . _ / -, but is "?"',
      );
      expect(refusalOf(null).message).to.match(/^the body must be a JSON object/);
    });
  });

  describe('a password', () => {
    const SECRET = 'hunter2';
    const places: readonly (readonly [what: string, name: string, value: unknown])[] = [
      ['a repo', 'repo', `token:${SECRET}@git.example.org/web`],
      ['a repo that is a URL', 'repo', `https://token:${SECRET}@git.example.org/web`],
      ['a server behind another @', 'server', `a@token:${SECRET}@lab`],
      ['a server without a user', 'server', `:${SECRET}@lab`],
      ['a URL', 'pipeline_url', `https://token:${SECRET}@ci/1`],
      ['a URL without a user', 'pipeline_url', `https://:${SECRET}@ci/1`],
      ['a URL with a slash too many', 'pipeline_url', `https:///token:${SECRET}@ci/1`],
      ['a URL with many slashes', 'pipeline_url', `https:////\\/token:${SECRET}@ci/1`],
      ['a URL with backslashes', 'pipeline_url', `https:\\\\token:${SECRET}@ci/1`],
      ['a URL of another scheme', 'pipeline_url', `ssh://token:${SECRET}@ci/1`],
      ['a URL without scheme', 'pipeline_url', `token:${SECRET}@ci/1`],
      ['a URL with a space', 'pipeline_url', `https://token:${SECRET}@ci/ 1`],
      ['a commit', 'commit', `https://token:${SECRET}@git.example.org/web`],
      ['a status', 'sync_status', `https://token:${SECRET}@git.example.org/web`],
      ['a list that is a status', 'sync_status', [{ [`token:${SECRET}@ci`]: `token:${SECRET}@ci` }]],
      ['a time', 'last_check', `https://token:${SECRET}@ci/1`],
      ['a file name', 'files', [{ name: `\nhttps://token:${SECRET}@ci/${'x'.repeat(100)}` }, { name: 'b' }]],
    ];
    for (const [what, name, value] of places) {
      it(`in ${what} is refused and not repeated`, () => {
        const { reason, message, errors } = refusalOf(reportBody({ [name]: value }));
        expect(reason).to.equal('invalid');
        expect(errors?.[0]?.pointer).to.match(new RegExp(`^/${name}`));
        expect(JSON.stringify({ message, errors })).to.not.contain(SECRET);
      });
    }

    const harmless: readonly (readonly [what: string, name: string, value: string])[] = [
      ['an address of ssh', 'repo', 'git@git.example.org:acme/web'],
      ['a port before a digest', 'repo', 'registry.example.org:5000/acme/web@sha256'],
      ['a user without a password', 'repo', 'https://git@git.example.org/web'],
      ['an @ in a path', 'pipeline_url', 'https://ci:8443/@acme/web'],
      ['an @ in a query', 'pipeline_url', 'https://ci:8443?by=ada@example.org'],
    ];
    for (const [what, name, value] of harmless) {
      it(`is not seen in ${what}`, () => {
        expect(() => parseReport(reportBody({ [name]: value }), NOW)).not.to.throw();
      });
    }
  });

  describe('the answer to a huge bad body stays small', () => {
    const huge: readonly (readonly [what: string, body: unknown])[] = [
      ['10,000 files of the wrong type', reportBody({ drift_count: 10_000, files: repeated(10_000, 7) })],
      ['10,000 files without name', reportBody({ drift_count: 10_000, files: repeated(10_000, {}) })],
      ['10,000 files with misspelt names', reportBody({ drift_count: 10_000, files: repeated(10_000, { nmae: 'a' }) })],
      ['very many fields', Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`f${i}`, i]))],
      ['a field with a very long name', { ['file'.repeat(250_000)]: 1 }],
      ['10,000 bad names', reportBody({ drift_count: 10_000, files: repeated(10_000, { name: '' }) })],
      ['10,000 times the same name', reportBody({ drift_count: 10_000, files: repeated(10_000, { name: 'a' }) })],
      ['400,000 files', reportBody({ drift_count: 400_000, files: repeated(400_000, 0) })],
      [
        'very long values',
        reportBody({ repo: '/'.repeat(1e6), commit: '?'.repeat(1e6), pipeline_url: 'x'.repeat(1e6) }),
      ],
      ['a value that is large', reportBody({ sync_status: 'x'.repeat(1e6) })],
      ['a wide list for a list of files', repeated(400_000, 0)],
    ];
    for (const [what, body] of huge) {
      it(`for ${what}`, () => {
        const { message, errors } = refusalOf(body);
        expect(JSON.stringify({ message, errors }).length).to.be.below(128 * KIB);
      });
    }

    it('and says in how many more places the rule is broken', () => {
      const files = repeated(10_000, { name: 'a' });
      const errors = refusalOf(reportBody({ drift_count: 10_000, files })).errors ?? [];
      expect(errors).to.have.length(101);
      expect(errors.at(-1)).to.deep.equal({ pointer: '/files', detail: 'name repeats another in 9899 more places' });
    });
  });

  describe('a diff', () => {
    it('of exactly 16 KiB is kept whole', () => {
      const diff = `${'x'.repeat(63)}\n`.repeat(256);
      expect(diff).to.have.length(16 * KIB);
      expect(diffOf(diff)).to.equal(diff);
    });

    it('one byte longer is cut at a line, and says so', () => {
      const diff = `${'x'.repeat(63)}\n`.repeat(256);
      const cut = diffOf(`${diff}x`);
      const lines = cut.split('\n');
      expect(Buffer.byteLength(cut)).to.be.at.most(16 * KIB);
      const kept = 64 * 255;
      expect(lines.at(-2)).to.equal(`[cut: ${16 * KIB + 1 - kept} more bytes]`);
      expect(cut.startsWith(diff.slice(0, kept))).to.equal(true);
      expect(new Set(lines.slice(0, -2))).to.deep.equal(new Set(['x'.repeat(63)]));
    });

    it('is measured in bytes', () => {
      expect(diffOf('ä'.repeat(8 * KIB))).to.equal('ä'.repeat(8 * KIB));
      expect(diffOf('ä'.repeat(8 * KIB + 1))).to.match(/^ä+\n\[cut: \d+ more bytes\]\n$/);
    });

    for (const character of ['x', 'ä', '日', ASTRAL]) {
      it(`of one endless line of ${character} is cut between two characters`, () => {
        const cut = diffOf(`+${character.repeat(20_000)}`);
        expect(Buffer.byteLength(cut)).to.be.within(16 * KIB - 128, 16 * KIB);
        const [line = '', mark = ''] = cut.split('\n');
        expect(line).to.equal(`+${character.repeat([...line].length - 1)}`);
        const missing = Buffer.byteLength(character) * (20_000 - ([...line].length - 1));
        expect(mark).to.equal(`[cut: ${missing} more bytes]`);
      });
    }
  });

  describe('the source of a body that cannot be used', () => {
    const known: readonly (readonly [what: string, body: unknown])[] = [
      ['an invalid object', { repo: 'web', server: 'lab', files: 7 }],
      ['text that is no JSON', '{"repo": "web", "server" :"lab", "files": [,]}'],
      ['text that ends too early', '{"server":"lab","repo":"web","fil'],
    ];
    for (const [what, body] of known) {
      it(`is found in ${what}`, () => {
        expect(sourceOf(body)).to.deep.equal({ repo: 'web', server: 'lab' });
      });
    }

    const unknown: readonly (readonly [what: string, body: unknown])[] = [
      ['nothing', undefined],
      ['null', null],
      ['a list', [{ repo: 'web', server: 'lab' }]],
      ['an object without server', { repo: 'web' }],
      ['an object with a repo that is a number', { repo: 1, server: 'lab' }],
      ['an object with a repo that no source may have', { repo: 'a b', server: 'lab' }],
      ['an object with a server that is too long', { repo: 'web', server: 's'.repeat(201) }],
      ['text without server', '{"repo": "web"'],
      ['text with a repo that is too long', `{"repo": "${'r'.repeat(201)}", "server": "lab"`],
    ];
    for (const [what, body] of unknown) {
      it(`is not made up for ${what}`, () => {
        expect(sourceOf(body)).to.equal(undefined);
      });
    }
  });
});

function filesNamed(count: number): Record<string, unknown> {
  return { drift_count: count, files: Array.from({ length: count }, (_, i) => ({ name: `etc/${i}` })) };
}

function repeated(count: number, item: unknown): unknown[] {
  return Array.from({ length: count }, () => item);
}

function withFile(file: Record<string, unknown>): Record<string, unknown> {
  return reportBody({ drift_count: 1, files: [file] });
}

function diffOf(diff: string): string {
  const { diffs } = parseReport(withFile({ name: 'a', diff }), NOW);
  return diffs?.a ?? '';
}

function refusalOf(body: unknown): Refusal {
  try {
    parseReport(body, NOW);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error('the report was taken');
}
