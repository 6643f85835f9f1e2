#!/usr/bin/env bash
# Makes sure that what compiles Tidemill is there: Rust (asked for, never installed behind your back) and a C compiler
# (SQLite and the TLS library hold C; installed by the system's package manager where missing).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/packages.sh
. "$root/scripts/packages.sh"
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")

# at_least HAVE WANT: of two versions.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
  echo "cargo and rustc are missing: install Rust $wanted or newer by rustup, open a new shell, then try again" >&2
  exit 1
fi
have=$(rustc --version | cut -d' ' -f2)
if ! at_least "${have%%-*}" "$wanted"; then
  echo "rustc is $have, Tidemill needs $wanted or newer: \`rustup update stable\`, then try again" >&2
  exit 1
fi

if ! command -v "${CC:-cc}" >/dev/null; then
  manager=$(package_manager)
  echo "installing a C compiler by ${manager:-hand}, since there is none (usually half a minute)" >&2
  case $manager in
    apt-get) install_packages gcc libc6-dev ;;
    dnf) install_packages gcc ;;
    apk) install_packages gcc musl-dev ;;
    pacman) install_packages gcc ;;
    brew) echo "run \`xcode-select --install\`, then try again" >&2 && exit 1 ;;
    *) echo "$(system_name) is not known to this script: install a C compiler called \`cc\`, then try again" >&2 && exit 1 ;;
  esac
fi
