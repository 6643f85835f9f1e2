#!/usr/bin/env bash
# Committed files name no package registry's host: where packages come from is each machine's own setting, and a lock file
# that carries a mirror's address breaks everywhere else. Prints the lines that do.
set -euo pipefail
cd "$(dirname "$0")/.."

# Written with [.] so that this file is clean by its own rule.
hosts='(static|index)[.]crates[.]io|registry[.](npmjs|yarnpkg)[.]|files[.]pythonhosted[.]|pypi[.](org|python)|proxy[.]golang[.]|sum[.]golang[.]|repo1?[.]maven[.]|repo[.]maven[.]|deb[.]debian[.]|security[.]debian[.]'
found=$(git grep -nIE -e "$hosts" -e '"resolved": *"https?:' -- . ':!LICENSE' || true)
# In a Cargo.lock the one index that every client knows stands for whatever a machine has in its place.
found+=$(git grep -nE '^source = "(sparse|registry)[+]' -- '*Cargo.lock' |
  grep -vF '"registry+https://github.com/rust-lang/crates.io-index"' || true)
if [ -n "$found" ]; then
  printf '%s\ncheck-files.sh: these lines name the host of a package registry\n' "$found" >&2
  exit 1
fi
