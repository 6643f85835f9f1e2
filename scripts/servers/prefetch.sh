#!/usr/bin/env bash
# Downloads and unpacks every server that the tests start, so that no test waits for a download; then says for each
# whether it can run here. With CI set, one that cannot run is a failure; elsewhere it is left out, with what it lacks.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
left_out=0

prepare() { # NAME COMMAND...
  local name=$1 status=0
  shift
  "$@" || status=$?
  case $status in
    0) echo "✓ $name" ;;
    77) echo "✗ $name: left out, no JDK that fits" && left_out=1 ;;
    *) exit "$status" ;;
  esac
}

for version in 2.19.6 3.4.0; do
  OPENSEARCH_VERSION=$version prepare "OpenSearch $version" "$here/opensearch.sh" --prepare
done
for version in 8.19.21 9.2.0; do
  ELASTICSEARCH_VERSION=$version prepare "Elasticsearch $version" "$here/elasticsearch.sh" --prepare
done
for major in 14 15 16 17 18; do
  prepare "Postgres $major" "$here/postgres.sh" $major --prepare
done
if [ "$left_out" = 1 ] && [ -n "${CI:-}" ]; then
  echo "prefetch.sh: CI runs every server; install the JDKs named above" >&2
  exit 1
fi
