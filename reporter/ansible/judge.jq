# What the callback plugin found, and the exit code of ansible-playbook → {"failed", "messages", "sources"}: which servers may be
# reported ("sources", as report.jq takes them) and what a person is told of the others.
# Arguments: exit (number), server (the name to report the only host under, or "").

def problems: .problems + (if $exit != 0 and .left_early and .problems == [] then ["its play ended early, after a failure elsewhere"] else [] end);

(.hosts | map_values({files, compared, problems: problems})) as $hosts
| ($hosts | map_values(select(.compared > 0 or .problems != []))) as $looked_at
| (.problems
   + (if .finished | not then ["ansible-playbook did not come to its end (exit code \($exit))"]
      elif [0, 2, 4] | index($exit) == null then ["ansible-playbook failed with exit code \($exit)"]
      elif $exit != 0 and all($hosts[]; .problems == []) then ["ansible-playbook failed with exit code \($exit), and no host says why"]
      elif $looked_at == {} then ["nothing was compared: no host matched, or no task ran on one"]
      elif $server != "" and ($looked_at | length) > 1 then ["--server \($server) cannot stand for \($looked_at | keys | join(", "))"]
      else [] end)) as $problems
| {
    failed: ($problems != [] or any($hosts[]; .problems != [])),
    messages: (
      .notes
      + [$hosts | to_entries[]
         | (.key as $host | .value.problems[] | "\($host): not reported: \(.)"),
           (select(.value.compared == 0 and .value.problems == []) | "\(.key): not reported: nothing was compared on it")]
      + ($problems | map("nothing is reported: \(.)"))),
    sources: (
      if $problems != [] then []
      else [$looked_at | to_entries[] | select(.value.problems == [])
            | {server: (if $server != "" then $server else .key end), files: .value.files}] end)
  }
