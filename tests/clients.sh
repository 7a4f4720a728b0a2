#!/usr/bin/env bash
# Installs client libraries of others, which the tests let speak to the server, into a Python environment
# of their own: nothing of the system's Python changes. Usage: tests/clients.sh [FOLDER]; the interpreter
# is FOLDER/bin/python. Run again, it does nothing.
set -euo pipefail

folder=${1:-${BINNACLE_CLIENTS:-$HOME/.cache/binnacle-clients}}
packages=(
  prometheus-api-client==0.7.2
  opentelemetry-sdk==1.45.2
  opentelemetry-exporter-otlp-proto-http==1.45.2
)

stamp="$folder/installed"
[ "$(cat "$stamp" 2>/dev/null)" != "${packages[*]}" ] || exit 0
command -v python3 >/dev/null || { echo "no python3: the tests with clients of others will be skipped" >&2; exit 0; }

python3 -m venv "$folder" || { echo "no python3-venv: the tests with clients of others will be skipped" >&2; exit 0; }
"$folder/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" ||
  { echo "pip failed: the tests with clients of others will be skipped" >&2; exit 0; }
echo "${packages[*]}" > "$stamp"
