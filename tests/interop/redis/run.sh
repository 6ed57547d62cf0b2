#!/usr/bin/env bash
# The Redis bus against a real Redis: bus against bus, with Redis killed, stopped and restarted by the
# test itself in the middle of a stream. With `--compare [--rounds N]` it also compares the bus's
# throughput with the bare client's.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."

"$here/with_redis.sh" \
    cargo test -p pondwire-redis --test real -- --ignored --nocapture --test-threads 1

if [[ ${1:-} == --compare ]]; then
    shift
    cd benches/compare
    "$here/with_redis.sh" cargo run --release -- --section redis "$@"
fi
