#!/usr/bin/env bash
# WebSocket conformance: the cases of PyPI's autobahntestsuite against the example's `/echo`.
#
#   tests/interop/conformance/run.sh [--cases PATTERN…] [--messages N] [--results FILE]
#
# PONDWIRE_SERVER: a prebuilt example to use instead of building it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$here/../.work/conformance
mkdir -p "$work"

if ! python3 -c 'import ensurepip' 2>/dev/null; then
    apt-get update -qq && apt-get install -y -qq python3 python3-venv
fi
if ! cmp -s "$here/requirements.txt" "$work/requirements.installed"; then
    python3 -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$work/requirements.installed"
fi

server=${PONDWIRE_SERVER:-}
if [[ -z $server ]]; then
    (cd "$root" && cargo build --release -p pondwire-server --example server)
    server=${CARGO_TARGET_DIR:-$root/target}/release/examples/server
fi

# The largest case sends 16 MiB.
"$server" --addr 127.0.0.1:0 --echo --message-bytes $((64 << 20)) >"$work/server.log" &
pid=$!
trap 'kill $pid 2>/dev/null || true' EXIT
for _ in $(seq 100); do
    port=$(sed -n 's|^listening on http://127.0.0.1:||p' "$work/server.log")
    [[ -n $port ]] && break
    sleep 0.1
done

"$work/venv/bin/python" "$here/conformance.py" --port "$port" "$@"
