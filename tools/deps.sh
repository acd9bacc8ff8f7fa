#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the build, the tests and the demo need from Debian main; the names are the same in
# bookworm (12) and trixie (13).
# usage: deps.sh [--check]   installs what is missing; without root or sudo prints the apt line, exit 1.
set -eu
build="gcc clang lld make meson ninja-build pkg-config python3 libc6-dev
 libxml2-dev libyaml-dev nettle-dev zlib1g-dev liblzma-dev libbz2-dev pciutils zstd
 libseccomp-dev libsqlite3-dev libjansson-dev libmicrohttpd-dev liblz4-dev libzstd-dev libcmocka-dev"
# The cloud kernel is the guest's: small, with virtio and without drivers for hardware.
vm="qemu-system-x86 seabios ipxe-qemu linux-image-cloud-amd64 linux-headers-cloud-amd64
 busybox-static cpio squashfs-tools kmod xz-utils perl"
# valgrind needs the C library's symbols; Debian only recommends them, and we install no recommendations.
# A real libvirtd for the guide's <shmem>, without its system services: 13 MB.
libvirt="libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients"
# "make deb", the module's package built by DKMS as a guest does it, and a Debian of its own to install them in.
packages="debhelper dh-dkms dkms mmdebstrap"
check="ffmpeg libffmpeg-nvenc-dev valgrind libc6-dbg llvm libclang-rt-dev mandoc clang-format clang-tidy"
missing=
for p in $build $vm $check $packages $libvirt; do
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
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# apt fails late and says why at the end: keep its words for that case only.
{ $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive $line; } >"$log" 2>&1 || {
	tail -15 "$log" >&2
	echo "apt could not install:$missing" >&2
	exit 1
}
