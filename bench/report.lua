-- Reports of SOURCES sources in turn. Each source has the same files for two reports and others for the next two, so half of the
-- reports change the set of files. Prepared once: making the text must not be the load generator's limit.
local sources = tonumber(os.getenv("SOURCES") or "1000")
local now = os.date("!%Y-%m-%dT%H:%M:%SZ")
local sets = {
  '"drift_count":2,"files":[{"name":"rsyslog.conf"},{"name":"rsyslog.d/30-lab.conf"}]',
  '"drift_count":2,"files":[{"name":"rsyslog.conf"},{"name":"rsyslog.d/40-lab.conf"}]',
}
local headers = { ["Content-Type"] = "application/json" }
local requests = { {}, {} }

function init()
  for set, files in ipairs(sets) do
    for i = 0, sources - 1 do
      local body = string.format(
        '{"repo":"repo-%d","server":"server-%d","sync_status":"OUT_OF_SYNC",%s,"last_check":"%s"}',
        i % 10, i, files, now)
      requests[set][i] = wrk.format("POST", "/api/status", headers, body)
    end
  end
end

local count = -1
function request()
  count = count + 1
  local round = math.floor(count / sources)
  return requests[math.floor(round / 2) % 2 + 1][count % sources]
end
