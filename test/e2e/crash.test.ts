import { killUnderLoad } from './kills.ts';

const KILLS = 20;

describe('killing the process', function () {
  this.timeout(300_000);

  it(`loses no acknowledged report, ${KILLS} times in the middle of load`, async () => {
    await killUnderLoad(KILLS);
  });
});
