#!/usr/bin/env bash
# Runs the multi-threaded tests under ThreadSanitizer, with std compiled for it, too: it sees the fence
# of an `Arc`, and the channels and locks of std, so nothing is suppressed and every report counts.
# fcntl.c works around the one gap.
#
#   tests/tsan/run.sh [--all]       PONDWIRE_STRESS_SECONDS: how long each stress test runs (5)
#
# Without --all fan-out, outboxes and rooms; with it caches, the server's writers, the whole server over
# real sockets and the Redis bus too. Needs what .ci/cross-toolchain needs, and calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."

all=${1:-}
# shellcheck source=.ci/modules.sh
. .ci/modules.sh
if [ "$all" = --all ]; then
    modules fanout_stress outbox_stress reader room shard fanout outbox cache local_frames
else
    modules fanout_stress outbox_stress reader room shard
fi

.ci/cross-toolchain
# shellcheck disable=SC1091 # made by the line above
. target/cross/env.sh
gcc -shared -fPIC -O1 -Wall -Wextra -Werror -o target/cross/fcntl.so tests/tsan/fcntl.c
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env LD_PRELOAD=$PWD/target/cross/fcntl.so"
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only
export PONDWIRE_STRESS_SECONDS=${PONDWIRE_STRESS_SECONDS:-5}

failed=0
run() { # run PACKAGE TEST… [-- FILTER…]
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread \
        cargo test -Zbuild-std=std,panic_abort,test,proc_macro --target x86_64-unknown-linux-gnu \
        --target-dir target/cross/tsan --all-features --no-fail-fast -p "$@" || failed=1
}

# One by one: stress tests of two modules at once would take each other's time.
for filter in "${filters[@]}"; do
    run pondwire --test delivery -- "$filter"
done
if [ "$all" = --all ]; then
    run pondwire-redis --test bus
    # The writers' tests are unit tests.
    run pondwire-server --lib --test server
fi
exit $failed
