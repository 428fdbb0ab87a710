import { expect } from 'chai';
import { makeCertificate } from '../certificate.ts';
import { makeFolder } from '../fixtures.ts';
import { type Service, startMain } from '../process.ts';
import { get, openWire, parseAnswer, post } from '../wire.ts';

describe('the limits of time of the process', () => {
  let folder: ReturnType<typeof makeFolder>;
  let service: Service;

  before(() => {
    folder = makeFolder();
  });
  after(() => folder.remove());
  afterEach(() => service.kill());

  for (const isTls of [false, true]) {
    it(`hold over ${isTls ? 'https' : 'http'}`, async () => {
      const { certFile, keyFile } = isTls ? makeCertificate(folder.path, 'ours') : { certFile: '', keyFile: '' };
      service = await startMain({ DATA_DIR: folder.path, TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile });
      const beginnings = ['', get('/healthz').slice(0, -2), post('{', 100)];
      const answers = beginnings.map(async (bytes) => {
        const wire = await openWire(service.port, isTls);
        wire.send(bytes);
        return parseAnswer(await wire.closed).status;
      });
      expect(await Promise.all(answers)).to.deep.equal([408, 408, 408]);
      // on the port of https, a handshake that never begins
      await (
        await openWire(service.port)
      ).closed;
    });
  }
});
