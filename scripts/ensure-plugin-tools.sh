#!/usr/bin/env bash
# Makes sure, as far as this system's packages and the languages' own registries go, that plugins can be built here in every
# language that has an SDK. Prints the languages that can (`rust go python`); what it does, and what is left out, is said on
# stderr. Without some of them all else works, so nothing here fails for want of one.
#
#   rust     scripts/wasm-target.sh
#   go       what is in PATH, else the system's package; where that is too old, it fetches a newer one as a module into
#            $TIDEMILL_CACHE/go, whose `bin` has to be put into PATH
#   python   componentize-py in $TIDEMILL_CACHE/componentize-py, where `tidemill plugin build` finds it
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/packages.sh
. scripts/packages.sh
cache=${TIDEMILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill}
go_wanted=24                     # minor version, as in sdk/go/go.mod
go_module=golang.org/toolchain@v0.0.1-go1.24.9

left_out() { echo "!!!! LEFT OUT: plugins in $1 will be neither built nor tested here: $2" >&2; }

go_is_new() {
  local minor
  minor=$("$1" version 2>/dev/null | sed -n 's/.*go1\.\([0-9]*\).*/\1/p') || return 1
  [ "${minor:-0}" -ge $go_wanted ]
}

# Go's own releases are modules too, which any Go fetches and checks as it does other modules. A module's files have no leave to run.
fetch_go() {
  local arch from
  case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) return 1 ;;
  esac
  from=$(cd / && GOFLAGS=-mod=mod go mod download -json "$go_module.$(uname -s | tr '[:upper:]' '[:lower:]')-$arch" |
    sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p') || return 1
  [ -d "$from" ] || return 1
  rm -rf "$cache/go" && mkdir -p "$cache" && cp -r "$from" "$cache/go" && chmod -R u+w "$cache/go" || return 1
  find "$cache/go/bin" "$cache/go/pkg/tool" -type f -exec chmod +x {} +
}

ensure_go() {
  if go_is_new go || go_is_new "$cache/go/bin/go"; then return; fi
  if ! command -v go >/dev/null; then
    case $(package_manager) in
      apt-get) install_packages golang-go || true ;;
      dnf) install_packages golang || true ;;
      apk | pacman | brew) install_packages go || true ;;
    esac
  fi
  if go_is_new go; then return; fi
  command -v go >/dev/null || { left_out Go "no package of this system has it: see https://go.dev/dl" && return 1; }
  echo "$(go version) is older than 1.$go_wanted: fetching a newer one as a module (some 70 MB, once)" >&2
  if fetch_go && go_is_new "$cache/go/bin/go"; then return; fi
  left_out Go "$(go version) is older than 1.$go_wanted, and no newer one could be fetched: see https://go.dev/dl"
  return 1
}

ensure_python() {
  local venv=$cache/componentize-py
  if componentize-py --version >/dev/null 2>&1 || "$venv/bin/componentize-py" --version >/dev/null 2>&1; then return; fi
  # Debian's python3 says that it has venv, but for the part that makes one.
  if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
    case $(package_manager) in
      apt-get) install_packages python3 python3-venv || true ;;
      dnf | apk) install_packages python3 || true ;;
      pacman | brew) install_packages python || true ;;
    esac
  fi
  if python3 -m venv "$venv" >&2 && "$venv/bin/pip" install -q --disable-pip-version-check -r sdk/python/requirements.txt >&2; then return; fi
  rm -rf "$venv"
  left_out Python "componentize-py could not be installed; Python 3.10 or newer with venv and pip can"
  return 1
}

languages=()
if scripts/wasm-target.sh >&2; then languages+=(rust); else left_out Rust "see what stands above"; fi
if ensure_go; then languages+=(go); fi
if ensure_python; then languages+=(python); fi
echo "${languages[*]}"
