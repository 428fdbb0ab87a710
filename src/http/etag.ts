import { verdictOf } from '../core/ledger.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { StoredSource } from '../store/store.ts';

/** Names the state of the whole fleet at `now` (milliseconds): while it is the same, so is every read of it. */
export type FleetEtag = (now: number) => string;

/**
 * Rows change with a commit, and when a source becomes STALE.
 * @param bootId what every ETag begins with: revisions begin anew with each start
 */
export function createFleetEtag(fleet: Pick<Fleet, 'revision' | 'staleEpoch'>, bootId: string): FleetEtag {
  return (now) => `${bootId}.${fleet.revision}.${fleet.staleEpoch(now)}`;
}

/**
 * Names the state of one source at `now` (milliseconds): its newest report, its newest refused one, its verdict. It leaves out what the
 * clock alone changes, which is how long open drifts have lasted: as a weak ETag it names all answers that mean the same.
 * @param bootId what every ETag begins with
 */
export function sourceEtag(bootId: string, { id, snapshot }: StoredSource, now: number): string {
  return `${bootId}.${id}.${snapshot.version}.${snapshot.lastRejectedAt ?? ''}.${verdictOf(snapshot, now)}`;
}

/** What proxies that compress put behind an ETag, inside its quotes: Apache `-gzip` and `-br`, Caddy `-zstd`, Jetty `--gzip`, older ones `;gzip`. */
const ENCODING_SUFFIX = /(?:--?|;)(?:gzip|br|zstd|deflate)$/;

/**
 * Whether If-None-Match or If-Match names the state. Compared weakly, as RFC 9110, section 8.8.3.2 has it for the first; so it is for the
 * second, since all ETags here are weak. What a proxy has put behind an ETag does not count.
 * @param header a list of ETags, or `*`, which names every state
 * @param etag without quotes
 */
export function namesEtag(header: string, etag: string): boolean {
  if (header.trim() === '*') return true;
  return header.matchAll(/"([^"]*)"/g).some(([, tag = '']) => tag.replace(ENCODING_SUFFIX, '') === etag);
}
