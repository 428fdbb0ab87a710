import { expect } from 'chai';
import { type Rendered, createRenderedTexts } from '../../src/fleet/rendered-text.ts';

describe('rendered texts', () => {
  const empty = (): Rendered => ({ row: undefined, rowIsStale: false, labels: undefined });

  it('are kept while there is room, and rendered again past it', () => {
    const texts = createRenderedTexts(10);
    const [a, b] = [empty(), empty()];
    texts.keepRow(a, '123456', false);
    texts.keepRow(b, '12345', false);
    expect([a.row, b.row]).to.deep.equal(['123456', undefined]);
    texts.keepLabels(b, '1234');
    expect(b.labels).to.equal('1234');
  });

  it('have room again for what was replaced, dropped, or went with its source', () => {
    const texts = createRenderedTexts(10);
    const [a, b] = [empty(), empty()];
    texts.keepRow(a, '1234567890', false);
    texts.keepRow(a, '12345', true);
    expect(a).to.include({ row: '12345', rowIsStale: true });
    texts.keepRow(b, '12345', false);
    texts.dropRow(b);
    texts.keepLabels(b, '12345');
    texts.drop(a);
    texts.drop(b);
    expect([a, b]).to.deep.equal([{ ...empty(), rowIsStale: true }, empty()]);
    texts.keepRow(a, '1234567890', false);
    expect(a.row).to.equal('1234567890');
  });

  it('are not kept where a single one is very long', () => {
    const texts = createRenderedTexts(1_000_000);
    const a = empty();
    texts.keepRow(a, 'x'.repeat(100_000), false);
    expect(a.row).to.equal(undefined);
  });
});
