#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: build-ko.sh --headers              print the kernel build directory to use; 1 if there is none
#        build-ko.sh KDIR OUT.ko SOURCE...  build out of tree; layout.h among SOURCE goes to wire/
set -eu
if [ "$1" = --headers ]; then
	# Cloud kernels first: the test VMs boot them. Then the running kernel's, then the newest.
	for d in $(ls -d /lib/modules/*-cloud-*/build 2>/dev/null | sort -rV) \
		"/lib/modules/$(uname -r)/build" $(ls -d /lib/modules/*/build 2>/dev/null | sort -rV); do
		if [ -e "$d/Makefile" ]; then
			echo "$d"
			exit 0
		fi
	done
	exit 1
fi
kdir=$1 out=$2
shift 2
work=$out.build
rm -rf "$work"
mkdir -p "$work/wire"
for f in "$@"; do
	case $f in
	*/layout.h) cp "$f" "$work/wire/" ;;
	*) cp "$f" "$work/" ;;
	esac
done
log=$(readlink -f "$work").log
# make's own variables would reach the kernel's build system.
if ! env -u MAKEFLAGS -u MAKELEVEL make -C "$work" KDIR="$kdir" W=1 KCFLAGS=-Werror >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
strip --strip-debug -o "$out" "$work/vgpu_stub.ko"
rm -rf "$work"
