#!/usr/bin/env bash
# Makes sure that Postgres' server programs are on this machine (not that a server runs: the demo and the tests start
# private ones). Prints the folder that holds them; what it does is said on stderr.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/packages.sh
. "$here/packages.sh"
oldest=14

major_of() { "$1/postgres" --version 2>/dev/null | sed 's/^[^0-9]*\([0-9]*\).*/\1/'; }

# find_postgres: prints the folder of the newest Postgres in PATH and the usual places.
find_postgres() {
  local dir major best='' newest=$((oldest - 1)) dirs=()
  IFS=: read -ra dirs <<<"$PATH"
  for dir in "${dirs[@]}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* /usr/local/pgsql/bin \
    /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /opt/local/lib/postgresql*/bin \
    /Applications/Postgres.app/Contents/Versions/*/bin; do
    if [ ! -x "$dir/postgres" ] || [ ! -x "$dir/initdb" ]; then continue; fi
    major=$(major_of "$dir")
    if [ "${major:-0}" -gt "$newest" ]; then
      best=$dir newest=$major
    fi
  done
  # Links to a few of the programs are no use to whoever looks for the others beside them.
  [ -n "$best" ] && dirname "$(readlink -f "$best/postgres")"
}

# install_debian: without the cluster on port 5432 that Debian's package makes and starts by default; nobody asked for
# that one.
install_debian() {
  local setting=/etc/postgresql-common/createcluster.d/tidemill.conf status=0
  as_root mkdir -p "$(dirname "$setting")"
  echo 'create_main_cluster = false' | as_root tee "$setting" >/dev/null
  install_packages postgresql || status=$?
  as_root rm -f "$setting"
  return "$status"
}

if ! dir=$(find_postgres); then
  manager=$(package_manager)
  if [ -z "$manager" ]; then
    echo "$(system_name) is not known to this script: install the server of PostgreSQL $oldest or newer" \
      "(initdb, postgres) so that they are in PATH, then try again" >&2
    exit 1
  fi
  echo "installing PostgreSQL by $manager, since none was found (usually half a minute)" >&2
  case $manager in
    apt-get) install_debian ;;
    dnf) install_packages postgresql-server postgresql-contrib ;;
    apk) install_packages postgresql postgresql-client postgresql-contrib ;;
    pacman) install_packages postgresql ;;
    brew) install_packages postgresql@17 ;;
  esac
  dir=$(find_postgres) || {
    echo "$(system_name): what $manager installed is older than PostgreSQL $oldest: install a newer one, then try again" >&2
    exit 1
  }
fi
echo "$dir"
