#!/usr/bin/env bash
# Every package that ends up in the binary or its plugins is under a licence that Apache-2.0 goes with, and none of them brings
# a second TLS: that is rustls with ring, one implementation, no system library. Prints the packages that break the rule.
set -euo pipefail
cd "$(dirname "$0")/.."

packages() {
  (cd "$1" && cargo tree --locked --workspace --edges normal,build --prefix none --no-dedupe --format '{p}|{l}') |
    sed -E '/^$/d; s/ \([^|]*\)//' | sort -u
}

found=$({ packages .; packages plugins; packages sdk/rust; } | awk -F'|' '
  BEGIN {
    split("0BSD|Apache-2.0|Apache-2.0 WITH LLVM-exception|BSD-2-Clause|BSD-3-Clause|BSL-1.0|ISC|MIT|Unicode-3.0|Unlicense|Zlib", names, "|")
    for (i in names) allowed[names[i]] = 1
    split("openssl-sys|native-tls|aws-lc-sys|aws-lc-rs", names, "|")
    for (i in names) banned[names[i]] = 1
  }
  # An expression holds where each part that AND joins has an alternative that is allowed.
  function holds(expression,   parts, ways, i, j, count, others, ok) {
    gsub(/ *\/ */, " OR ", expression)
    count = split(expression, parts, " AND ")
    for (i = 1; i <= count; i++) {
      gsub(/[()]/, "", parts[i])
      others = split(parts[i], ways, " OR ")
      ok = 0
      for (j = 1; j <= others; j++) if (ways[j] in allowed) ok = 1
      if (!ok) return 0
    }
    return count > 0
  }
  { split($1, name, " ") }
  name[1] in banned { print $1 ": another TLS" }
  name[1] !~ /^tidemill/ && !holds($2) { print $1 ": licence `" $2 "`" }
')
if [ -n "$found" ]; then
  printf '%s\ncheck-dependencies.sh: these packages may not be in what is shipped\n' "$found" >&2
  exit 1
fi
