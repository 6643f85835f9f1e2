#!/usr/bin/env bash
# Builds the shipped plugins and the fixtures of the tests from source, and writes down what they were built from.
#
#   plugins/shipped/NAME.wasm, plugins/fixtures/NAME.wasm    the components, committed: nobody needs a wasm compiler
#   plugins/{shipped,fixtures}/DIGESTS                       `NAME sources-sha256 component-sha256` a line
#
# A test of engine/stage holds the committed components against these digests, so an edited source without a new
# component does not pass.
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
home=${WASM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill-wasm}
scripts/wasm-target.sh
# shellcheck disable=SC1091 # written by the line above
. "$home/env.sh"

# The bytes of every file that a plugin is built from, each after its path, in the order of their paths.
sources() {
    git ls-files --cached --others --exclude-standard -- "plugins/$1" plugins/Cargo.toml plugins/Cargo.lock plugins/.cargo sdk/rust ':!sdk/rust/template' wit/0.1 |
        LC_ALL=C sort | while read -r file; do
            [ -f "$file" ] || continue
            printf '%s\n' "$file"
            cat "$file"
        done | sha256sum | cut -d' ' -f1
}

# Paths of this machine do not get into a component, so that the same source gives the same bytes elsewhere.
registry=${CARGO_HOME:-$HOME/.cargo}/registry
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-Ctarget-feature=+simd128 --remap-path-prefix=$registry=/registry --remap-path-prefix=$PWD=/tidemill"
(cd plugins && cargo build --locked --release --target $target)

# install FOLDER NAME=FILE...
install_into() {
    local folder=plugins/$1 pair name
    shift
    mkdir -p "$folder"
    : > "$folder/DIGESTS.new"
    for pair in "$@"; do
        name=${pair%%=*}
        cp "plugins/target/$target/release/${pair#*=}.wasm" "$folder/$name.wasm"
        printf '%s %s %s\n' "$name" "$(sources "$name")" "$(sha256sum < "$folder/$name.wasm" | cut -d' ' -f1)" >> "$folder/DIGESTS.new"
    done
    mv "$folder/DIGESTS.new" "$folder/DIGESTS"
}
install_into shipped where=where_ select=select
install_into fixtures hostile=hostile clock=clock outsider=outsider splitter=splitter pass=pass
ls -l plugins/shipped/*.wasm plugins/fixtures/*.wasm | awk '{ print "plugins:", $9, $5, "bytes" }'
release=plugins/target/$target/release
scripts/components.sh rust $release/trio_filter.wasm $release/trio_transform.wasm
scripts/components.sh
