import type { Fleet } from '../fleet/fleet.ts';

/** Names the state of the whole fleet at `now` (milliseconds): while it is the same, so is every read of it. */
export type FleetEtag = (now: number) => string;

/**
 * Rows change with a commit, and when a source becomes STALE.
 * @param bootId what every ETag begins with: revisions begin anew with each start
 */
export function createFleetEtag(fleet: Pick<Fleet, 'revision' | 'staleEpoch'>, bootId: string): FleetEtag {
  return (now) => `${bootId}.${fleet.revision}.${fleet.staleEpoch(now)}`;
}
