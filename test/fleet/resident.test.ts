import { expect } from 'chai';
import { driftCountOf, oldestDriftOf } from '../../src/core/ledger.ts';
import { createResident } from '../../src/fleet/resident.ts';
import { toLimits } from '../../src/fleet/usage.ts';
import { NOW, storedSource } from '../fixtures.ts';

describe('what memory keeps', () => {
  const files = (count: number): string[] => Array.from({ length: count }, (_, i) => `f${i}`);

  it('is all, as long as it is within the limits', () => {
    const resident = createResident(toLimits(10, 300));
    const { snapshot } = storedSource(1, { files: files(300) });
    expect(resident.add(snapshot, 1000)).to.equal(snapshot);
    expect(resident.partial).to.equal(0);
  });

  it('is the first 100 names of a source past them, with the true count and since when the oldest differs', () => {
    const resident = createResident(toLimits(10, 100));
    const { snapshot } = storedSource(1, { files: files(300) });
    const aged = { ...snapshot, files: snapshot.files.with(250, { name: 'old', since: NOW - 5000, times: 1 }) };
    const kept = resident.add(aged, 1000);
    expect(kept.files).to.deep.equal(aged.files.slice(0, 100));
    expect(driftCountOf(kept)).to.equal(300);
    expect(oldestDriftOf(kept)).to.equal(NOW - 5000);
    expect(resident.partial).to.equal(1);
  });

  it('is bounded however many sources there are: past a reserve, counts alone', () => {
    const resident = createResident(toLimits(10, 100));
    const kept = Array.from({ length: 1000 }, (_, i) =>
      resident.add(storedSource(i, { files: files(200) }).snapshot, 700),
    );
    const names = kept.reduce((sum, snapshot) => sum + snapshot.files.length, 0);
    expect(names).to.be.within(10_000, 10_100);
    expect(kept.reduce((sum, snapshot) => sum + driftCountOf(snapshot), 0)).to.equal(200_000);
  });

  it('leaves out names that are few but long', () => {
    const resident = createResident(toLimits(10, 100));
    const long = Array.from({ length: 100 }, (_, i) => `${i}${'x'.repeat(1000)}`);
    const bytes = 100_190;
    for (let i = 0; i < 100; i += 1) resident.add(storedSource(i, { files: long }).snapshot, bytes);
    expect(resident.add(storedSource(200, { files: long }).snapshot, bytes).files).to.deep.equal([]);
  });

  it('leaves out URLs past the limit on text, and only them', () => {
    const resident = createResident(toLimits(10, 100));
    const { snapshot } = storedSource(1, { pipelineUrl: `https://ci.example.org/${'p'.repeat(2000)}` });
    const kept = Array.from({ length: 10 }, () => resident.add(snapshot, 0));
    expect(kept.filter(({ pipelineUrl }) => pipelineUrl !== null)).to.have.length(6);
    expect(kept.at(-1)).to.deep.equal({ ...snapshot, pipelineUrl: null });
  });

  it('has room again for URLs of what was removed', () => {
    const resident = createResident(toLimits(10, 100));
    const { snapshot } = storedSource(1, { pipelineUrl: `https://ci.example.org/${'p'.repeat(2000)}` });
    for (let i = 0; i < 20; i += 1) {
      const kept = resident.add(snapshot, 0);
      expect(kept).to.equal(snapshot);
      resident.remove(kept, 0);
    }
  });

  it('has room again for what was removed', () => {
    const resident = createResident(toLimits(10, 100));
    const { snapshot } = storedSource(1, { files: files(100) });
    const kept = resident.add(snapshot, 300);
    expect(resident.add(snapshot, 300).files).to.have.length(100);
    const partial = resident.add(storedSource(2, { files: files(101) }).snapshot, 300);
    expect(partial.hidden?.drifts).to.equal(1);
    resident.remove(partial, 300);
    expect(resident.partial).to.equal(0);
    resident.remove(kept, 300);
    resident.remove(kept, 300);
    expect(resident.add(snapshot, 300)).to.equal(snapshot);
  });
});
