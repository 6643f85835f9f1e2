# shellcheck shell=bash
# How a missing tool gets onto this machine: by the system's own package manager. Sourced, never run.

system_name() {
  if [ -r /etc/os-release ]; then
    (. /etc/os-release && echo "${PRETTY_NAME:-$ID}")
  else
    uname -sr
  fi
}

package_manager() {
  local manager
  for manager in apt-get dnf apk pacman brew; do
    if command -v "$manager" >/dev/null; then
      echo "$manager"
      return
    fi
  done
}

# as_root COMMAND...: runs it as root, through sudo where needed.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "this needs root, and there is no sudo: run as root: $*" >&2
    return 1
  fi
}

# install_packages PACKAGE...: by the manager that package_manager found. Output goes to stderr.
install_packages() {
  case $(package_manager) in
    apt-get)
      # An image without package lists knows no package at all.
      apt-cache show "$1" >/dev/null 2>&1 || as_root apt-get update >&2
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
      ;;
    dnf) as_root dnf install -y "$@" >&2 ;;
    apk) as_root apk add "$@" >&2 ;;
    pacman) as_root pacman -Sy --noconfirm --needed "$@" >&2 ;;
    brew) brew install "$@" >&2 ;;
    *) return 1 ;;
  esac
}
