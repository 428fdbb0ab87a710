import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { ConfigError } from '../../src/core/config-error.ts';
import { type Token, type Tokens, openTokens, parseTokens } from '../../src/access/tokens.ts';
import { makeFolder, sha256, tokensText, until } from '../fixtures.ts';

const REPORT = { name: 'ci', sha256: sha256('ci-token'), scopes: ['report'] };

describe('a tokens file', () => {
  it('names who may do what', () => {
    const { anonymous, size, find } = parseTokens(
      tokensText([REPORT, { name: 'grafana', sha256: sha256('other'), scopes: ['read'] }], ['read']),
    );
    expect(size).to.equal(2);
    expect([...anonymous]).to.deep.equal(['read']);
    expect(find('ci-token')).to.deep.include({
      name: 'ci',
      scopes: new Set(['report']),
      expiresAt: Number.POSITIVE_INFINITY,
    });
    expect(find('other')?.name).to.equal('grafana');
  });

  it('may begin with a byte order mark, as it does on Windows', () => {
    expect(parseTokens(`\uFEFF${tokensText([REPORT])}`).size).to.equal(1);
  });

  it('holds hashes only: they are no tokens themselves', () => {
    const { find } = parseTokens(tokensText([REPORT]));
    for (const sent of [REPORT.sha256, 'ci', '', 'CI-TOKEN', 'ci-token ']) expect(find(sent), sent).to.equal(undefined);
  });

  it('lets nobody do anything without a token unless it says so', () => {
    expect(parseTokens(tokensText([REPORT])).anonymous.size).to.equal(0);
  });

  it('says until when a token is valid', () => {
    const { find } = parseTokens(tokensText([{ ...REPORT, expires_at: '2027-01-31T01:00:00+01:00' }]));
    expect(find('ci-token')?.expiresAt).to.equal(Date.UTC(2027, 0, 31));
  });

  describe('limits a token', () => {
    const rows: readonly (readonly [limits: Record<string, string[]>, repo: string, server: string, isFor: boolean])[] =
      [
        [{}, 'any', 'thing', true],
        [{ repos: ['web'] }, 'web', 'any', true],
        [{ repos: ['web'] }, 'webshop', 'any', false],
        [{ repos: ['web'] }, 'Web', 'any', false],
        [{ repos: ['web', 'db'] }, 'db', 'any', true],
        [{ repos: ['web', 'db'] }, 'mydb', 'any', false],
        [{ repos: ['web', 'db'] }, 'web2', 'any', false],
        [{ servers: ['lab'] }, 'any', 'lab', true],
        [{ servers: ['lab'] }, 'any', 'prod', false],
        [{ repos: ['web'], servers: ['lab'] }, 'web', 'lab', true],
        [{ repos: ['web'], servers: ['lab'] }, 'web', 'prod', false],
        [{ repos: ['web'], servers: ['lab'] }, 'db', 'lab', false],
        [{ repos: ['acme/*'] }, 'acme/web', 'any', true],
        [{ repos: ['acme/*'] }, 'acme/web/eu', 'any', true],
        [{ repos: ['acme/*'] }, 'acme2/web', 'any', false],
        [{ servers: ['*.example.org'] }, 'any', 'a.example.org', true],
        [{ servers: ['*.example.org'] }, 'any', 'a.example.org.evil', false],
        [{ servers: ['*.example.org'] }, 'any', 'a.exampleXorg', false],
        [{ servers: ['web-*-eu'] }, 'any', 'web-1-eu', true],
        [{ servers: ['web-*-eu'] }, 'any', 'web-1-us', false],
        [{ servers: ['*'] }, 'any', 'thing', true],
        [{ servers: ['*web*'] }, 'any', 'my-web-1', true],
        [{ servers: ['*web*'] }, 'any', 'web', true],
        [{ servers: ['web*web'] }, 'any', 'web', false],
        [{ servers: ['web*web'] }, 'any', 'webweb', true],
        [{ servers: ['a*b*c'] }, 'any', 'a-b-b-c', true],
        [{ servers: ['a*bb*bc'] }, 'any', 'abbc', false],
        [{ servers: ['a**c'] }, 'any', 'ac', true],
        // a regular expression would be at this for longer than the test may take
        [{ servers: [`${'*-'.repeat(20)}prod`] }, 'any', '-'.repeat(8000), false],
      ];
    for (const [limits, repo, server, isFor] of rows) {
      it(`with ${JSON.stringify(limits).slice(0, 60)} it is ${isFor ? '' : 'not '}for ${server.slice(0, 20)} of ${repo}`, () => {
        const token = parseTokens(tokensText([{ ...REPORT, ...limits }])).find('ci-token') as Token;
        expect(token.isFor(repo, server)).to.equal(isFor);
      });
    }

    it('and has a share of what all may take where the file says so', () => {
      const { find } = parseTokens(tokensText([{ ...REPORT, max_sources: 5, max_open_drifts: 1000 }]));
      expect(find('ci-token')).to.include({ maxSources: 5, maxOpenDrifts: 1000 });
      expect(parseTokens(tokensText([REPORT])).find('ci-token')).to.include({ maxSources: undefined });
    });

    it('and knows its source where there can be only one', () => {
      const onlySource = (limits: Record<string, unknown>): Token['onlySource'] =>
        parseTokens(tokensText([{ ...REPORT, ...limits }])).find('ci-token')?.onlySource;
      expect(onlySource({ repos: ['web'], servers: ['lab'] })).to.deep.equal({ repo: 'web', server: 'lab' });
      for (const limits of [
        { repos: ['web'] },
        { repos: ['web'], servers: ['lab', 'prod'] },
        { repos: ['web'], servers: ['lab*'] },
        { repos: ['web', 'db'], servers: ['lab'] },
      ]) {
        expect(onlySource(limits)).to.equal(undefined);
      }
    });
  });

  describe('is refused', () => {
    const secret = 'hunter2';
    const rows: readonly (readonly [what: string, text: string, ...sentences: string[]])[] = [
      [
        'with a share of none, or of a half',
        tokensText([{ ...REPORT, max_sources: 0, max_open_drifts: '5' }]),
        '/tokens/0/max_sources must be a whole number from 1',
        '/tokens/0/max_open_drifts must be a whole number from 1',
      ],
      ['that is empty', '', 'is not JSON: Unexpected end'],
      ['that is YAML', `tokens:\n  - name: ${secret}`, 'is not JSON: Unexpected token'],
      ['with a comma too many', `{"tokens": ["${secret}",]}`, 'is not JSON: Unexpected token'],
      ['in UTF-16', Buffer.from(tokensText([REPORT]), 'utf16le').toString('utf8'), 'is not text in UTF-8'],
      ['that is a list', '[]', 'the file must be a JSON object'],
      ['without tokens', '{}', '/tokens is required'],
      [
        'with tokens by name',
        `{"${secret}\\nall is fine": {}}`,
        '/tokens is required',
        'the file has a key that is not known',
      ],
      [
        'with a misspelt key',
        tokensText([REPORT]).replace('{', '{"anonymus": ["read"],'),
        '/anonymus is not known here',
      ],
      ['with an empty list', '{"tokens": []}', '/tokens must be a list of at least one token'],
      ['with texts as tokens', `{"tokens": ["${secret}"]}`, '/tokens/0 must be an object'],
      [
        'with nothing in a token',
        '{"tokens": [{}]}',
        '/tokens/0/name is',
        '/tokens/0/sha256 is',
        '/tokens/0/scopes is',
      ],
      [
        'with a token where its hash belongs',
        tokensText([{ ...REPORT, sha256: secret }]),
        '/tokens/0/sha256 must be the SHA-256',
      ],
      [
        'with a hash in capitals',
        tokensText([{ ...REPORT, sha256: REPORT.sha256.toUpperCase() }]),
        '/tokens/0/sha256 must',
      ],
      [
        'with the token beside its hash',
        tokensText([{ ...REPORT, token: secret }]),
        '/tokens/0/token is not known here',
      ],
      ['with a limit that is misspelt', tokensText([{ ...REPORT, repo: ['web'] }]), '/tokens/0/repo is not known here'],
      [
        'with a limit that is no list',
        tokensText([{ ...REPORT, repos: 'web' }]),
        '/tokens/0/repos must be a list of names',
      ],
      ['with a limit to nothing', tokensText([{ ...REPORT, repos: [] }]), '/tokens/0/repos must be a list of names'],
      [
        'with a regular expression',
        tokensText([{ ...REPORT, servers: ['web.+(a|b)'] }]),
        '/tokens/0/servers/0 must be a name',
      ],
      [
        'with no scope',
        tokensText([{ ...REPORT, scopes: [] }]),
        '/tokens/0/scopes must be a list of one or more of report, read and delete',
      ],
      [
        'with an unknown scope',
        tokensText([{ ...REPORT, scopes: ['write'] }]),
        '/tokens/0/scopes/0 must be report, read or delete',
      ],
      ['with an unknown scope for all', tokensText([REPORT], ['*']), '/anonymous/0 must be report, read or delete'],
      ['with a name that a log would not take', tokensText([{ ...REPORT, name: 'a "b"' }]), '/tokens/0/name must be'],
      [
        'with a day instead of a time',
        tokensText([{ ...REPORT, expires_at: '2027-01-31' }]),
        '/tokens/0/expires_at must be an ISO',
      ],
      [
        'with one name twice',
        tokensText([REPORT, { ...REPORT, sha256: sha256('b') }]),
        '/tokens/1/name must not repeat',
      ],
      ['with one hash twice', tokensText([REPORT, { ...REPORT, name: 'b' }]), '/tokens/1/sha256 must not repeat'],
      [
        'with a name of a server that is too long',
        tokensText([{ ...REPORT, servers: ['x'.repeat(201)] }]),
        '/tokens/0/servers/0 must be a name',
      ],
      [
        'with a name that begins with a dash',
        tokensText([{ ...REPORT, repos: ['-x'] }]),
        'that begins with a letter, a digit or *',
      ],
      [
        'with a limit of servers that reading would not keep',
        tokensText([{ ...REPORT, scopes: ['read'], servers: ['web'] }]),
        '/tokens/0/scopes must not have read beside',
      ],
      [
        'with a limit of repos that reading would not keep',
        tokensText([{ ...REPORT, scopes: ['report', 'read'], repos: ['web'] }]),
        '/tokens/0/scopes must not have read beside repos',
      ],
    ];
    for (const [what, text, ...sentences] of rows) {
      it(`${what}, in so many words, and none of its values is shown`, () => {
        const { problems } = problemOf(() => parseTokens(text));
        expect(problems).to.have.lengthOf(sentences.length);
        for (const [index, sentence] of sentences.entries()) {
          expect(problems[index])
            .to.match(/^TOKENS_FILE: /)
            .and.contain(sentence)
            .and.not.contain(secret);
        }
      });
    }

    it('with very many mistakes, of which a hundred are named', () => {
      const { problems } = problemOf(() =>
        parseTokens(tokensText(Array.from({ length: 150 }, () => ({ ...REPORT, name: '' })))),
      );
      expect(problems).to.have.lengthOf(101);
      expect(problems[100]).to.equal('TOKENS_FILE: /tokens the same rule is broken in 50 more places');
    });

    it('when it is not there, or a folder', () => {
      const folder = makeFolder();
      try {
        for (const path of [join(folder.path, 'none'), folder.path]) {
          expect(problemOf(() => openTokens(path)).message).to.match(/^TOKENS_FILE: cannot be read: E(NOENT|ISDIR)/);
        }
      } finally {
        folder.remove();
      }
    });
  });

  describe('that is watched', () => {
    let folder: ReturnType<typeof makeFolder>;
    let file: string;
    let told: (Tokens | ConfigError)[];
    let watching: { stop(): void } | undefined;
    beforeEach(() => {
      folder = makeFolder();
      file = join(folder.path, 'tokens.json');
      told = [];
    });
    afterEach(() => {
      watching?.stop();
      folder.remove();
    });

    /** At once, so that nobody sees half of it. */
    function put(text: string): void {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    }

    function watch(): { current(): Tokens } {
      const opened = openTokens(file);
      watching = opened.watch((changed) => told.push(changed), 5);
      return opened;
    }

    it('counts as it is by now', async () => {
      put(tokensText([REPORT]));
      const opened = watch();
      put(tokensText([{ ...REPORT, name: 'new', sha256: sha256('new-token') }]));
      await until(() => told.length > 0);
      expect(opened.current().find('new-token')?.name).to.equal('new');
      expect(opened.current().find('ci-token')).to.equal(undefined);
      expect(told).to.deep.equal([opened.current()]);
    });

    it('as Kubernetes swaps it, counts as it is by now', async () => {
      const inFolder = (name: string, text: string): void => {
        const { path } = makeFolder();
        renameSync(path, join(folder.path, name));
        writeFileSync(join(folder.path, name, 'tokens.json'), text);
      };
      inFolder('..first', tokensText([REPORT]));
      symlinkSync('..first', join(folder.path, '..data'));
      symlinkSync('..data/tokens.json', file);
      const opened = watch();
      inFolder('..second', tokensText([{ ...REPORT, sha256: sha256('new-token') }]));
      symlinkSync('..second', join(folder.path, '..new'));
      renameSync(join(folder.path, '..new'), join(folder.path, '..data'));
      await until(() => told.length > 0);
      expect(opened.current().find('new-token')?.name).to.equal('ci');
    });

    it('and becomes unusable, counts as it was, and says so once', async () => {
      put(tokensText([REPORT]));
      const opened = watch();
      put('{"tokens": [');
      await until(() => told.length > 0);
      rmSync(file);
      await until(() => told.length > 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(told.map((each) => (each as ConfigError).problems[0])).to.satisfy(
        ([first, second, ...more]: string[]) =>
          first?.includes('is not JSON') && second?.includes('cannot be read') && more.length === 0,
      );
      expect(opened.current().find('ci-token')?.name).to.equal('ci');
      put(tokensText([REPORT]));
      await until(() => told.length > 2);
      expect(told[2]).to.equal(opened.current());
    });

    it('is left alone once nobody watches', async () => {
      put(tokensText([REPORT]));
      watch();
      watching?.stop();
      put('');
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(told).to.deep.equal([]);
    });
  });
});

function problemOf(run: () => unknown): ConfigError {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}
