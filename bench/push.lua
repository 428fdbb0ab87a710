-- What a job would push to a Pushgateway instead of the report that bench/report.lua posts: SOURCES groups in turn, four gauges each.
-- Two more series of each group are Pushgateway's own.
local sources = tonumber(os.getenv("SOURCES"))
local now = os.time()
local headers = { ["Content-Type"] = "text/plain" }
local requests = { {}, {} }
local count

function init()
  for drifts = 1, 2 do
    for i = 0, sources - 1 do
      local body = string.format(
        "# TYPE gitops_drift_count gauge\ngitops_drift_count %d\n# TYPE gitops_in_sync gauge\ngitops_in_sync 0\n"
          .. "# TYPE gitops_last_check_timestamp_seconds gauge\ngitops_last_check_timestamp_seconds %d\n"
          .. "# TYPE gitops_status_since_timestamp_seconds gauge\ngitops_status_since_timestamp_seconds %d\n",
        drifts, now, now)
      local path = string.format("/metrics/job/repo-%d/instance/server-%d", i % (sources / 100), i)
      requests[drifts][i] = wrk.format("PUT", path, headers, body)
    end
  end
  math.randomseed(os.time())
  count = math.random(sources)
end

function request()
  count = count + 1
  return requests[math.random(2)][count % sources]
end
