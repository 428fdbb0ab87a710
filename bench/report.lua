-- Reports of SOURCES sources in turn, from a random one on. Each source has one of two sets of files, drawn anew for every report: so
-- half of the reports change the set. Prepared once: making the text must not be the load generator's limit.
-- The names are those of bench/sources.ts.
local sources = tonumber(os.getenv("SOURCES"))
local now = os.date("!%Y-%m-%dT%H:%M:%SZ")
local sets = {
  '"drift_count":2,"files":[{"name":"rsyslog.conf"},{"name":"rsyslog.d/30-lab.conf"}]',
  '"drift_count":2,"files":[{"name":"rsyslog.conf"},{"name":"rsyslog.d/40-lab.conf"}]',
}
local headers = { ["Content-Type"] = "application/json" }
local requests = { {}, {} }
local count

function init()
  for set, files in ipairs(sets) do
    for i = 0, sources - 1 do
      local body = string.format(
        '{"repo":"repo-%d","server":"server-%d","sync_status":"OUT_OF_SYNC",%s,"last_check":"%s"}',
        i % (sources / 100), i, files, now)
      requests[set][i] = wrk.format("POST", "/api/status", headers, body)
    end
  end
  math.randomseed(os.time())
  count = math.random(sources)
end

function request()
  count = count + 1
  return requests[math.random(2)][count % sources]
end
