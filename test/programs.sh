#!/usr/bin/env bash
# Brings the programs that the end-to-end suites run (npm's `pretest`). As root on a Debian-like machine it installs what is
# missing; elsewhere it says which suites will be skipped for want of which program. With CI=true a missing program is an error.
#
#   test/programs.sh [suites]    only the programs of these suites (test/long), none of which may be missing
set -euo pipefail

suites_wanted=${1:-}

# program:Debian packages:the suites that need it. Without a package: Debian's is too old.
wanted=(
  'prometheus:prometheus:test/e2e'
  'promtool:prometheus:test/e2e test/prometheus test/grafana/promql.test.ts'
  'amtool:prometheus-alertmanager:test/prometheus test/k8s/readme.test.ts'
  'prometheus-alertmanager:prometheus-alertmanager:test/e2e/alerting.test.ts'
  'openssl:openssl:test/main.test.ts'
  'ansible-playbook:ansible-core:test/reporter and test/e2e/ansible.test.ts'
  'curl:curl:test/reporter'
  'jq:jq:test/reporter'
  'shellcheck:shellcheck:test/reporter'
  'ssh:openssh-client:test/e2e/ansible.test.ts'
  'unzip:unzip:test/e2e/ansible.test.ts'
  'ps:procps:test/e2e/ansible.test.ts'
  'buildah:buildah:test/e2e/image.test.ts'
  'debootstrap:debootstrap:test/e2e/image.test.ts'
  'kubectl::test/k8s'
  'gcc:gcc libc6-dev:test/long'
  'faketime:faketime:test/long'
)

advise() {
  case $1 in
  kubectl) echo 'See https://kubernetes.io/docs/tasks/tools/' ;;
  *) echo "On Debian: apt-get install $2" ;;
  esac
}

missing=() packages=()
for entry in "${wanted[@]}"; do
  IFS=: read -r program package suites <<<"$entry"
  [[ $suites == *"$suites_wanted"* ]] || continue
  # npm test does without what only the campaigns need
  [ -n "$suites_wanted" ] || [ "$suites" != test/long ] || continue
  command -v "$program" >/dev/null && continue
  missing+=("$entry")
  read -ra needed <<<"$package"
  packages+=("${needed[@]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ ${#packages[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  echo "Installing for the end-to-end suites: ${packages[*]}"
  # runlevel 1: the packages' own services stay off
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

for entry in "${missing[@]}"; do
  IFS=: read -r program package suites <<<"$entry"
  command -v "$program" >/dev/null && continue
  if [ -n "$suites_wanted" ]; then
    echo "Not found: $program, and $suites_wanted cannot do without it. $(advise "$program" "$package")" >&2
    exit 1
  fi
  echo "Not found: $program. Skipped for want of it: $suites. $(advise "$program" "$package")" >&2
  [ "${CI:-}" != true ] || exit 1
done
