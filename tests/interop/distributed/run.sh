#!/usr/bin/env bash
# Two nodes around one Redis: both of this repository (server/examples/server), one of each kind, and for
# comparison both of the PyPI `pondsocket`. Arguments are passed to run.py: `--only WORD`. PONDWIRE_NODE
# names a prebuilt example with the feature `redis`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$here/../.work
mkdir -p "$work"

# A separate venv, because the clients' has older pins. Reinstalls only if the pins have changed.
if ! cmp -s "$here/requirements.txt" "$work/distributed.installed"; then
    python3 -c 'import ensurepip' 2>/dev/null ||
        { apt-get update -qq && apt-get install -y -qq python3 python3-venv; }
    python3 -m venv --clear "$work/distributed-venv"
    "$work/distributed-venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$work/distributed.installed"
fi

server=${PONDWIRE_NODE:-}
if [[ -z $server ]]; then
    cd "$here/../../.."
    cargo build --release -p pondwire-server --features redis --example server
    server=${CARGO_TARGET_DIR:-$PWD/target}/release/examples/server
fi

"$here/../redis/with_redis.sh" bash -c '"$@" --redis "$PONDWIRE_REDIS"' - \
    "$work/distributed-venv/bin/python" "$here/run.py" --server "$server" "$@"
