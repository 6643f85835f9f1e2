#!/usr/bin/env bash
# Starts each real server in turn, asks of it what the tests rely on, and stops it: that these scripts work, apart from
# anything that Tidemill does.
#   smoke.sh                                    all
#   smoke.sh opensearch-2.19.6 postgres-17 ...  some; elasticsearch-9.2.0-secure is the secured one
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || { kill "$1" "$server" && wait "$server"; } 2>/dev/null || true; server=; }
trap 'stop -KILL; rm -rf "$work"' EXIT

fail() {
  echo "✗ $name: $*"
  tail -n 30 "$work/log"
  exit 1
}

# expect PATTERN: what stands in $work/answer matches it.
expect() { grep -Eq "$1" "$work/answer" || fail "expected $1, got: $(head -c 600 "$work/answer")"; }

free_port() { perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen=>1, LocalAddr=>"127.0.0.1")->sockport'; }

# ready COMMAND...: waits until the command succeeds, at most three minutes; prints the seconds since the start.
ready() {
  until "$@" >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || fail "ended by itself"
    [ $((SECONDS - started)) -lt 180 ] || fail "not ready after 180 s"
    sleep 0.3
  done
  echo "  $name: ready after $((SECONDS - started)) s, $(memory) MB resident"
}

memory() {
  ps -o rss= --pid "$server" --ppid "$server" | awk '{ sum += $1 } END { printf "%d", sum / 1024 }'
}

bulk() {
  printf '%s\n' '{"index":{"_id":"1","version":'"$1"',"version_type":"external_gte"}}' '{"n":1}' |
    curl -sS "${curl[@]}" -H 'content-type: application/x-ndjson' --data-binary @- "$url/smoke/_bulk" >"$work/answer"
}

search_server() {
  local secure=$1 port key
  port=$(free_port)
  started=$SECONDS
  if [ "$secure" = 1 ]; then
    url=https://127.0.0.1:$port
    curl=(--cacert "$work/data/ca.pem" -u tidemill:tidemill-test)
  else
    url=http://127.0.0.1:$port
    curl=()
  fi
  SECURITY=$secure "$2" "$port" "$work/data" >"$work/log" 2>&1 &
  server=$!
  ready curl -sSf "${curl[@]}" "$url/_cluster/health?wait_for_status=yellow"
  curl -sS "${curl[@]}" "$url/" >"$work/answer"
  expect "\"number\" *: *\"$version\""
  if [ "$secure" = 1 ]; then
    curl -sS --cacert "$work/data/ca.pem" -o /dev/null -w '%{http_code}' "$url/" >"$work/answer"
    expect '^401$'
    curl -sS "${curl[@]}" -H 'content-type: application/json' "$url/_security/api_key" \
      -d '{"name":"smoke","role_descriptors":{"w":{"cluster":["monitor"],"indices":[{"names":["smoke"],"privileges":["all"]}]}}}' >"$work/answer"
    expect '"encoded"'
    key=$(sed 's/.*"encoded":"\([^"]*\)".*/\1/' "$work/answer")
    curl=(--cacert "$work/data/ca.pem" -H "authorization: ApiKey $key")
    curl -sS "${curl[@]}" -X PUT "$url/other" >"$work/answer"
    expect '"status":403'
  fi
  # external_gte: new, the same version again, an older one.
  bulk 20 && expect '"errors":false' && expect '"status":201'
  bulk 20 && expect '"errors":false' && expect '"status":200'
  bulk 19 && expect '"version_conflict_engine_exception"' && expect '"status":409'
  stop -TERM
}

postgres_server() {
  local port
  port=$(free_port)
  started=$SECONDS
  "$here/postgres.sh" "$version" "$port" "$work/data" >"$work/log" 2>&1 &
  server=$!
  ready psql -h 127.0.0.1 -p "$port" -U postgres -c 'select 1'
  psql -h 127.0.0.1 -p "$port" -U postgres -Atc "select current_setting('server_version') || ' ' ||
    (pg_create_logical_replication_slot('smoke', 'pgoutput')).slot_name" >"$work/answer"
  expect "^$version\..* smoke$"
  stop -INT
}

[ $# -gt 0 ] || set -- opensearch-2.19.6 opensearch-3.4.0 elasticsearch-8.19.21 elasticsearch-8.19.21-secure \
  elasticsearch-9.2.0 elasticsearch-9.2.0-secure postgres-14 postgres-15 postgres-16 postgres-17 postgres-18
for name in "$@"; do
  version=${name#*-}
  version=${version%-secure}
  case $name in
    opensearch-*) OPENSEARCH_VERSION=$version search_server 0 "$here/opensearch.sh" ;;
    elasticsearch-*-secure) ELASTICSEARCH_VERSION=$version search_server 1 "$here/elasticsearch.sh" ;;
    elasticsearch-*) ELASTICSEARCH_VERSION=$version search_server 0 "$here/elasticsearch.sh" ;;
    postgres-*) postgres_server ;;
    *) echo "smoke.sh: no server called $name" >&2 && exit 2 ;;
  esac
  rm -rf "$work/data"
  echo "✓ $name"
done
