#!/usr/bin/env bash
# A private Rust with std for wasm32-unknown-unknown and wasm32-wasip1, out of Debian packages, for machines
# where rustup cannot download the targets. Nothing is installed: /usr and rustup stay as they are.
#
#   xtask/wasm-toolchain.sh DEST      then: . DEST/env.sh; cargo build --target wasm32-unknown-unknown
#
# Needs cargo, apt-get, dpkg, about 2 GB of disk while it works, 3 minutes. DEST appears only when complete.
set -euo pipefail
fail() { echo "wasm-toolchain: $*" >&2; exit 1; }

[ $# = 1 ] || fail "usage: $0 DEST (a directory that does not exist yet, or an empty one)"
cargo=${CARGO:-cargo}
for tool in "$cargo" apt-get apt-cache dpkg; do
  command -v "$tool" >/dev/null || fail "$tool is needed and not on PATH"
done
[ ! -e "$1" ] || rmdir "$1" 2>/dev/null ||
  fail "$1 exists and is not empty: it is never overwritten, so remove it first to build it anew"
mkdir -p "$(dirname "$1")"
dest=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$dest.tmp
rm -rf "$work"
mkdir -p "$work/debs"
trap 'rm -rf "$work"' EXIT

# 1. The packages. `rustc-web` is Debian's newest Rust; the others follow from its version.
newest() { apt-cache show "$1" 2>/dev/null | sed -n 's/^Version: //p' | sort -V | tail -1; }
version=$(newest rustc-web)
if [ -z "$version" ]; then
  echo "wasm-toolchain: no package lists yet, running apt-get update"
  apt-get update -qq || fail "apt-get update failed (it needs root and a Debian mirror)"
  version=$(newest rustc-web)
fi
[ -n "$version" ] || fail "this system has no package rustc-web (Debian 12 has it)"
minor=$(echo "$version" | cut -d. -f1,2)
llvm=$(apt-cache show "libstd-rust-web-$minor=$version" | grep -o 'libllvm[0-9]*' | head -1 | tr -dc 0-9)
[ -n "$llvm" ] || fail "libstd-rust-web-$minor names no libllvm package: this script does not fit this Debian"
(cd "$work/debs" && apt-get download -q "rustc-web=$version" "rust-web-src=$version" \
  "libstd-rust-web-$minor=$version" "libstd-rust-web-dev=$version" "libllvm$llvm" "lld-$llvm" wasi-libc) ||
  fail "a package could not be downloaded: if it says 404, run apt-get update and try again"
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work"; done

# 2. std for both targets, from Debian's rust-src, with cargo's build-std.
usr=$work/usr
library=$usr/lib/rustlib/src/rust/library
libs=$(dirname "$(find "$usr/lib" -name 'librustc_driver-*.so' -print -quit)")
[ -e "$library/Cargo.toml" ] && [ -x "$usr/bin/wasm-ld-$llvm" ] && [ -e "$libs" ] ||
  fail "the packages do not hold what they did (rust-src, wasm-ld-$llvm, librustc_driver)"
wasi=$usr/lib/rustlib/wasm32-wasip1/lib/self-contained
mkdir -p "$wasi" "$work/nop/src"
cp "$usr"/lib/wasm32-wasi/{crt1-command.o,crt1-reactor.o,libc.a} "$wasi/"
cat > "$work/nop/Cargo.toml" <<X
[package]
name = "nop"
version = "0.1.0"
edition = "2021"
[profile.release]
panic = "abort"
[workspace]
X
: > "$work/nop/src/lib.rs"
# What the caller set for its own build must not reach this one.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS RUSTC_WORKSPACE_WRAPPER
for target in wasm32-unknown-unknown wasm32-wasip1; do
  # Bitcode for link-time optimization; paths remapped so that guests do not carry this machine's.
  (cd "$work/nop" && LD_LIBRARY_PATH=$libs RUSTC=$usr/bin/rustc RUSTC_WRAPPER= RUSTC_BOOTSTRAP=1 \
    RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=$library=/rustc/library --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    "$cargo" build --quiet --release -Zbuild-std=std,panic_abort --target "$target") ||
    fail "building std for $target failed; cargo's message is above (it needs crates.io for std's dependencies)"
  mkdir -p "$usr/lib/rustlib/$target/lib"
  cp "$work/nop/target/$target/release/deps"/lib*.{rlib,rmeta} "$usr/lib/rustlib/$target/lib/"
  rm -f "$usr/lib/rustlib/$target/lib"/libnop*
  echo "wasm-toolchain: std for $target is built"
done

# 3. Only what building guests needs stays; then the move, which makes it visible at once.
rm -rf "$work/debs" "$work/nop" "$usr/lib/rustlib/src" "$usr/share" "$usr/src"
cat > "$work/env.sh" <<X
export LD_LIBRARY_PATH='$dest/${libs#"$work"/}' RUSTC='$dest/usr/bin/rustc'
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER='$dest/usr/bin/wasm-ld-$llvm' CARGO_TARGET_WASM32_WASIP1_LINKER='$dest/usr/bin/wasm-ld-$llvm'
X
mv "$work" "$dest"
trap - EXIT
echo "wasm-toolchain: ready in $dest ($(du -sh "$dest" | cut -f1)); use it with: . $dest/env.sh"
