#!/usr/bin/env bash
# Builds the Dockerfile for real, without a container engine and without a registry of images.
#
#   test/e2e/image.sh FOLDER
#
# leaves in FOLDER the image's file system (rootfs/) and what it says of itself (image.json). The base image that the
# Dockerfile names is made here: a minimal Debian, this machine's `node` and its npm, which is what node:26-slim consists of.
# Needs root, debootstrap and buildah. Everything is kept in FOLDER: no image is left behind on the machine.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
cd "$(dirname "$0")/../.."
folder=$(realpath --canonicalize-missing "$1")
export PATH=$PWD/node_modules/.bin:$PATH
mkdir -p "$folder"

storage=(--root "$folder/storage" --runroot "$folder/run" --storage-driver vfs)
export BUILDAH_ISOLATION=chroot TMPDIR=$folder
base=$(sed -nE 's/^FROM ([^ ]+).*/\1/p' Dockerfile | sort -u)

make_base() {
  local root=$folder/base
  # Node needs libatomic1
  debootstrap --variant=minbase --include=libatomic1 bookworm "$root" >"$folder/debootstrap.log" 2>&1 ||
    { tail -n 20 "$folder/debootstrap.log" >&2; return 1; }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
  install -m 0755 "$(node -p process.execPath)" "$root/usr/local/bin/node"
  mkdir -p "$root/usr/local/lib/node_modules"
  cp -R "$(dirname "$(realpath "$(command -v npm)")")/.." "$root/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"

  local container
  container=$(buildah "${storage[@]}" from scratch)
  buildah "${storage[@]}" add --quiet "$container" "$root" / >&2
  buildah "${storage[@]}" commit --quiet --rm "$container" "docker.io/library/$base" >&2
  rm -rf "$root"
}

make_base
# Which registry npm asks, and whose certificates it trusts, is this machine's affair and not the image's: lent to the build.
authorities=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
printf 'registry=%s\ncafile=/etc/ssl/lent.crt\n' "$(npm config get registry)" >"$folder/npmrc"
lent=(--volume "$folder/npmrc:/root/.npmrc:ro" --volume "$authorities:/etc/ssl/lent.crt:ro")

buildah "${storage[@]}" bud --quiet --pull=never --format docker --build-arg REVISION=test "${lent[@]}" --tag image . >&2
buildah "${storage[@]}" inspect --type image image >"$folder/image.json"
container=$(buildah "${storage[@]}" from --pull-never image)
mv "$(buildah "${storage[@]}" mount "$container")" "$folder/rootfs"
rm -rf "$folder/storage" "$folder/run"
