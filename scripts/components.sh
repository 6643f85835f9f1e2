#!/usr/bin/env bash
# Builds the trio, one filter and one transform in Rust, Go and Python, whose documents the tests compare byte by byte.
#
#   scripts/components.sh [--all] [go] [python]      what was not made of these sources; or all
#
#   plugins/trio/rust-KIND.wasm, go-KIND.wasm.gz     the components, committed: nobody needs Go or Python
#   plugins/trio/python.xz                           the filter's length in 16 digits, filter, transform: an interpreter each,
#                                                    nearly the same bytes twice
#   plugins/trio/DIGESTS                             `LANGUAGE sources-sha256 filter-sha256 transform-sha256` a line
#
# The components of Rust are made by scripts/plugins.sh, which hands them over with `rust FILTER TRANSFORM`.
set -euo pipefail
cd "$(dirname "$0")/.."
trio=plugins/trio
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

sources_of() {
  case $1 in
    rust) echo "$trio/rust plugins/Cargo.toml plugins/Cargo.lock plugins/.cargo sdk/rust wit/0.1" ;;
    go) echo "$trio/go sdk/go scripts/component" ;;
    python) echo "$trio/python sdk/python" ;;
  esac
}

# The bytes of every file that these components are built from (no pages, no templates), each after its path, in the order of their paths.
digest() {
  # shellcheck disable=SC2046 # paths of ours, without spaces
  git ls-files --cached --others --exclude-standard -- $(sources_of "$1") | grep -v -e '\.md$' -e /template/ | LC_ALL=C sort | while read -r file; do
    [ -f "$file" ] || continue
    printf '%s\n' "$file"
    cat "$file"
  done | sha256sum | cut -d' ' -f1
}

sha256() { sha256sum < "$1" | cut -d' ' -f1; }

# note LANGUAGE: writes down what was made, in $made/filter.wasm and $made/transform.wasm.
note() {
  touch "$trio/DIGESTS"
  { grep -v "^$1 " "$trio/DIGESTS" || true
    echo "$1 $(digest "$1") $(sha256 "$made/filter.wasm") $(sha256 "$made/transform.wasm")"; } | LC_ALL=C sort > "$made/DIGESTS"
  cp "$made/DIGESTS" "$trio/DIGESTS"
  echo "components: $1 $(stat -c %s "$made/filter.wasm") $(stat -c %s "$made/transform.wasm") bytes"
}

build_go() {
  command -v go >/dev/null || { echo "components.sh: Go 1.24 or later is needed" >&2; exit 1; }
  cargo build -q --locked --manifest-path scripts/component/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/component"
  local kind component=${CARGO_TARGET_DIR:-target}/component/debug/component
  "$component" --wat sdk/go/no-wasi.wat sdk/go/no-wasi.wasm
  for kind in filter transform; do
    (cd $trio/go && GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0 \
      go build -buildmode=c-shared -trimpath -buildvcs=false -ldflags='-s -w -buildid= -checklinkname=0' -o "$made/core.wasm" ./$kind)
    "$component" wit/0.1 "$made/core.wasm" sdk/go/no-wasi.wat "$made/$kind.wasm"
    gzip -9 -n -c "$made/$kind.wasm" > "$trio/go-$kind.wasm.gz"
  done
}

build_python() {
  local kind venv=${TIDEMILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill}/componentize-py
  [ -x "$venv/bin/componentize-py" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r sdk/python/requirements.txt
  for kind in filter transform; do
    "$venv/bin/componentize-py" -d wit/0.1 -w $kind componentize --stub-wasi -p $trio/python/$kind -p sdk/python tidemill_$kind -o "$made/$kind.wasm"
  done
  { printf %016d "$(stat -c %s "$made/filter.wasm")"; cat "$made/filter.wasm" "$made/transform.wasm"; } | xz --format=xz --check=crc32 -T1 --lzma2=preset=9e,dict=64MiB > "$trio/python.xz"
}

main() {
  if [ "${1:-}" = rust ]; then
    cp "$2" "$made/filter.wasm" && cp "$2" "$trio/rust-filter.wasm"
    cp "$3" "$made/transform.wasm" && cp "$3" "$trio/rust-transform.wasm"
    note rust
    return
  fi
  local all=false language
  if [ "${1:-}" = --all ]; then all=true && shift; fi
  [ $# != 0 ] || set -- go python
  for language in "$@"; do
    if ! $all && grep -q "^$language $(digest "$language") " "$trio/DIGESTS" 2>/dev/null; then continue; fi
    "build_$language"
    note "$language"
  done
}
main "$@"
