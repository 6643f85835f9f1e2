#!/usr/bin/env bash
# Runs one Elasticsearch node in the foreground on 127.0.0.1; ready when /_cluster/health answers.
#   elasticsearch.sh PORT DATA_DIR [-Ename=value ...]
#   elasticsearch.sh --prepare      only downloads, unpacks and completes the distribution
# ELASTICSEARCH_VERSION: 8.19.21 (default; JDK 17 or newer) or 9.2.0 (JDK 21 or newer). More in common.sh.
# SECURITY=1: HTTPS only, with a certificate for localhost and 127.0.0.1 that DATA_DIR/ca.pem has signed; user
#   `tidemill`, password `tidemill-test` (a superuser); API keys by POST /_security/api_key.
#   Otherwise plain HTTP, and nobody is asked who they are.
# Stop it by SIGTERM (or SIGKILL) to the process that was started; the node is its child and goes with it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
need mvn unzip flock
version=${ELASTICSEARCH_VERSION:-8.19.21}
case $version in 8.*) java=17 ;; *) java=21 ;; esac
ES_JAVA_HOME=$(jdk "$java" 99)

# complete HOME: adds the plugin that fills in what this distribution lacks: see Fill.java.
complete() {
  [ -d "$1/plugins/fill" ] && return
  say "building the plugin that completes Elasticsearch $version (some seconds)"
  local work=$CACHE/fill
  rm -rf "$work"
  mkdir -p "$work/classes" "$work/plugin" "$1/plugins"
  "$ES_JAVA_HOME/bin/javac" --release "$java" -cp "$1/lib/*" -d "$work/classes" "$here/Fill.java"
  "$ES_JAVA_HOME/bin/jar" cf "$work/plugin/fill.jar" -C "$work/classes" .
  printf '%s\n' name=fill description=fill version=1 classname=tidemill.Fill \
    "java.version=$java" "elasticsearch.version=$version" >"$work/plugin/plugin-descriptor.properties"
  mv "$work/plugin" "$1/plugins/fill"
  rm -rf "$work"
}

# make_certificates DATA: an authority (DATA/ca.pem) and a server certificate of it, once for all starts. Two, since
# strict TLS clients refuse a server that presents an authority's own certificate.
make_certificates() {
  local tls=$1/tls
  [ ! -d "$tls" ] || return 0
  mkdir "$tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Tidemill test authority" \
    -keyout "$tls/ca.key" -out "$1/ca.pem" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
    -keyout "$tls/key.pem" -out "$tls/request.pem" 2>/dev/null
  printf '%s\n' subjectAltName=DNS:localhost,IP:127.0.0.1 basicConstraints=critical,CA:FALSE \
    extendedKeyUsage=serverAuth >"$tls/extensions"
  openssl x509 -req -in "$tls/request.pem" -CA "$1/ca.pem" -CAkey "$tls/ca.key" -set_serial 1 -days 30 \
    -extfile "$tls/extensions" -out "$tls/cert.pem" 2>/dev/null
}

# make_user DATA: the user of the file realm. The hash is bcrypt of `tidemill-test` at the lowest cost; the tool
# that writes it (elasticsearch-users) would start a JVM first.
make_user() {
  # shellcheck disable=SC2016 # the hash holds dollar signs
  echo 'tidemill:$2a$04$TidemillTestsOnly1234u4L18pwkxYLRLx5WE0H/ugeoRAlEo1au' >"$1/config/users"
  echo 'superuser:tidemill' >"$1/config/users_roles"
}

lock
home=$CACHE/elasticsearch-$version
unpack_zip "org.elasticsearch.distribution.integ-test-zip:elasticsearch:$version:zip" "elasticsearch-$version"
complete "$home"
unlock
[ "${1:-}" != --prepare ] || exit 0

[ $# -ge 2 ] || die "usage: elasticsearch.sh PORT DATA_DIR [-Ename=value ...]"
port=$1
data=$(search_data "$home" "$2")
shift 2
security=(-Expack.security.enabled=false)
if [ "${SECURITY:-0}" = 1 ]; then
  need openssl
  make_certificates "$data"
  cp "$data"/tls/{key,cert}.pem "$data/config"
  make_user "$data"
  security=(-Expack.security.enabled=true -Expack.security.http.ssl.enabled=true
    -Expack.security.http.ssl.key=key.pem -Expack.security.http.ssl.certificate=cert.pem)
fi
give "$data"
JDK_JAVA_OPTIONS=$(java_options "$data")
ES_JAVA_OPTS="-Xms${HEAP:-512m} -Xmx${HEAP:-512m}"
ES_PATH_CONF=$data/config
ES_TMPDIR=$data/tmp
export JDK_JAVA_OPTIONS ES_JAVA_HOME ES_JAVA_OPTS ES_PATH_CONF ES_TMPDIR
cd "$data"
as_nobody "$home/bin/elasticsearch" -Ehttp.port="$port" -Etransport.port=0 -Ediscovery.type=single-node \
  -Epath.data="$data/data" -Epath.logs="$data/logs" "${security[@]}" "$@"
