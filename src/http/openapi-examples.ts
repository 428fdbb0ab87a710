/** Bodies as they are, for people. A test holds each against its schema. */

export const report = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  sync_status: 'OUT_OF_SYNC',
  drift_count: 2,
  files: [{ name: 'rsyslog.conf' }, { name: 'rsyslog.d/30-lab.conf' }],
  last_check: '2026-04-21T10:32:15Z',
};

export const receipt = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  result: 'created',
  verdict: 'OUT_OF_SYNC',
  previous_status: null,
  drift_count: 2,
  opened: ['rsyslog.conf', 'rsyslog.d/30-lab.conf'],
  closed: [],
  status_since: '2026-04-21T10:32:16.204Z',
  stale_at: '2026-04-21T10:42:15.000Z',
  ignored: [],
};

export const laterReceipt = { ...receipt, result: 'unchanged', previous_status: 'OUT_OF_SYNC', opened: [] };

export const source = {
  ...report,
  files_truncated: false,
  commit: null,
  pipeline_url: null,
  verdict: 'OUT_OF_SYNC',
  out_of_sync: 1,
  stale: false,
  last_check_ms: 1_776_767_535_000,
  status_since: '2026-04-21T10:32:16.204Z',
  unknown_since: null,
  message: null,
  received_at: '2026-04-21T10:32:16.204Z',
  stale_at: '2026-04-21T10:42:15.000Z',
  last_rejected_at: null,
  reported_by: 'woodpecker',
  labels: { team: 'web' },
  files_text: 'rsyslog.conf, rsyslog.d/30-lab.conf',
};

const { files, ...sourceFields } = source;
export const sourceDetail = {
  ...sourceFields,
  first_seen: '2026-04-21T10:32:16.204Z',
  files: files.map(({ name }) => ({ name, since: '2026-04-21T10:32:16.204Z', times_drifted: 1, diff: null })),
  drifts: [{ name: 'rsyslog.conf', opened_at: '2026-04-21T10:32:16.204Z', closed_at: null, duration_seconds: 104 }],
};

export const driftedFile = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  name: 'rsyslog.conf',
  since: '2026-04-21T10:32:16.204Z',
  last_check: '2026-04-21T10:32:15Z',
  times_drifted: 1,
  servers_drifted: 1,
  servers: 3,
  commit: null,
  pipeline_url: null,
};

export const tally = { name: 'rsyslog', sources: 3, out_of_sync: 1, unknown: 0, stale: 1 };

export const summary = {
  sources: 3,
  synced: 1,
  out_of_sync: 1,
  unknown: 0,
  stale: 1,
  drift_count: 2,
  repos: 1,
  servers: 3,
  oldest_drift_since: '2026-04-21T10:32:16.204Z',
  generated_at: '2026-04-21T10:34:00.000Z',
};

export const stateChange = {
  time: '2026-04-21T10:32:16.204Z',
  time_ms: 1_776_767_536_204,
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  source: 'rsyslog/rsyslog-lab',
  verdict: 'OUT_OF_SYNC',
  state: 1,
  drift_count: 2,
};

export const drift = {
  repo: 'rsyslog',
  server: 'rsyslog-lab',
  name: 'rsyslog.conf',
  opened_at: '2026-04-21T10:32:16.204Z',
  closed_at: '2026-04-21T10:42:16.204Z',
  duration_seconds: 600,
  time: 1_776_767_536_204,
  timeEnd: 1_776_768_136_204,
  text: 'rsyslog.conf differs on rsyslog-lab (rsyslog)',
  tags: 'rsyslog,rsyslog-lab',
};

export const event = { id: '7f3a-12', event: 'change', data: receipt };
