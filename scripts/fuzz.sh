#!/usr/bin/env bash
# Fuzzes the parsers by libFuzzer, on stable Rust: the compiler's own coverage pass needs no nightly.
#   fuzz.sh                    each target for 20 seconds
#   fuzz.sh TARGET [SECONDS]   one of them; pgoutput, copy, answer, plugin_answer, component
#   fuzz.sh TARGET FILE        an input again, such as a find
# It goes on from what it learnt in earlier runs (TARGET_DIR/fuzz/corpus); finds go to TARGET_DIR/fuzz/finds. A find that
# was mended becomes a file of tests/fuzz/corpus, which the tests of the crates read.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
all=$(cd tests/fuzz/targets && ls ./*.rs | sed 's|./||; s/[.]rs$//')

if [ $# -gt 0 ] && ! grep -qx -- "$1" <<<"$all"; then
  echo "fuzz.sh: there is no target \`$1\`: there are" $all >&2
  exit 2
fi
if ! command -v "${CXX:-c++}" >/dev/null; then
  echo "fuzz.sh: libFuzzer is C++: install a C++ compiler called \`c++\` (Debian: g++), then try again" >&2
  exit 1
fi

# Only what is built for the named target gets these: build scripts and macros do not.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
echo "building the fuzz targets (the first time a minute or two)"
RUSTFLAGS="$coverage" cargo build --locked --quiet --release --target "$triple" --target-dir "$target" \
  --manifest-path tests/fuzz/Cargo.toml

# run TARGET ARGUMENT...
run() {
  local name=$1
  shift
  mkdir -p "$target/corpus/$name" "$target/finds/$name"
  "$target/$triple/release/$name" -artifact_prefix="$target/finds/$name/" -rss_limit_mb=2048 -timeout=10 "$@"
}

if [ -f "${2:-}" ]; then
  run "$1" "$2"
  exit
fi
for name in ${1:-$all}; do
  echo "fuzzing $name for ${2:-20} seconds"
  run "$name" -max_total_time="${2:-20}" -print_final_stats=1 "$target/corpus/$name" "tests/fuzz/corpus/$name" 2>"$target/$name.log" || {
    tail -n 40 "$target/$name.log" >&2
    echo "fuzz.sh: $name found something: the input is in $target/finds/$name" >&2
    exit 1
  }
  grep -E '^stat::number_of_executed_units|^Done' "$target/$name.log"
done
