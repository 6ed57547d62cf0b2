#!/usr/bin/env bash
# Installs the peers that are not crates, in the pinned versions, beside this script. What cannot
# be installed is left out, and the race says so.
set -uo pipefail
cd "$(dirname "$0")"

npm ci --no-audit --no-fund || echo "ws: not installed" >&2

python3 -m venv .venv && .venv/bin/pip install --quiet --requirement requirements.txt ||
    echo "socketify: not installed" >&2
# Its library is built against libuv: Debian's libuv1, `apt-get install libuv1`.
.venv/bin/python -c "import socketify" || echo "socketify: does not start" >&2
