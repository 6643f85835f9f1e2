#!/usr/bin/env bash
# Finds or makes a rustc that builds for wasm32-unknown-unknown, and writes $WASM_HOME/env.sh, which whoever builds
# plugins sources (it sets RUSTC where the active toolchain will not do). Three ways, the first that works:
#
#   the active toolchain has the target          nothing to do
#   TIDEMILL_WASM=rustup                         `rustup target add`, from rustup's own server
#   Debian, Ubuntu                               the distribution's rustc-web and its std source, unpacked into
#                                                $WASM_HOME without root; std is built there once (about 90 s)
#
# The installed toolchain is never changed. One target folder must see one $WASM_HOME: cargo takes two compilers of the
# same version for one, and then fails with E0463.
set -euo pipefail

target=wasm32-unknown-unknown
home=${WASM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill-wasm}
way=${TIDEMILL_WASM:-auto}

fail() { echo "wasm: $*" >&2; exit 1; }

has_target() {
    compgen -G "$("$1" --print target-libdir --target $target)/libcore-*.rlib" >/dev/null
}

# The wasm linker and the component linker are part of every rustup toolchain, and of no Debian package.
link_linkers() {
    local host from into
    host=$(rustc -vV | sed -n 's/^host: //p')
    from=$(rustc --print sysroot)/lib/rustlib/$host/bin
    into=$home/usr/lib/rustlib/$host/bin
    [ -e "$from/wasm-component-ld" ] || fail "this Rust has no wasm-component-ld: install Rust by rustup, then run this again"
    mkdir -p "$into"
    ln -sfn "$from/rust-lld" "$into/rust-lld"
    [ -e "$into/wasm-component-ld" ] || ln -sfn "$from/wasm-component-ld" "$into/wasm-component-ld"
}

candidate() { apt-cache policy rustc-web | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

unpack_packages() {
    local version=$1 packages deb
    # What apt would install, less what is there already.
    packages=$(apt-get install -s --no-install-recommends rustc-web rust-web-src 2>/dev/null | awk '/^Inst / { sub(":.*", "", $2); print $2 }')
    [ -n "$packages" ] || packages="rustc-web rust-web-src libstd-rust-web-${version%.*} libstd-rust-web-dev"
    mkdir -p "$home/debs"
    # shellcheck disable=SC2086 # a list of package names
    (cd "$home/debs" && apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download $packages)
    for deb in "$home"/debs/*.deb; do
        case $deb in
            */rust-web-src_*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$home" --wildcards './usr/src/rustc-*/library' './usr/lib/rustlib/src/rust' ;;
            *) dpkg-deb -x "$deb" "$home" ;;
        esac
    done
    rm -rf "${home:?}/debs" "${home:?}/usr/share"
}

# Debian's rustc finds its libraries by the system's loader path, so it needs a wrapper that names the folder.
wrap_rustc() {
    local driver
    driver=$(compgen -G "$home/usr/lib/*/librustc_driver-*.so" | head -n 1) || fail "rustc-web came without its compiler library"
    mkdir -p "$home/bin"
    cat > "$home/bin/rustc" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH="$(dirname "$driver")\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "$home/usr/bin/rustc" "\$@"
WRAPPER
    chmod +x "$home/bin/rustc"
}

build_std() {
    local crate=$home/std lib=$home/usr/lib/rustlib/$target/lib
    mkdir -p "$crate/src"
    echo '#![no_std]' > "$crate/src/lib.rs"
    printf '[package]\nname = "std-for-wasm"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[profile.release]\ndebug = 0\ncodegen-units = 4\n' > "$crate/Cargo.toml"
    # The remapped path keeps this machine's folders out of panic messages, so that components are the same everywhere.
    (cd "$crate" && RUSTC=$home/bin/rustc RUSTC_BOOTSTRAP=1 RUSTC_WRAPPER='' CARGO_TARGET_DIR=$crate/target \
        RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=$home/usr/lib/rustlib/src/rust=/rust" \
        cargo build -q --release --target $target -Zbuild-std=std,panic_abort)
    rm -rf "$lib"
    mkdir -p "$lib"
    cp "$crate/target/$target/release/deps/"*.rlib "$lib/"
    rm -rf "$lib"/libstd_for_wasm-* "$crate"
}

mkdir -p "$home"
home=$(cd "$home" && pwd)

if [ "$way" = rustup ]; then timeout 300 rustup target add $target; fi
if [ "$way" != debian ] && has_target rustc; then
    echo 'unset RUSTC' > "$home/env.sh"
    echo "wasm: the active toolchain has $target"
    exit 0
fi

command -v apt-get >/dev/null || fail "no $target here: run \`rustup target add $target\`, then this again"
version=$(candidate)
if [ -z "$version" ]; then
    apt-get update -qq || true
    version=$(candidate)
fi
[ -n "$version" ] || fail "apt knows no rustc-web: run \`rustup target add $target\`, or \`apt-get update\` as root, then this again"

if [ "$(cat "$home/stamp" 2>/dev/null)" = "$version" ] && has_target "$home/bin/rustc"; then
    echo "wasm: rustc ${version%%+*} in $home is ready"
    exit 0
fi
echo "wasm: unpacking rustc ${version%%+*} into $home and building std for $target: about 2 minutes, once"
rm -rf "${home:?}"/{debs,usr,bin,std,stamp}
unpack_packages "${version%%+*}"
wrap_rustc
link_linkers
build_std
has_target "$home/bin/rustc" || fail "the std that was built is not where $home/bin/rustc looks"
echo "export RUSTC='$home/bin/rustc'" > "$home/env.sh"
echo "$version" > "$home/stamp"
echo "wasm: ready"
