# [{"server", "files": [{"name", "diff"?}]}] → one report for each server, as POST /api/status takes it.
# Arguments: repo, base, with_diff ("1" or ""), last_check, commit, pipeline_url, stale_after (seconds or "").

# what the service takes by default
def max_body: 1048576;
def max_diff: 16384;
def max_name: 1024;

def hex: [(. / 16 | floor), . % 16] | map("0123456789abcdef"[.:. + 1]) | add;
def shown: if test("\\p{Cc}") then
    [explode[] | if . == 10 then "\\n" elif . == 9 then "\\t" elif . < 32 or (. > 126 and . < 160) then "\\x\(hex)" else [.] | implode end] | add
  else . end;
def relative: if $base == "" then . else ($base | rtrimstr("/")) as $folder | if . == $folder then "." else ltrimstr($folder + "/") end end;
def name: relative | shown | if length > max_name then .[0:max_name - 1] + "…" else . end;

# whole lines, the last of which says what is missing
def cut($limit):
  if utf8bytelength <= $limit then .
  else
    . as $whole
    | ($limit - 64) as $room
    | (first(.[-40:] | capture("(?<mark>\\[cut: (?<missing>[0-9]+) more bytes\\]\n)$")) // {mark: "", missing: "0"}) as $earlier
    | (.[0:$room] | until(utf8bytelength <= $room; .[0:length * $room / utf8bytelength | floor])) as $start
    | (first($start | capture("(?s)^(?<lines>.*\n)") | .lines) // ($start + "\n")) as $kept
    | ([$whole, $earlier.mark, $kept] | map(utf8bytelength) | .[0] - .[1] - .[2] + ($earlier.missing | tonumber)) as $missing
    | "\($kept)[cut: \($missing) more bytes]\n"
  end;

# [bytes, bytes as JSON] of each diff, and how long a diff may be → about the bytes that they take together
def together($limit): map(if .[0] <= $limit then .[1] else .[1] / .[0] * $limit end) | add // 0;

.[]
| .server as $server
| (.files
   | map({name: .name | name, diff: (if $with_diff == "1" then .diff // "" else "" end)})
   | group_by(.name)
   | map({name: .[0].name} + (map(.diff) | unique | add | if . == "" then {} else {diff: .} end))) as $files
| {repo: $repo, server: $server, sync_status: (if $files == [] then "SYNCED" else "OUT_OF_SYNC" end),
   drift_count: ($files | length), files: [], last_check: $last_check}
| if $commit == "" then . else .commit = $commit end
| if $pipeline_url == "" then . else .pipeline_url = $pipeline_url end
| if $stale_after == "" then . else .stale_after_seconds = ($stale_after | tonumber) end
# many long diffs are all cut shorter until the report fits, and left out at last
| (max_body - (.files = ($files | map(del(.diff))) | tojson | utf8bytelength)) as $room
| [$files[] | .diff // empty | [utf8bytelength, (tojson | utf8bytelength) + 9]] as $sizes
| first((max_diff, 4096, 1024, 256, 0) as $limit
    | select($limit == 0 or ($sizes | together($limit)) <= $room)
    | .files = ($files | map(if $limit > 0 and .diff then .diff |= cut($limit) else del(.diff) end))
    | select($limit == 0 or (tojson | utf8bytelength) <= max_body))
