# shellcheck shell=bash
# What the server scripts beside this file share: one cache, one lock, one way to drop root. Sourced, never run.
#
#   mvn dependency:get ──► $CACHE/NAME-VERSION (unpacked whole or not at all) ──► exec of the server
#
# Everything up to the exec is done under a lock, so any number of tests may start servers at once. A script ends by
# replacing itself with the server: the pid that a test started is the pid that it stops.
#
# Environment, for all of them:
#   TIDEMILL_CACHE  where downloads and unpacked servers are kept; default ${XDG_CACHE_HOME:-~/.cache}/tidemill,
#                   or target/cache of the clone where that cannot be written
#   HEAP            heap of a search server, 512m
# Exit status 77: this server cannot run on this machine (no JDK that fits); the line on stderr says what is missing.

servers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=${servers%/scripts/servers}

say() { echo "$(basename "$0"): $*" >&2; }

die() {
  say "$*"
  exit 1
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "\`$tool\` is missing: install it (Debian: maven unzip xz-utils openssl)"
  done
}

# cache_dir: prints the cache's directory, made if missing.
cache_dir() {
  local dir=${TIDEMILL_CACHE:-}
  if [ -n "$dir" ]; then
    mkdir -p "$dir" || die "TIDEMILL_CACHE=$dir cannot be made"
  else
    dir=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/tidemill
    if ! mkdir -p "$dir" 2>/dev/null || [ ! -w "$dir" ]; then
      dir=$repository/target/cache
      mkdir -p "$dir"
    fi
  fi
  (cd "$dir" && pwd)
}

# lock and unlock: one script at a time prepares. The lock goes with the process, so a killed script leaves none.
lock() {
  exec 9>"$CACHE/lock"
  flock 9
}
unlock() { exec 9>&-; }

# get GROUP:ARTIFACT:VERSION:TYPE: fetches one artifact through Maven, checks it against SHA256SUMS, prints its path.
# The local repository is the cache's own, so that ~/.m2 stays as it is; ~/.m2/settings.xml is respected.
get() {
  local group artifact version type file attempt
  IFS=: read -r group artifact version type <<<"$1"
  file=$CACHE/m2/${group//.//}/$artifact/$version/$artifact-$version.$type
  for attempt in 1 2 3; do
    say "downloading $artifact $version (usually some seconds)"
    if mvn -q -B "-Dmaven.repo.local=$CACHE/m2" dependency:get "-Dartifact=$1" -Dtransitive=false \
      >"$CACHE/mvn.log" 2>&1 9>&- && genuine "$file"; then
      echo "$file"
      return
    fi
    rm -f "$file"
    say "attempt $attempt failed: $(grep -m 1 ERROR "$CACHE/mvn.log" || echo "see $CACHE/mvn.log")"
  done
  die "could not download $1"
}

# genuine FILE: its digest is the one in SHA256SUMS; a file that is not listed there passes (another platform's).
genuine() {
  local name sum
  name=$(basename "$1")
  sum=$(sed -n "s/^\([0-9a-f]*\)  $name\$/\1/p" "$servers/SHA256SUMS")
  [ -z "$sum" ] && return
  [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sum" ] || {
    say "$name is not the file that was released: its SHA-256 differs from scripts/servers/SHA256SUMS"
    return 1
  }
}

# unpack_zip COORDINATES NAME: the folder NAME of the zip becomes $CACHE/NAME; the archive is not kept.
unpack_zip() {
  [ -d "$CACHE/$2" ] && return
  local zip
  zip=$(get "$1")
  rm -rf "$CACHE/unpack"
  mkdir "$CACHE/unpack"
  unzip -q "$zip" -d "$CACHE/unpack"
  finish_unpack "$CACHE/unpack/$2" "$2" "$zip"
}

finish_unpack() {
  mv "$1" "$CACHE/$2"
  rm -rf "$CACHE/unpack" "$3"
}

# jdk_version HOME: prints the major version, nothing where the folder does not tell.
jdk_version() { [ ! -r "$1/release" ] || sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release"; }

# jdk MIN MAX: prints the home of a JDK of major version MIN to MAX: JAVA_HOME if it fits, else the lowest found in the
# usual folders. Status 77 where there is none.
jdk() {
  local home version best='' lowest=$(($2 + 1))
  for home in "${JAVA_HOME:-}" /usr/lib/jvm/* /opt/*jdk* /opt/java/* "${HOME:-}"/.sdkman/candidates/java/* \
    /Library/Java/JavaVirtualMachines/*/Contents/Home; do
    [ -x "$home/bin/javac" ] || continue
    version=$(jdk_version "$home")
    if [ "${version:-0}" -ge "$1" ] && [ "$version" -lt "$lowest" ]; then
      best=$home lowest=$version
      [ "$home" != "${JAVA_HOME:-}" ] || break
    fi
  done
  if [ -z "$best" ]; then
    say "no JDK $1 to $2 found: install one or set JAVA_HOME"
    return 77
  fi
  echo "$best"
}

# as_nobody COMMAND...: becomes COMMAND. These servers refuse to run as root; then it runs as `nobody`, which keeps
# the one right to pass directories that are closed to others (a temporary directory, /root). The secure bit lets
# access(2) count that right too.
as_nobody() {
  [ "$(id -u)" = 0 ] || exec "$@"
  exec setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups \
    --securebits=+no_setuid_fixup --inh-caps=-all,+dac_override --ambient-caps=-all,+dac_override "$@"
}

# give DIR: DIR belongs to the user that the server runs as.
give() { [ "$(id -u)" != 0 ] || chown -R nobody: "$1"; }

# search_data HOME DATA: makes DATA ready for a node of the distribution HOME and prints its full path. The configuration is
# made anew at each start; documents stay.
search_data() {
  local data
  mkdir -p "$2"/{data,logs,tmp}
  data=$(cd "$2" && pwd)
  rm -rf "$data/config"
  cp -r "$1/config" "$data/config"
  # The stock options write logs inside the distribution, which several nodes share.
  sed -i -e '/gc\.log/d' -e '/ErrorFile/d' -e '/HeapDump/d' "$data/config/jvm.options"
  echo "$data"
}

# java_options DATA: what every JVM of a node gets, the short-lived ones of its start script too: nothing of theirs stays
# in /tmp.
java_options() { echo "\"-Djava.io.tmpdir=$1/tmp\" -XX:-UsePerfData"; }

CACHE=$(cache_dir)
export CACHE
