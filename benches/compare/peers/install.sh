#!/usr/bin/env bash
# Installs the peers that are not crates, in the pinned versions, beside this script. What cannot be
# installed is left out, and the race or the comparison says so. Build `compare` again afterwards.
set -uo pipefail
cd "$(dirname "$0")"

npm ci --no-audit --no-fund || echo "ws: not installed" >&2

python3 -m venv .venv && .venv/bin/pip install --quiet --requirement requirements.txt ||
    echo "socketify: not installed" >&2
# Its library is built against libuv: Debian's libuv1, `apt-get install libuv1`.
.venv/bin/python -c "import socketify" || echo "socketify: does not start" >&2

# C++ simdjson 3.12.3, whose source is in the source package of a Python binding. Compiled once for each
# instruction set.
simdjson() {
    mkdir -p simdjson && cd simdjson &&
        ../.venv/bin/pip download --quiet --no-deps --no-binary :all: pysimdjson==7.0.2 &&
        tar -xzf pysimdjson-*.tar.gz --strip-components=2 --wildcards '*/simdjson/simdjson.h' \
            '*/simdjson/simdjson.cpp' || return
    local tier flags=(-std=c++20 -O3 -DNDEBUG -fPIC -fno-exceptions -DSIMDJSON_EXCEPTIONS=0 -Wno-psabi -I.)
    for tier in westmere haswell icelake; do
        local all=("${flags[@]}" -march="${tier/icelake/icelake-server}" -DTIER=$tier -Dsimdjson=simdjson_$tier)
        g++ "${all[@]}" -c ../simdjson_peer.cpp -o $tier-peer.o && g++ "${all[@]}" -c simdjson.cpp -o $tier.o || return
    done
    ar rcs libsimdjson_peers.a ./*.o
}
[ -e simdjson/libsimdjson_peers.a ] || (simdjson) || echo "simdjson: not installed" >&2
