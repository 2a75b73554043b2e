#!/usr/bin/env bash
# A private Ollama, built from its Go module: the tests of `inference` run beside it. Nothing is installed.
#
#   xtask/ollama.sh v0.13.5 DEST      then: DEST/ollama serve
#
# The module lacks three headers of C++ libraries that its repository has: two come from Debian, one from a Go module
# that carries it. Needs go, a C++ compiler, apt-get, dpkg, 1.5 GB of disk while it works, 8 minutes of two cores.
# It is built for this machine's processor. DEST appears only when complete.
set -euo pipefail
fail() { echo "ollama: $*" >&2; exit 1; }

miniaudio=github.com/gen2brain/malgo@v0.11.23

[ $# = 2 ] || fail "usage: $0 VERSION DEST (a directory that does not exist yet)"
version=$1
[ ! -e "$2" ] || fail "$2 exists: it is never overwritten, so remove it first to build it anew"
# Where Go's own archive is unpacked; who has it there may not have it on PATH.
PATH=$PATH:/usr/local/go/bin
for tool in go "${CC:-gcc}" "${CXX:-g++}" apt-get apt-cache dpkg; do
  command -v "$tool" >/dev/null || fail "$tool is needed and not on PATH"
done
mkdir -p "$(dirname "$2")"
dest=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
work=$dest.tmp
rm -rf "$work"
mkdir -p "$work/debs" "$work/include/miniaudio" "$work/bin"
trap 'rm -rf "$work"' EXIT

# 1. The headers.
headers=(nlohmann-json3-dev libstb-dev)
if ! apt-cache show "${headers[@]}" >/dev/null 2>&1; then
  echo "ollama: no package lists yet, running apt-get update"
  apt-get update -qq || fail "apt-get update failed (it needs root and a Debian mirror)"
fi
(cd "$work/debs" && apt-get download -q "${headers[@]}") ||
  fail "a package could not be downloaded: if it says 404, run apt-get update and try again"
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/debs"; done
cp -r "$work"/debs/usr/include/{nlohmann,stb} "$work/include/" ||
  fail "the packages do not hold what they did (nlohmann/json.hpp, stb/stb_image.h)"

# Go's caches are as large as what it downloads and compiles: they are not kept. Without the flag they could not be
# removed, because Go makes them read-only.
export GOPATH=$work/go GOCACHE=$work/cache GOFLAGS=-modcacherw GOBIN=$work/bin CGO_ENABLED=1
module=$(cd "$work" && go mod download -json "$miniaudio" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') && [ -n "$module" ] ||
  fail "$miniaudio could not be downloaded (it comes from Go's module proxy)"
cp "$module/miniaudio.h" "$work/include/miniaudio/"

# 2. The program. Without these instructions it computes ten times slower; Go's own default is a processor of 2003.
has() { local flag; for flag; do grep -qw "$flag" /proc/cpuinfo || return 1; done; }
fast="-O3 -w"
! has avx2 fma f16c || fast="$fast -mavx2 -mfma -mf16c"
CGO_CPPFLAGS="-I$work/include" CGO_CFLAGS=$fast CGO_CXXFLAGS=$fast \
  go install -trimpath -ldflags="-s -w" "github.com/ollama/ollama@$version" ||
  fail "building github.com/ollama/ollama@$version failed; the compiler's message is above"

# 3. Only the program stays; then the move, which makes it visible at once.
mkdir "$work/done"
mv "$work/bin/ollama" "$work/done/ollama"
mv "$work/done" "$dest"
echo "ollama: ready in $dest ($(du -sh "$dest" | cut -f1))"
