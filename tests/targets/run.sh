#!/usr/bin/env bash
# Checks targets other than this machine's: compiles them without warnings of rustc or Clippy, and runs
# their tests in an emulator, or on the CPU if it has the instructions. Needs an x86-64 Debian 12 and
# root, for .ci/cross-toolchain.
#
#   tests/targets/run.sh [--all] [TARGET…]      aarch64 i686 s390x wasm32 windows macos
#
# Without --all it runs what CI has time for: it leaves out Windows and macOS, which are compiled only,
# and on 32-bit and big-endian machines it runs only the modules that depend on lengths or byte order.
# Either way no random test runs more than PONDWIRE_MAX_CASES cases (1,000; some default to 300,000), and
# stress tests run for 5 s. The emulator orders loads and stores as x86-64 does; for Arm's weaker order
# the loom models are the evidence.
set -euo pipefail
cd "$(dirname "$0")/../.."

all=
targets=()
for word in "$@"; do
    case $word in --all) all=1 ;; *) targets+=("$word") ;; esac
done
[ ${#targets[@]} -gt 0 ] || targets=(aarch64 i686 s390x wasm32 ${all:+windows macos})

.ci/cross-toolchain
cross=$PWD/target/cross
# shellcheck disable=SC1091 # made by the line above
. "$cross/env.sh"
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export PONDWIRE_STRESS_SECONDS=${PONDWIRE_STRESS_SECONDS:-5}
export PONDWIRE_MAX_CASES=${PONDWIRE_MAX_CASES:-1000}
# In the emulator tests compute instead of waiting: more of them at once only make each other late.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(nproc)}
echo "random tests run $PONDWIRE_MAX_CASES cases at most, stress tests for $PONDWIRE_STRESS_SECONDS s"

# The modules that read or write lengths, words and positions.
# shellcheck source=.ci/modules.sh
. .ci/modules.sh
modules allocations bounds cache deflate distributed distributed_vectors errors_vectors evictions frames \
    frames_vectors headers_vectors hostile local_frames navigation outbox outbox_model parse_vectors properties \
    roster room rules shard simulation sse subjects websocket_reader

lint() { # lint TARGET [OPTION…]: runs the Clippy of the target's compiler
    local target=$1
    shift
    # That lint mistakes the expansion of std's macro on Windows for an initializer that is not `const`.
    CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__-Aclippy::missing_const_for_thread_local__CLIPPY_HACKERY__ \
        RUSTC_WORKSPACE_WRAPPER=$cross/bin/clippy \
        cargo check --quiet --target "$target" "$@"
    echo "$target: no warning with ${*//-Zbuild-std=*/std built from source}"
}

run() { # run TARGET [OPTION…]: runs tests and prints their totals
    local target=$1 log=$cross/$1.log start=$SECONDS
    local runner=CARGO_TARGET_$(echo "$target" | tr a-z- A-Z_)_RUNNER
    shift
    # One test starts itself as a program, and needs the runner that cargo uses for it.
    if ! PONDWIRE_TEST_RUNNER=${!runner} cargo test --quiet --no-fail-fast --target "$target" "$@" >"$log" 2>&1; then
        cat "$log"
        echo "$target: tests failed"
        return 1
    fi
    awk -v target="$target" -v seconds=$((SECONDS - start)) '
        /^test result: ok/ { binaries++; passed += $4; ignored += $8 }
        END { printf "%s: %d tests of %d binaries passed, %d ignored, in %d s\n", target, passed,
              binaries, ignored, seconds; exit passed == 0 }' "$log"
}

made() { # made COMMAND TARGET [OPTION…]: runs COMMAND with std built from source
    # With an unoptimized std the tests take several times as long in the emulator.
    CARGO_PROFILE_DEV_OPT_LEVEL=1 RUSTC_BOOTSTRAP=1 \
        "$1" "$2" -Zbuild-std=std,panic_abort,test,proc_macro "${@:3}"
}

for target in "${targets[@]}"; do
    echo "-- $target [$(date +%H:%M:%S)]"
    case $target in
    aarch64)
        triple=aarch64-unknown-linux-gnu
        lint $triple --all-targets --all-features
        run $triple --all-features --lib --tests
        cargo build --quiet --target $triple --example server
        # qemu-user has no io_uring.
        tests/targets/serve.py qemu-aarch64 -L /usr/aarch64-linux-gnu \
            "$CARGO_TARGET_DIR/$triple/debug/examples/server" --no-io-uring
        ;;
    i686 | s390x)
        triple=$target-unknown-linux-gnu
        if [ -n "$all" ]; then
            made lint $triple --all-targets --all-features
            made run $triple --all-features --lib --tests
        else
            made lint $triple -p pondwire --lib --all-features
            package=(-p pondwire --features deflate,handshake,http,stream)
            made run $triple "${package[@]}" --lib --test tiers
            made run $triple "${package[@]}" --test codec --test delivery --test cluster --test memory -- \
                "${filters[@]}"
        fi
        ;;
    wasm32)
        # The codec: no sockets, and no source of random numbers for new message ids.
        made lint wasm32-unknown-unknown -p pondwire --lib --no-default-features \
            --features cache,deflate,handshake,http,stream
        ;;
    windows)
        made lint x86_64-pc-windows-gnu --all-targets --all-features
        ;;
    macos)
        made lint aarch64-apple-darwin --all-targets --all-features
        ;;
    *)
        echo "$target is not one of aarch64, i686, s390x, wasm32, windows and macos" >&2
        exit 2
        ;;
    esac
done
