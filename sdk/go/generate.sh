#!/usr/bin/env bash
# Makes internal/bindings and internal/wit anew from the contract. Needed only after an edit of wit/: what it writes is
# committed, so that authors need Go and nothing else.
#
#   cargo install wit-bindgen-cli --version 0.63.0 --locked --no-default-features --features go
#
# Go's side of it (the module go.bytecodealliance.org/pkg) is taken from the sources that this install left in cargo's registry.
set -euo pipefail
cd "$(dirname "$0")"
wit_bindgen=${WIT_BINDGEN:-wit-bindgen}
version=$($wit_bindgen --version | cut -d' ' -f2)
runtime=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/wit-bindgen-go-"$version"/src/pkg | head -1)
module=github.com/tidemill/tidemill/sdk/go
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

rm -rf internal/bindings internal/wit
mkdir -p internal/bindings internal/wit/runtime internal/wit/types
cp "$runtime/LICENSE" internal/wit/
cp "$runtime"/wit/runtime/{runtime.go,empty.s} internal/wit/runtime/
cp "$runtime"/wit/types/{option,result}.go internal/wit/types/
for world in filter transform; do
  "$wit_bindgen" go ../../wit/0.1 --world $world --out-dir "$made/$world" >/dev/null 2>&1
  cp -r "$made/$world"/tidemill_plugin_* internal/bindings/
  mkdir -p internal/bindings/world_$world
  # The author's own package is main, so the exports are in one of their own.
  sed -e "s/^package main/package world_$world/" -e '/^\/\/ Unused, but present/,$d' "$made/$world/wit_exports.go" \
    > internal/bindings/world_$world/wit_exports.go
done
find internal/bindings -name '*.go' -exec sed -i \
  -e "s#\"go.bytecodealliance.org/pkg/#\"$module/internal/#" \
  -e "s#\"wit_component/export_#\"$module/internal/export_#" \
  -e "s#\"wit_component/#\"$module/internal/bindings/#" {} +
# What imports from the host is for wasm alone; tests of a plugin run natively without it.
for file in internal/wit/runtime/* internal/bindings/world_*/*.go internal/bindings/tidemill_plugin_{log,metrics}/*; do
  sed -i '1i //go:build wasip1\n' "$file"
done
gofmt -w internal
