#!/usr/bin/env bash
# Installs client libraries of others, which the tests let speak to the server, into a Python environment
# of their own, and one for Node.js beside it: nothing of the system changes. Usage: tests/clients.sh [FOLDER];
# the interpreter is FOLDER/bin/python. Run again, it does nothing.
set -euo pipefail

folder=${1:-${BINNACLE_CLIENTS:-$HOME/.cache/binnacle-clients}}
packages=(
  prometheus-api-client==0.7.2
  opentelemetry-sdk==1.45.2
  opentelemetry-exporter-otlp-proto-http==1.45.2
  python-logging-loki==0.3.1
  websockets==17.4
)
# One that speaks protobuf to Loki's push API: there is none for Python.
node_packages=(winston@3.19.0 winston-loki@6.1.7)

node_stamp="$folder/node/installed"
install_node_clients() {
  [ "$(cat "$node_stamp" 2>/dev/null)" != "${node_packages[*]}" ] || return 0
  command -v npm >/dev/null || { echo "no npm: the test with winston-loki will be skipped" >&2; return 0; }
  mkdir -p "$folder/node"
  npm install --silent --no-audit --no-fund --prefix "$folder/node" "${node_packages[@]}" ||
    { echo "npm failed: the test with winston-loki will be skipped" >&2; return 0; }
  echo "${node_packages[*]}" > "$node_stamp"
}
install_node_clients

stamp="$folder/installed"
[ "$(cat "$stamp" 2>/dev/null)" != "${packages[*]}" ] || exit 0
command -v python3 >/dev/null || { echo "no python3: the tests with clients of others will be skipped" >&2; exit 0; }

python3 -m venv "$folder" || { echo "no python3-venv: the tests with clients of others will be skipped" >&2; exit 0; }
"$folder/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" ||
  { echo "pip failed: the tests with clients of others will be skipped" >&2; exit 0; }
echo "${packages[*]}" > "$stamp"
