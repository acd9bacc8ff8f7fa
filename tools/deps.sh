#!/bin/sh
# What the build, the tests and the demo need from Debian main (bookworm, trixie).
# usage: deps.sh [--check]   installs what is missing; without root or sudo prints the apt line, exit 1.
set -eu
pkgs="gcc clang llvm lld make meson ninja-build pkg-config python3 libc6-dev libclang-rt-dev
 libseccomp-dev libsqlite3-dev libjansson-dev liblz4-dev libzstd-dev libcmocka-dev
 qemu-system-x86 seabios ipxe-qemu ffmpeg linux-image-cloud-amd64 linux-headers-cloud-amd64
 busybox-static cpio squashfs-tools kmod valgrind gcovr mandoc clang-format clang-tidy"
# Debian 12 has no unversioned libclang-rt-dev.
apt-cache show libclang-rt-dev >/dev/null 2>&1 || pkgs=$(echo "$pkgs" | sed 's/libclang-rt-dev/libclang-rt-14-dev/')
missing=
for p in $pkgs; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
line="apt-get install -y --no-install-recommends$missing"
if [ "${1-}" = --check ]; then
	echo "missing:$missing"; exit 1
elif [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	sudo=sudo
else
	echo "These packages are missing and need root to install; nothing was changed. Run:" >&2
	echo "  sudo $line" >&2
	exit 1
fi
echo "installing:$missing"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo $line >/dev/null
