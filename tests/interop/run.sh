#!/usr/bin/env bash
# Installs the pinned clients, builds the examples, runs everything against them.
#
#   tests/interop/run.sh [--only scenarios|patterns|chat|browser|differential] [--seed N] [--count N]
#
# PONDWIRE_SERVER, PONDWIRE_INSPECT: prebuilt examples to use instead of building them.
# PONDWIRE_PATTERNS: a prebuilt patterns/, likewise.
# PONDWIRE_CHATS: a folder with the example chat in its forms: standalone, axum, tls.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$here/.work
mkdir -p "$work"

# The orchestrator stops the server; this is a fallback.
stop_server() {
    if [[ -f $work/server.pid ]]; then
        kill "$(<"$work/server.pid")" 2>/dev/null || true
        rm -f "$work/server.pid"
    fi
}
rm -f "$work/server.pid"
trap stop_server EXIT

# Packages that a bare Debian lacks.
missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v chromium >/dev/null || missing+=(chromium)
command -v openssl >/dev/null || missing+=(openssl)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
if ((${#missing[@]})); then
    apt-get update -qq && apt-get install -y -qq "${missing[@]}"
fi

# Reinstalls only if the pins have changed.
if ! cmp -s "$here/requirements.txt" "$work/requirements.installed"; then
    python3 -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$work/requirements.installed"
fi
if ! cmp -s "$here/package-lock.json" "$work/package-lock.installed"; then
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$work/"
    (cd "$work" && npm ci --ignore-scripts --silent)
    cp "$here/package-lock.json" "$work/package-lock.installed"
fi

NODE_PATH=$work/node_modules "$work/node_modules/.bin/esbuild" "$here/clients/page.mjs" \
    --bundle --format=iife --outfile="$work/page.bundle.js" --log-level=warning

server=${PONDWIRE_SERVER:-}
inspect=${PONDWIRE_INSPECT:-}
if [[ -z $server || -z $inspect ]]; then
    (cd "$root" && cargo build --release --examples)
    examples=${CARGO_TARGET_DIR:-$root/target}/release/examples
    server=${server:-$examples/server}
    inspect=${inspect:-$examples/inspect}
fi

patterns=${PONDWIRE_PATTERNS:-}
if [[ -z $patterns ]]; then
    # The build script extracts the programs from the page.
    (cd "$here/patterns" && cargo build --target-dir "$work/patterns")
    patterns=$work/patterns/debug/pondwire-patterns
fi

chats=${PONDWIRE_CHATS:-}
if [[ -z $chats ]]; then
    chats=$work/chats
    mkdir -p "$chats"
    examples=${CARGO_TARGET_DIR:-$root/target}/debug/examples
    # Two examples have one name, so each is copied once it is built.
    (cd "$root" && cargo build -p pondwire-axum-example --example chat)
    cp "$examples/chat" "$chats/axum"
    (cd "$root" && cargo build --all-features --example chat --example tls)
    cp "$examples/chat" "$chats/standalone"
    cp "$examples/tls" "$chats/tls"
fi

"$work/venv/bin/python" "$here/orchestrate.py" --server "$server" --inspect "$inspect" \
    --patterns "$patterns" --chats "$chats" "$@"
