#!/usr/bin/env bash
# Runs or reads a drift check and tells gitops-status-server what differs: see --help, and README.md beside this file.
# The token is never expanded by this shell, only by jq: a trace (set -x) cannot show it.
set -Eeuo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
readonly here OK=0 CHECK_FAILED=1 USAGE=2 DRIFT=3 NOT_REPORTED=4

help() {
  cat <<'EOF'
Usage:
  update-gitops-status.sh [OPTION…] ansible [ANSIBLE-PLAYBOOK-ARGUMENT…]
      runs ansible-playbook --check --diff, and reports every host that was looked at in full
  update-gitops-status.sh [OPTION…] report --from FORMAT -- COMMAND [ARGUMENT…]
      runs a drift checker, and reports its output for one server
  update-gitops-status.sh [OPTION…] report --from FORMAT [FILE|-]
      reports the output of a drift checker that has run already

What to report, by option or environment:
  --url URL             GITOPS_URL          of the service, with or without /api/status
  --repo NAME           GITOPS_REPO         default: the repository's name, from the CI
  --server NAME         GITOPS_SERVER       report: needed; ansible: another name for the only host
  --base-dir DIR        GITOPS_BASE_DIR     names of files below it are reported relative to it
  --stale-after TIME    GITOPS_STALE_AFTER  90s, 10m, 24h, 7d: so long after this check its answer counts as stale
                                            (default: as the service is set)
  --commit REVISION     GITOPS_COMMIT       default: from the CI
  --pipeline-url URL    GITOPS_PIPELINE_URL default: from the CI
  --with-diff           GITOPS_WITH_DIFF=1  send the diffs too; they may show what is secret in the files
  --token-file FILE     GITOPS_TOKEN_FILE   file with the token; or the token itself in GITOPS_TOKEN
  --timeout SECONDS     GITOPS_TIMEOUT      wait that long for the service (default 10)
The CI may be Woodpecker, GitHub Actions or GitLab.

How to judge:
  --fail-on-drift       exit 3 when something differs
  --allow-ignored       ansible: failures that the playbook ignores or rescues do not speak against a host
  --allow-unchecked     ansible: nor do modules that cannot look in check mode
  --exit-code N         report: what the checker exited with, when its output is read from a file or pipe
  --dry-run             print the reports, one a line, and send nothing
  -h, --help

FORMAT: terraform (terraform/tofu show -json PLAN), kubectl (kubectl diff), git (git diff --name-status),
  rsync (rsync --dry-run --itemize-changes), list (names, one a line), json ([{"name": "…", "diff": "…"}]),
  or the path of an adapter of your own, with a slash in it.

Exit codes:
  0  everything is reported, whether it differs or not
  1  the check failed, in full or for some hosts: these are named and not reported, the others are
  2  wrong usage
  3  something differs (only with --fail-on-drift)
  4  the service refused a report or could not be reached
EOF
}

main() {
  trap 'say "stopped by an error in line $LINENO"; exit "$CHECK_FAILED"' ERR
  settings "$@"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  status=$OK
  if [ "$mode" = ansible ]; then
    check_ansible "${arguments[@]}"
  else
    check_report "${arguments[@]}"
  fi
  report_all
  if [ "$status" -eq "$OK" ] && [ "$fail_on_drift" ] && jq -e 'any(.[]; .files != [])' "$work/sources.json" >/dev/null; then
    status=$DRIFT
  fi
  exit "$status"
}

settings() {
  # when the check began: what it finds is never older
  last_check=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  url=${GITOPS_URL:-}
  repo=${GITOPS_REPO:-${CI_REPO_NAME:-${CI_PROJECT_NAME:-${GITHUB_REPOSITORY:+${GITHUB_REPOSITORY##*/}}}}}
  server=${GITOPS_SERVER:-}
  base_dir=${GITOPS_BASE_DIR:-}
  stale_after=${GITOPS_STALE_AFTER:-}
  commit=${GITOPS_COMMIT:-${CI_COMMIT_SHA:-${GITHUB_SHA:-}}}
  local github=${GITHUB_SERVER_URL:-}/${GITHUB_REPOSITORY:-}
  pipeline_url=${GITOPS_PIPELINE_URL:-${CI_PIPELINE_URL:-${GITHUB_RUN_ID:+$github/actions/runs/$GITHUB_RUN_ID}}}
  with_diff=${GITOPS_WITH_DIFF:-}
  token_file=${GITOPS_TOKEN_FILE:-/dev/null}
  timeout=${GITOPS_TIMEOUT:-10}
  mode='' from='' exit_code=null fail_on_drift='' allow_ignored='' allow_unchecked='' dry_run='' runs_command='' arguments=()
  parse "$@"
  validate
}

parse() {
  local name
  while [ $# -gt 0 ]; do
    name=${1#--} name=${name//-/_}
    case $1 in
      --url | --repo | --server | --base-dir | --stale-after | --commit | --pipeline-url | --token-file | --timeout | --from | --exit-code)
        [ $# -gt 1 ] || wrong_usage "$1 needs a value"
        printf -v "$name" %s "$2"
        shift
        ;;
      --with-diff | --fail-on-drift | --allow-ignored | --allow-unchecked | --dry-run) printf -v "$name" 1 ;;
      -h | --help)
        help
        exit "$OK"
        ;;
      ansible)
        mode=ansible arguments=("${@:2}")
        return
        ;;
      report) mode=report ;;
      --)
        runs_command=1 arguments=("${@:2}")
        return
        ;;
      -?*) wrong_usage "unknown option $1" ;;
      *)
        if [ "$mode" != report ] || [ ${#arguments[@]} -gt 0 ]; then wrong_usage "unexpected argument $1"; fi
        arguments=("$1")
        ;;
    esac
    shift
  done
}

validate() {
  local program
  [ "$mode" ] || wrong_usage "say what to do: ansible or report"
  for program in curl jq; do
    command -v "$program" >/dev/null || wrong_usage "$program is not installed"
  done
  [ "$repo" ] || wrong_usage "which repository? --repo NAME"
  [[ $timeout =~ ^[1-9][0-9]{0,3}$ ]] || wrong_usage "--timeout: a whole number of seconds, not $timeout"
  case $with_diff in
    '' | 0 | false | no) with_diff='' ;;
    1 | true | yes) with_diff=1 ;;
    *) wrong_usage "GITOPS_WITH_DIFF: 1 or nothing, not $with_diff" ;;
  esac
  if [ "$stale_after" ]; then
    [[ $stale_after =~ ^([1-9][0-9]{0,7})([smhd]?)$ ]] || wrong_usage "--stale-after: a time such as 10m, not $stale_after"
    local -A seconds=([s]=1 [m]=60 [h]=3600 [d]=86400)
    stale_after=$((BASH_REMATCH[1] * seconds[${BASH_REMATCH[2]:-s}]))
  fi
  if [ "$mode" = report ]; then
    [ "$from" ] || wrong_usage "which format? --from FORMAT"
    [[ $from = */* ]] || from=$here/adapters/$from.jq
    [ -f "$from" ] || wrong_usage "there is no format $from"
    [ "$server" ] || wrong_usage "which server? --server NAME"
    [[ $exit_code =~ ^(null|[0-9]{1,3})$ ]] || wrong_usage "--exit-code: a number, not $exit_code"
    [ -z "$runs_command" ] || [ ${#arguments[@]} -gt 0 ] || wrong_usage "-- needs a command"
  fi
  [ -z "$dry_run" ] || return 0
  [[ $url =~ ^https?://[^/@]+(/|$) ]] || wrong_usage "where is the service? --url http://… (without a password: that would be shown)"
  url=${url%/} url=${url%/api/status}/api/status
  authorization >/dev/null || wrong_usage "the token cannot be used, see above"
}

check_ansible() {
  local findings=$work/findings.json exit=0
  if ! command -v ansible-playbook >/dev/null; then
    check_failed "ansible-playbook is not installed"
    return
  fi
  # without the token, as a playbook can print its environment
  env -u GITOPS_TOKEN ANSIBLE_CALLBACK_PLUGINS="$(callback_plugins)" GITOPS_FINDINGS="$findings" GITOPS_WITH_DIFF="$with_diff" \
    GITOPS_ALLOW_IGNORED="$allow_ignored" GITOPS_ALLOW_UNCHECKED="$allow_unchecked" \
    ansible-playbook --check --diff "$@" || exit=$?
  if ! jq --argjson exit "$exit" --arg server "$server" -f "$here/ansible/judge.jq" "$findings" >"$work/judged.json" 2>/dev/null; then
    check_failed "nothing is reported: ansible-playbook (exit code $exit) did not come to its end, or could not load the callback plugin"
    return
  fi
  jq '.sources' "$work/judged.json" >"$work/sources.json"
  jq -r '.messages[]' "$work/judged.json" | while IFS= read -r line; do say "$line"; done
  if jq -e .failed "$work/judged.json" >/dev/null; then status=$CHECK_FAILED; fi
}

# Where Ansible looks for callback plugins, and ours. The variable takes the place of what ansible.cfg and Ansible's own default
# say, so these are said again.
callback_plugins() {
  local theirs=${ANSIBLE_HOME:-~/.ansible}/plugins/callback:/usr/share/ansible/plugins/callback
  if [ "${ANSIBLE_CALLBACK_PLUGINS:-}" ]; then
    theirs=$ANSIBLE_CALLBACK_PLUGINS
  elif grep -qsE '^[[:space:]]*(callback_plugins|home)[[:space:]]*=' \
    "${ANSIBLE_CONFIG:-.}" "${ANSIBLE_CONFIG:-.}/ansible.cfg" ~/.ansible.cfg /etc/ansible/ansible.cfg; then
    theirs=$(ansible-config dump --format json | jq -r '.[] | select(.name == "DEFAULT_CALLBACK_PLUGIN_PATH").value | join(":")')
  fi
  echo "$theirs:$here/ansible/callback_plugins"
}

check_report() {
  local output=$work/output text=(--raw-input --slurp) problem
  if [ "$runs_command" ]; then
    exit_code=0
    env -u GITOPS_TOKEN "$@" >"$output" || exit_code=$?
  elif ! cat -- "${1:--}" >"$output"; then
    check_failed "$server: not reported: the checker's output cannot be read"
    return
  fi
  # JSON is not taken as text: jq 1.6 damages letters beyond ASCII in lines that are longer than 4 KiB
  if grep -q '^# input: json$' "$from"; then
    text=(--slurp)
    if ! jq empty "$output" 2>/dev/null; then
      check_failed "$server: not reported: the checker's output is no JSON"
      return
    fi
  fi
  if problem=$(jq "${text[@]}" -L "$here/adapters/lib" --argjson exit_code "$exit_code" -f "$from" "$output" 2>&1 >"$work/files.json") &&
    problem=$(jq --arg server "$server" '
      if type == "array" and all(.[]; type == "object" and (.name | type == "string" and . != "") and (.diff // "" | type == "string"))
      then [{$server, files: .}] else error("the adapter gave no list of names") end' "$work/files.json" 2>&1 >"$work/sources.json"); then
    return
  fi
  check_failed "$server: not reported: ${problem#jq: error (at *): }"
}

report_all() {
  local report unsent=0 reachable=1
  jq -c --arg repo "$repo" --arg base "$base_dir" --arg with_diff "$with_diff" --arg last_check "$last_check" --arg commit "$commit" \
    --arg pipeline_url "$pipeline_url" --arg stale_after "$stale_after" -f "$here/report.jq" "$work/sources.json" >"$work/reports"
  if [ "$dry_run" ]; then
    cat "$work/reports"
    return
  fi
  while IFS= read -r report; do
    if [ "$reachable" ]; then
      printf '%s\n' "$report" >"$work/report.json"
      send || reachable=''
    else
      unsent=$((unsent + 1))
    fi
  done <"$work/reports"
  [ "$unsent" -eq 0 ] || say "$unsent more reports were not tried"
}

# Sends report.json. False when the service could not be reached, so that the others need not wait for it too.
send() {
  local code trouble name receipt
  name=$(jq -r '"\(.repo)/\(.server)"' "$work/report.json")
  : >"$work/answer"
  # -q: a curlrc with "verbose" would print the token. Expect: is switched off, as some proxies make curl wait for it
  if ! code=$(authorization | curl -q --config - --silent --show-error --max-time "$timeout" --output "$work/answer" \
    --write-out '%{http_code}' --header 'Content-Type: application/json' --header 'Expect:' --data-binary "@$work/report.json" \
    "$url" 2>"$work/trouble"); then
    trouble=$(head -n 1 "$work/trouble")
    not_reported "$name: not reported: no answer from $url within $timeout s: ${trouble#curl: }"
    return 1
  fi
  # only a receipt for this report is believed, not the success of some proxy
  if [[ $code = 2?? ]] && receipt=$(jq -r --slurpfile report "$work/report.json" '
      (.result | strings) as $result | {repo, server} as $receipt | $report[0] | select({repo, server} == $receipt)
      | "\(.repo)/\(.server): \(.sync_status)" + (if .files == [] then "" else ", \(.drift_count) differ" end)
        + (if $result == "superseded" then ", but the service has a newer report already" else " (\($result))" end),
        (.files[:50][] | "  \(.name)"), (.files[50:] | select(. != []) | "  … and \(length) more")' "$work/answer" 2>/dev/null) && [ "$receipt" ]; then
    printf '%s\n' "$receipt"
    return
  fi
  not_reported "$name: not reported: $url answered $code"
  explanation | while IFS= read -r line; do say "  $line"; done
}

# What the service said against report.json, line by line: a problem document (RFC 9457), or the first lines of anything else.
explanation() {
  jq -r '"\(.title): \(.detail)", (.errors[]? | "\(.pointer): \(.detail)")' "$work/answer" 2>/dev/null ||
    head -n 10 "$work/answer" | cut -c 1-200 | tr -d '\000-\010\013-\037\177'
}

# A line of curl's configuration with the token, or nothing.
authorization() {
  jq -rn --rawfile file "$token_file" '
    (if $file != "" then $file else env.GITOPS_TOKEN // "" end | sub("\\s+$"; "")) as $token
    | if $token == "" then empty
      elif $token | test("^[!-~]+$") then "header = " + ("Authorization: Bearer " + $token | tojson)
      else error("a token has no blanks, line breaks or characters beyond ASCII") end'
}

say() { printf 'update-gitops-status: %s\n' "$*" >&2; }

wrong_usage() {
  say "$*"
  say "--help tells more"
  exit "$USAGE"
}

check_failed() {
  say "$*"
  status=$CHECK_FAILED
  echo '[]' >"$work/sources.json"
}

# a failed check is the worse news: its exit code stays
not_reported() {
  say "$*"
  [ "$status" -ne "$OK" ] || status=$NOT_REPORTED
}

main "$@"
