#!/usr/bin/env bash
# The Redis bus against a real Redis: bus against bus, Redis killed, stopped and restarted in the
# midst of a stream. With --compare also its throughput beside the bare client's. Installs Debian's
# redis-server where none is there; every server runs on a free port of 127.0.0.1 in a temporary
# folder, without persistence, and is stopped by its process id.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
cd "$root"

if ! command -v redis-server >/dev/null; then
    apt-get update -qq
    # Without its service: the package would start one on the default port.
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    apt-get install -y -qq redis-server >/dev/null
    rm -f /usr/sbin/policy-rc.d
    trap - EXIT
fi

cargo test --features redis --test redis_real -- --ignored --nocapture --test-threads 1

if [ "${1:-}" = --compare ]; then
    shift
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    folder=$(mktemp -d)
    redis-server --bind 127.0.0.1 --port "$port" --save "" --appendonly no --dir "$folder" \
        >"$folder/log" &
    redis=$!
    trap 'kill "$redis"; wait "$redis" || true; rm -rf "$folder"' EXIT
    until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.05; done
    cd benches/compare
    PONDWIRE_REDIS="redis://127.0.0.1:$port" cargo run --release -- --section redis "$@"
fi
