# Test modules by name, for scripts whose working directory is the repository's root: source this.
#
# modules NAME…: puts the filters that make `cargo test` run only these modules into `filters`. Fails if
# tests/ has no module of such a name, as a filter alone would silently match nothing.
modules() {
    local name
    filters=()
    for name in "$@"; do
        if ! compgen -G "tests/*/$name.rs" >/dev/null; then
            echo "tests/ has no module $name" >&2
            return 1
        fi
        filters+=("$name::")
    done
}
