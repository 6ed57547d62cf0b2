#!/usr/bin/env bash
# Runs a command with its own Redis, whose URL is in PONDWIRE_REDIS: on a free port of 127.0.0.1, in a
# temporary folder, without persistence, stopped by its process id. Installs Debian's redis-server if it
# is missing.
set -euo pipefail

if ! command -v redis-server >/dev/null; then
    # The package starts a service on the default port unless this policy forbids it.
    deny=/usr/sbin/policy-rc.d
    [[ -e $deny ]] && deny=
    if [[ -n $deny ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$deny"
        chmod +x "$deny"
        trap 'rm -f "$deny"' EXIT
    fi
    apt-get update -qq && apt-get install -y -qq redis-server >/dev/null
    [[ -n $deny ]] && rm -f "$deny"
fi

port=$(python3 -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])')
folder=$(mktemp -d)
redis-server --bind 127.0.0.1 --port "$port" --save "" --appendonly no --dir "$folder" \
    >"$folder/log" &
redis=$!
trap 'kill "$redis"; wait "$redis" || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
    redis-cli -p "$port" ping >/dev/null 2>&1 && break
    sleep 0.05
done

PONDWIRE_REDIS=redis://127.0.0.1:$port "$@"
