#!/usr/bin/env bash
# Runs one Postgres of a chosen major version in the foreground, on 127.0.0.1 and a socket in DATA_DIR.
#   postgres.sh MAJOR PORT DATA_DIR [-c name=value ...]
#   postgres.sh MAJOR --prepare     only downloads and unpacks
#   postgres.sh MAJOR --bin         the same, then prints the folder with initdb, pg_ctl and postgres
# MAJOR: 14 to 18. A DATA_DIR without a cluster gets one: user `postgres`, no password, wal_level logical.
# No client programs are among these binaries. Stop it by SIGINT (at once) or SIGTERM (waits for clients) to the
# process that was started. More in common.sh.
set -euo pipefail
. "$(dirname "$0")/common.sh"
need mvn unzip xz flock
major=${1:-}
case $major in
  14) version=14.24.0 ;;
  15) version=15.19.0 ;;
  16) version=16.15.0 ;;
  17) version=17.11.0 ;;
  18) version=18.6.0 ;;
  *) die "usage: postgres.sh 14|15|16|17|18 PORT DATA_DIR [-c name=value ...], or --bin, or --prepare" ;;
esac
shift

platform() {
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) echo linux-amd64 ;;
    Linux-aarch64) echo linux-arm64v8 ;;
    Darwin-x86_64) echo darwin-amd64 ;;
    Darwin-arm64) echo darwin-arm64v8 ;;
    *) die "no Postgres binaries for $(uname -s) $(uname -m)" ;;
  esac
}

prepare() {
  [ -d "$home" ] && return
  local jar
  jar=$(get "io.zonky.test.postgres:embedded-postgres-binaries-$(platform):$version:jar")
  rm -rf "$CACHE/unpack"
  mkdir "$CACHE/unpack"
  unzip -p "$jar" '*.txz' | tar -xJ -C "$CACHE/unpack"
  finish_unpack "$CACHE/unpack" "postgres-$version" "$jar"
}

home=$CACHE/postgres-$version
lock
prepare
unlock
case ${1:-} in
  --prepare) exit 0 ;;
  --bin) echo "$home/bin" && exit 0 ;;
esac

[ $# -ge 2 ] || die "usage: postgres.sh MAJOR PORT DATA_DIR [-c name=value ...]"
port=$1
mkdir -p "$2"
data=$(cd "$2" && pwd)
shift 2
give "$data"
cd "$data"
if [ ! -s PG_VERSION ]; then
  (as_nobody "$home/bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$data.initdb.log" 2>&1) ||
    die "initdb failed: $(tail -n 3 "$data.initdb.log")"
  rm -f "$data.initdb.log"
fi
as_nobody "$home/bin/postgres" -D "$data" -p "$port" -k "$data" -c listen_addresses=127.0.0.1 \
  -c wal_level=logical -c fsync=off "$@"
