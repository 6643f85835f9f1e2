#!/usr/bin/env bash
# Runs one OpenSearch node in the foreground on 127.0.0.1, without security; ready when /_cluster/health answers.
#   opensearch.sh PORT DATA_DIR [-Ename=value ...]
#   opensearch.sh --prepare         only downloads and unpacks
# OPENSEARCH_VERSION: 2.19.6 (default; JDK 17 to 23) or 3.4.0 (JDK 21 or newer). More in common.sh.
# Stop it by SIGTERM (or SIGKILL) to the process that was started.
set -euo pipefail
. "$(dirname "$0")/common.sh"
need mvn unzip flock
version=${OPENSEARCH_VERSION:-2.19.6}
# 2.x asks for the security manager, which Java 24 took away.
case $version in
  2.*) OPENSEARCH_JAVA_HOME=$(jdk 17 23) ;;
  *) OPENSEARCH_JAVA_HOME=$(jdk 21 99) ;;
esac

lock
home=$CACHE/opensearch-$version
unpack_zip "org.opensearch.distribution.integ-test-zip:opensearch:$version:zip" "opensearch-$version"
unlock
[ "${1:-}" != --prepare ] || exit 0

[ $# -ge 2 ] || die "usage: opensearch.sh PORT DATA_DIR [-Ename=value ...]"
port=$1
data=$(search_data "$home" "$2")
shift 2
give "$data"
JDK_JAVA_OPTIONS=$(java_options "$data")
OPENSEARCH_JAVA_OPTS="-Xms${HEAP:-512m} -Xmx${HEAP:-512m}"
OPENSEARCH_PATH_CONF=$data/config
OPENSEARCH_TMPDIR=$data/tmp
export JDK_JAVA_OPTIONS OPENSEARCH_JAVA_HOME OPENSEARCH_JAVA_OPTS OPENSEARCH_PATH_CONF OPENSEARCH_TMPDIR
cd "$data"
as_nobody "$home/bin/opensearch" -Ehttp.port="$port" -Etransport.port=0 -Ediscovery.type=single-node \
  -Epath.data="$data/data" -Epath.logs="$data/logs" "$@"
