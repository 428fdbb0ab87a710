import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { type Config, HELP, parseConfig } from '../src/config.ts';
import { ConfigError } from '../src/core/config-error.ts';
import { makeFolder } from './fixtures.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;

describe('config', () => {
  it('has a default for everything', () => {
    expect(parseConfig({})).to.deep.equal({
      port: 8080,
      host: undefined,
      dataDir: resolve('data'),
      staleAfterMs: 10 * MINUTE,
      expireAfterMs: undefined,
      historyRetentionMs: 90 * DAY,
      maxBodyBytes: 1_048_576,
      maxSources: 100_000,
      maxOpenDrifts: 500_000,
      maxConnections: 2000,
      trustedProxies: 0,
      logLevel: 'info',
      publicUrl: undefined,
      tls: undefined,
      tokensFile: undefined,
    });
  });

  it('takes an empty variable for one that is not set', () => {
    const names = [...HELP.matchAll(/^ {2}([A-Z_]+) /gm)].map(([, name]) => name as string);
    expect(names).to.include.members(['PORT', 'DATA_DIR', 'TLS_KEY_FILE', 'DATABASE_URL', 'TOKENS_FILE']);
    const env = Object.fromEntries(names.map((name, i) => [name, i % 2 === 0 ? '' : ' ']));
    expect(parseConfig(env)).to.deep.equal(parseConfig({}));
  });

  it('does not look at the variables of other programs', () => {
    expect(parseConfig({ HOME: '/root', PORTS: 'many', NODE_ENV: 'test' })).to.deep.equal(parseConfig({}));
  });

  const accepted: readonly (readonly [name: string, text: string, field: keyof Config, value: unknown])[] = [
    ['PORT', '0', 'port', 0],
    ['PORT', ' 9090 ', 'port', 9090],
    ['PORT', '65535', 'port', 65_535],
    ['HOST', '127.0.0.1', 'host', '127.0.0.1'],
    ['HOST', '::1', 'host', '::1'],
    ['DATA_DIR', '/var/lib/gitops-status', 'dataDir', '/var/lib/gitops-status'],
    ['DATA_DIR', 'else/where', 'dataDir', resolve('else/where')],
    ['STALE_AFTER', '1s', 'staleAfterMs', 1000],
    ['STALE_AFTER', '30s', 'staleAfterMs', 30_000],
    ['STALE_AFTER', '24h', 'staleAfterMs', DAY],
    ['STALE_AFTER', '365d', 'staleAfterMs', 365 * DAY],
    ['EXPIRE_AFTER', 'off', 'expireAfterMs', undefined],
    ['EXPIRE_AFTER', '10m', 'expireAfterMs', 10 * MINUTE],
    ['EXPIRE_AFTER', '2w', 'expireAfterMs', 14 * DAY],
    ['HISTORY_RETENTION', '1s', 'historyRetentionMs', 1000],
    ['HISTORY_RETENTION', '36500d', 'historyRetentionMs', 36_500 * DAY],
    ['MAX_BODY_BYTES', '1024', 'maxBodyBytes', 1024],
    ['MAX_BODY_BYTES', '104857600', 'maxBodyBytes', 104_857_600],
    ['MAX_SOURCES', '1', 'maxSources', 1],
    ['MAX_OPEN_DRIFTS', '100', 'maxOpenDrifts', 100],
    ['MAX_CONNECTIONS', '10', 'maxConnections', 10],
    ['TRUSTED_PROXIES', '1', 'trustedProxies', 1],
    ['MAX_SOURCES', '10000000', 'maxSources', 10_000_000],
    ['LOG_LEVEL', 'trace', 'logLevel', 'trace'],
    ['LOG_LEVEL', 'silent', 'logLevel', 'silent'],
    ['PUBLIC_URL', 'https://status.example.org', 'publicUrl', 'https://status.example.org'],
    ['PUBLIC_URL', 'http://status.example.org:8080/gitops//', 'publicUrl', 'http://status.example.org:8080/gitops'],
  ];
  for (const [name, text, field, value] of accepted) {
    it(`takes ${name}=${text}`, () => {
      expect(parseConfig({ [name]: text })[field]).to.deep.equal(value);
    });
  }

  const refused: readonly (readonly [name: string, text: string, sentence: string])[] = [
    ['PORT', '65536', 'must be a whole number from 0 to 65535'],
    ['PORT', '-1', 'must be a whole number'],
    ['PORT', '80.5', 'must be a whole number'],
    ['PORT', '0x50', 'must be a whole number'],
    ['PORT', 'http', 'must be a whole number'],
    ['STALE_AFTER', '10', 'must be a duration such as 30s, 10m, 24h or 90d'],
    ['STALE_AFTER', '0s', 'from 1s'],
    ['STALE_AFTER', '1.5h', 'must be a duration'],
    ['STALE_AFTER', '10 m', 'must be a duration'],
    ['STALE_AFTER', '10y', 'must be a duration'],
    ['STALE_AFTER', '366d', 'to 365d'],
    ['STALE_AFTER', 'off', 'must be a duration'],
    ['EXPIRE_AFTER', 'never', 'must be a duration'],
    ['HISTORY_RETENTION', '36501d', 'to 36500d'],
    ['MAX_BODY_BYTES', '1023', 'from 1024 to 104857600'],
    ['MAX_BODY_BYTES', '104857601', 'from 1024 to 104857600'],
    ['MAX_BODY_BYTES', '1MB', 'must be a whole number'],
    ['MAX_SOURCES', '0', 'from 1 to 10000000'],
    ['MAX_SOURCES', '10000001', 'from 1 to 10000000'],
    ['LOG_LEVEL', 'loud', 'must be one of trace, debug, info, warn, error, fatal, silent'],
    ['PUBLIC_URL', 'status.example.org', 'must be an http or https URL'],
    ['PUBLIC_URL', 'ftp://status.example.org', 'must be an http or https URL'],
    ['PUBLIC_URL', 'https://status.example.org/?a=b', 'without query'],
    ['PUBLIC_URL', 'https://status.example.org/#top', 'without query'],
  ];
  for (const [name, text, sentence] of refused) {
    it(`refuses ${name}=${text} and says what it must be`, () => {
      const [problem, ...more] = problemsOf({ [name]: text });
      expect(problem)
        .to.match(new RegExp(`^${name}: `))
        .and.include(sentence)
        .and.include(`"${text}"`);
      expect(more).to.be.empty;
    });
  }

  it('names every variable at fault at once', () => {
    const env = { PORT: 'x', STALE_AFTER: 'y', LOG_LEVEL: 'z', TOKENS_FILE: 'tokens', DATABASE_URL: 'postgres://db' };
    const named = problemsOf(env).map((problem) => problem.split(':')[0]);
    expect(named).to.have.members(Object.keys(env));
  });

  it('has one line for each problem in the message of its error', () => {
    expect(() => parseConfig({ PORT: 'x', MAX_SOURCES: 'y' })).to.throw(ConfigError, /^PORT: .*\nMAX_SOURCES: .*$/);
  });

  it('refuses to forget sources before they are stale', () => {
    expect(problemsOf({ STALE_AFTER: '1h', EXPIRE_AFTER: '59m' })).to.have.length(1);
    expect(problemsOf({ STALE_AFTER: '1h', EXPIRE_AFTER: '59m' })[0]).to.include('EXPIRE_AFTER');
    expect(parseConfig({ STALE_AFTER: '1h', EXPIRE_AFTER: '60m' }).expireAfterMs).to.equal(60 * MINUTE);
  });

  it('refuses settings of later versions rather than being without them silently', () => {
    expect(problemsOf({ DATABASE_URL: 'postgres://db/status' })[0]).to.include('not supported');
  });

  it('shows no password of a DATABASE_URL', () => {
    expect(problemsOf({ DATABASE_URL: 'postgres://me:secret@db/status' }).join()).not.to.include('secret');
  });

  it('takes a tokens file that is there', () => {
    expect(parseConfig({ TOKENS_FILE: 'package.json' }).tokensFile).to.equal(resolve('package.json'));
    expect(problemsOf({ TOKENS_FILE: '/nowhere/tokens.json' })).to.deep.equal([
      'TOKENS_FILE: must be the path of a readable file, but it is "/nowhere/tokens.json"',
    ]);
  });

  describe('TLS', () => {
    let folder: ReturnType<typeof makeFolder>;
    let cert: string;
    let key: string;
    before(() => {
      folder = makeFolder();
      cert = join(folder.path, 'cert.pem');
      key = join(folder.path, 'key.pem');
      writeFileSync(cert, '');
      writeFileSync(key, '');
    });
    after(() => folder.remove());

    it('is on with both files', () => {
      expect(parseConfig({ TLS_CERT_FILE: cert, TLS_KEY_FILE: key }).tls).to.deep.equal({
        certFile: cert,
        keyFile: key,
      });
    });

    it('wants both or neither', () => {
      for (const env of [{ TLS_CERT_FILE: cert }, { TLS_KEY_FILE: key }]) {
        expect(problemsOf(env)).to.deep.equal(['TLS_CERT_FILE and TLS_KEY_FILE: set both (https) or neither (http)']);
      }
    });

    it('wants files that are there', () => {
      const problems = problemsOf({ TLS_CERT_FILE: join(folder.path, 'none.pem'), TLS_KEY_FILE: key });
      expect(problems).to.have.length(1);
      expect(problems[0]).to.match(/^TLS_CERT_FILE: .*none\.pem/);
    });
  });

  it('has its defaults in the text of --help', () => {
    const config = parseConfig({});
    const shown = Object.fromEntries(
      [...HELP.matchAll(/^ {2}([A-Z_]+) +(\S+)/gm)].map(([, name, text]) => [name, text]),
    );
    expect(shown).to.include({
      PORT: String(config.port),
      MAX_BODY_BYTES: String(config.maxBodyBytes),
      MAX_SOURCES: String(config.maxSources),
      MAX_OPEN_DRIFTS: String(config.maxOpenDrifts),
      MAX_CONNECTIONS: String(config.maxConnections),
      TRUSTED_PROXIES: String(config.trustedProxies),
      LOG_LEVEL: config.logLevel,
    });
    for (const name of ['DATA_DIR', 'STALE_AFTER', 'EXPIRE_AFTER', 'HISTORY_RETENTION']) {
      expect(parseConfig({ [name]: shown[name] }), name).to.deep.equal(config);
    }
  });
});

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    parseConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}
