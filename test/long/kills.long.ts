import { killUnderLoad } from '../e2e/kills.ts';

const KILLS = 200;

describe('a campaign of kills', () => {
  it(`loses no acknowledged report, ${KILLS} times in the middle of load`, async () => {
    const { acknowledged, unanswered } = await killUnderLoad(KILLS, ({ kills, ...soFar }) => {
      if (kills % 20 === 0) console.log(`      ${kills} of ${KILLS} kills, ${soFar.acknowledged} reports acknowledged`);
    });
    console.log(
      `      ${KILLS} kills: ${acknowledged} reports acknowledged, none lost; ${unanswered} without an answer`,
    );
  });
});
