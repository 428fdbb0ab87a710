import { expect } from 'chai';
import { parseTokens } from '../../src/access/tokens.ts';
import { addressKey } from '../../src/http/client-address.ts';
import { type Service, sha256, startService, tokensText } from '../fixtures.ts';
import { exchange, get } from '../wire.ts';

describe('the address of a client', () => {
  let service: Service;
  afterEach(() => service.stop());

  async function start(trustedProxies: number): Promise<void> {
    const tokens = parseTokens(tokensText([{ name: 'ci', sha256: sha256('ci'), scopes: ['read'] }]));
    service = await startService({ trustedProxies, tokens: () => tokens });
  }

  /** As the log shows it, of a request that is refused. */
  async function addressOf(...headers: readonly string[]): Promise<unknown> {
    await exchange(service.port, get('/status.json', 'Connection: close', ...headers));
    return service.log.at(-1)?.client_address;
  }

  it('is that of the connection where no proxy is trusted, whatever it sends', async () => {
    await start(0);
    expect(await addressOf()).to.equal('127.0.0.1');
    expect(await addressOf('X-Forwarded-For: 192.0.2.1')).to.equal('127.0.0.1');
    expect(await addressOf('X-Real-IP: 192.0.2.1', 'Forwarded: for=192.0.2.1')).to.equal('127.0.0.1');
  });

  it('is the right-most of X-Forwarded-For behind one proxy', async () => {
    await start(1);
    expect(await addressOf('X-Forwarded-For: 192.0.2.1')).to.equal('192.0.2.1');
    expect(await addressOf('X-Forwarded-For: 203.0.113.9, 192.0.2.1')).to.equal('192.0.2.1');
    expect(await addressOf('X-Forwarded-For: 203.0.113.9', 'X-Forwarded-For: 192.0.2.1')).to.equal('192.0.2.1');
    expect(await addressOf('X-Forwarded-For: 203.0.113.9,192.0.2.1 , ::1')).to.equal('::1');
  });

  it('is the second from the right behind two proxies', async () => {
    await start(2);
    expect(await addressOf('X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.0.0.1')).to.equal('192.0.2.1');
  });

  it('is the left-most where there are fewer than proxies', async () => {
    await start(3);
    expect(await addressOf('X-Forwarded-For: 192.0.2.1, 10.0.0.1')).to.equal('192.0.2.1');
  });

  it('is that of the connection where a proxy tells none', async () => {
    await start(1);
    for (const value of ['', 'unknown', '_hidden', '192.0.2.1, unknown', ',', '192.0.2.1.5', 'x'.repeat(5000)]) {
      expect(await addressOf(`X-Forwarded-For: ${value}`), value).to.equal('127.0.0.1');
    }
    expect(await addressOf()).to.equal('127.0.0.1');
  });

  it('is bare, also where a proxy tells the port', async () => {
    await start(1);
    for (const [value, address] of [
      ['192.0.2.1:51234', '192.0.2.1'],
      ['[2001:db8::1]:51234', '2001:db8::1'],
      ['[2001:db8::1]', '2001:db8::1'],
      ['::ffff:192.0.2.1', '192.0.2.1'],
      ['fe80::1%eth0', 'fe80::1'],
    ] as const) {
      expect(await addressOf(`X-Forwarded-For: ${value}`)).to.equal(address);
    }
  });
});

describe('the key of an address', () => {
  const keys: readonly (readonly [address: string, key: string])[] = [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:0201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['192.0.2.1:51234', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:192.0.2.1', '2001:db8:1:2::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['[2001:db8:1:2::6]:51234', '2001:db8:1:2::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['', ''],
    ['unknown', 'unknown'],
  ];
  for (const [address, key] of keys) {
    it(`${address === '' ? 'that is empty' : address} is ${key}`, () => {
      expect(addressKey(address)).to.equal(key);
    });
  }
});
