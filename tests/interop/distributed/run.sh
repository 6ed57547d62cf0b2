#!/usr/bin/env bash
# Two nodes of the PyPI `pondsocket` around one Redis: that what mixed nodes are tested with works.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$here/../.work
mkdir -p "$work"

# A venv of its own: the clients' has older pins. Installs again only when the pins changed.
if ! cmp -s "$here/requirements.txt" "$work/distributed.installed"; then
    python3 -c 'import ensurepip' 2>/dev/null ||
        { apt-get update -qq && apt-get install -y -qq python3 python3-venv; }
    python3 -m venv --clear "$work/distributed-venv"
    "$work/distributed-venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$work/distributed.installed"
fi

"$here/../redis/with_redis.sh" bash -c \
    '"$0" "$1" --redis "$PONDWIRE_REDIS"' "$work/distributed-venv/bin/python" \
    "$here/two_python_nodes.py"
