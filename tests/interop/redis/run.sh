#!/usr/bin/env bash
# The Redis bus against a real Redis: bus against bus, with Redis killed, stopped and restarted by the
# test itself in the middle of a stream. With `--compare [--rounds N]` it also compares the bus's
# throughput with the bare client's.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."

cargo test -p pondwire-redis --features tls --test real --no-run
# Only for the test: cargo would trust nothing else.
SSL_CERT_FILE=$PWD/server/tests/server/tls/certificate.pem "$here/with_redis.sh" \
    cargo test --offline -p pondwire-redis --features tls --test real -- \
    --ignored --nocapture --test-threads 1

if [[ ${1:-} == --compare ]]; then
    shift
    cd benches/compare
    "$here/with_redis.sh" cargo run --release -- --section redis "$@"
fi
