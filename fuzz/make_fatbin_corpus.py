#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpus of fuzz/fatbin.c: fat binaries in every form the reader knows, and broken ones.

usage: make_fatbin_corpus.py DIRECTORY

Compression without a library: an LZ4 block of literals only, a zstd frame of one raw block."""
import os
import struct
import sys

PTX = b"\n.version 6.0\n.target sm_%d\n.address_size 64\n.visible .entry k()\n{\n\tret;\n}\n\0"


def lz4(data):
    n = len(data)
    head = bytes([0xF0]) + b"\xff" * ((n - 15) // 255) + bytes([(n - 15) % 255]) if n >= 15 else bytes([n << 4])
    return head + data


def zstd(data):
    n = len(data)
    size = bytes([0x20, n]) if n < 256 else bytes([0x60]) + struct.pack("<H", n - 256)
    return b"\x28\xb5\x2f\xfd" + size + struct.pack("<I", n << 3 | 1)[:3] + data


def entry(kind, arch, payload, flags=1, plain=0, header=64):
    padded = (len(payload) + 7) & ~7
    compressed = len(payload) if plain else 0
    h = struct.pack("<HHIQIIHHIIIQQQ", kind, 0x0101, header, padded, compressed, 0, 0, 9, arch, 0, 0, flags, 0, plain)
    return h + bytes(header - 64) + payload.ljust(padded, b"\xcd" if plain else b"\0")


def container(*entries, size=None):
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body) if size is None else size) + body


def main():
    p = lambda arch: PTX % arch
    good = container(entry(1, 75, p(75)))
    files = {
        "plain": good,
        "lz4": container(entry(1, 75, lz4(p(75)), 0x2001, len(p(75)))),
        "zstd": container(entry(1, 75, zstd(p(75)), 0x8001, len(p(75)), header=80)),
        "several": container(entry(2, 75, b"\x7fELF" + bytes(60)), entry(1, 50, p(50)), entry(1, 70, zstd(p(70)), 0x8001, len(p(70))), entry(1, 90, p(90), 0x100001)),
        "cubin_only": container(entry(2, 75, b"\x7fELF" + bytes(60))),
        "newer_only": container(entry(1, 90, p(90))),
        "lto": container(entry(8, 75, b"BC\xc0\xde" + bytes(28), 0x10001)),
        "empty": container(),
        "truncated": good[:-9],
        "short_header": good[:12],
        "size_overflow": container(entry(1, 75, p(75)), size=2**64 - 8),
        "entry_too_long": good[:24] + struct.pack("<Q", 2**63) + good[32:],
        "lz4_lies": container(entry(1, 75, lz4(p(75)), 0x2001, len(p(75)) + 1000)),
        "zstd_bomb": container(entry(1, 75, zstd(p(75)), 0x8001, 2**40)),
        "both_methods": container(entry(1, 75, lz4(p(75)), 0xA001, len(p(75)))),
        "ptx": p(75),
        "elf": b"\x7fELF" + bytes(64),
        "noise": bytes(range(256)),
    }
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, data in files.items():
        with open(os.path.join(sys.argv[1], name), "wb") as f:
            f.write(data)


main()
