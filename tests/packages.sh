#!/usr/bin/env bash
# Installs what the named parts need; does nothing where it is there already.
#   build   compiler parts for RocksDB
#   test    real peers that the tests compare with
#   cgroup2 an emulated machine whose kernel mounts cgroup v2
#   deny    cargo-deny, for `make check`
set -euo pipefail

declare -A packages=(
  [build]="g++ clang libclang-dev make pkg-config ccache"
  [test]="prometheus prometheus-node-exporter prometheus-alertmanager curl python3-venv containerd runc busybox-static systemd"
  [cgroup2]="qemu-system-x86 busybox-static cpio"
)

missing=()
for part in "$@"; do
  if [ "$part" = deny ]; then
    command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny
    continue
  fi
  for package in ${packages[$part]:?"unknown part '$part': build, test, cgroup2 or deny"}; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "please install first (needs root on Debian): ${missing[*]}" >&2
  exit 1
fi
echo "installing: ${missing[*]}"
# Debian's packages start their services on installation; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
