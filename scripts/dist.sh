#!/usr/bin/env bash
# Makes the archive that a release consists of: binary, completions, licences of everything that is in the binary, and the
# first pages to read. The same commit gives the same listing, order and times, so two archives can be compared.
#   dist.sh    writes TARGET/dist/tidemill-VERSION-TRIPLE.tar.gz and its .sha256
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
triple=$(rustc -vV | sed -n 's/^host: //p')
name=tidemill-$version-$triple
dist=$target/dist

# packages DIRECTORY TRIPLE ARGUMENT...: every package that ends up in what is shipped, as "name version licence".
packages() {
  local directory=$1 for=$2
  shift 2
  (cd "$directory" && cargo tree --locked "$@" --edges normal --target "$for" --prefix none --no-dedupe \
    --format '{p}|{l}') | sed -E 's/^([^ ]+) v([^ |]+)[^|]*\|/\1 \2 /' | grep -v '^tidemill'
}

# licences: the listing, then the text of each licence as its package brings it, each different text once.
licences() {
  local registry package release licence file digest
  local -A seen=()
  echo "Tidemill is under the Apache License 2.0 (LICENSE). Its binary holds these packages under their own licences:"
  echo
  cat "$dist/packages"
  registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
  shopt -s nocaseglob
  while read -r package release licence; do
    for file in "$registry"/*/"$package-$release"/{LICENSE,LICENCE,COPYING,NOTICE,UNLICENSE}*; do
      [ -f "$file" ] || continue
      digest=$(sha256sum <"$file")
      [ -z "${seen[$digest]:-}" ] || continue
      seen[$digest]=1
      printf '\n\n======== %s %s: %s (%s)\n\n' "$package" "$release" "$(basename "$file")" "$licence"
      cat "$file"
    done
  done <"$dist/packages"
}

echo "building the release binary (the first time about 15 minutes on two cores)"
cargo build --locked --release --package tidemill --bin tidemill

rm -rf "${dist:?}/$name" "$dist/$name".tar.gz*
mkdir -p "$dist/$name/completions"
{
  packages . "$triple" --package tidemill
  [ ! -f plugins/Cargo.lock ] || packages plugins wasm32-unknown-unknown --workspace
} | sort -u >"$dist/packages"
licences >"$dist/$name/THIRD-PARTY-LICENSES"
cp "$target/release/tidemill" LICENSE README.md CHANGELOG.md "$dist/$name"
for shell in bash zsh fish; do
  "$dist/$name/tidemill" completions "$shell" >"$dist/$name/completions/tidemill.$shell"
done

commit_time=$(git log -1 --format=%ct)
tar --sort=name --mtime="@$commit_time" --owner=0 --group=0 --numeric-owner -C "$dist" -cf - "$name" |
  gzip -n9 >"$dist/$name.tar.gz"
(cd "$dist" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
ls -l "$dist/$name.tar.gz"
