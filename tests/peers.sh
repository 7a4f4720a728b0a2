#!/usr/bin/env bash
# Fetches current peers (Prometheus 3, promtool, VictoriaMetrics) beside the system, not into it: Debian 12's own
# are years older. Usage: tests/peers.sh [FOLDER]; binaries end up in FOLDER/usr/bin.
#
# The packages come from Debian's development suite, over the mirror that this machine already uses, with
# package lists of their own: nothing of the system's apt changes. Run again, it does nothing.
set -euo pipefail

folder=${1:-${BINNACLE_PEERS:-$HOME/.cache/binnacle-peers}}
packages=(prometheus promtool victoria-metrics)

missing=0
for program in "${packages[@]}"; do
  [ -x "$folder/usr/bin/$program" ] || missing=1
done
[ $missing = 1 ] || exit 0
command -v apt-get >/dev/null || { echo "no apt-get: put the binaries into $folder/usr/bin by hand" >&2; exit 1; }

# The mirror: the first URI of a `main` component of this Debian, whichever way it is written down.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
  sed -nE 's/^URIs: *([^ ]+\/debian)\/? *$/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+\/debian)\/? .*/\2/p' | head -n 1 || true)
[ -n "$mirror" ] || { echo "no Debian mirror in /etc/apt/sources.list*" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages"
chmod 755 "$work" "$work/packages"
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s sid main\n' "$mirror" > "$work/sources.list"
apt=(apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)

"${apt[@]}" update
for package in "${packages[@]}"; do
  (cd "$work/packages" && "${apt[@]}" download "$package")
done
mkdir -p "$folder"
for file in "$work"/packages/*.deb; do
  dpkg -x "$file" "$work/unpacked"
done
cp -a "$work/unpacked/." "$folder/"
