#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Write a CUDA fat binary from PTX: fatbin.py MODE IN.ptx OUT

MODE: plain | lz4 | zstd -- one PTX entry so stored
      mixed              -- a cubin no CPU can run, PTX for a newer device, then ours (zstd)
      elf                -- the cubin alone
Written from the format's description, not with the reader's code, so that the two check each other.
"""
import ctypes
import struct
import sys

CONTAINER_MAGIC, CONTAINER_HEADER = 0xba55ed50, 16
ENTRY_HEADER = 64
PTX, CUBIN = 1, 2
FLAG_64BIT, FLAG_LINUX, FLAG_LZ4, FLAG_ZSTD = 0x1, 0x10, 0x2000, 0x8000


def lz4_block(data):
    lib = ctypes.CDLL('liblz4.so.1')
    out = ctypes.create_string_buffer(lib.LZ4_compressBound(len(data)))
    n = lib.LZ4_compress_default(data, out, len(data), len(out))
    assert n > 0
    return out.raw[:n]


def zstd_frame(data):
    lib = ctypes.CDLL('libzstd.so.1')
    lib.ZSTD_compressBound.restype = lib.ZSTD_compress.restype = ctypes.c_size_t
    lib.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
    lib.ZSTD_compress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    out = ctypes.create_string_buffer(lib.ZSTD_compressBound(len(data)))
    n = lib.ZSTD_compress(out, len(out), data, len(data), 9)
    assert 0 < n <= len(out)
    return out.raw[:n]


def entry(kind, data, arch, how='plain'):
    flags, stored = FLAG_64BIT | FLAG_LINUX, data
    if how == 'lz4':
        flags, stored = flags | FLAG_LZ4, lz4_block(data)
    elif how == 'zstd':
        flags, stored = flags | FLAG_ZSTD, zstd_frame(data)
    compressed = len(stored) if how != 'plain' else 0
    # Padding is not zeros in real files; a reader that takes it for payload must fail here too.
    padded = stored + b'\xa5' * (-len(stored) % 8)
    header = struct.pack('<HHIQIIHHIIIQQQ', kind, 0x0101, ENTRY_HEADER, len(padded), compressed, 0, 3, 6, arch,
                         0, 0, flags, 0, len(data) if compressed else 0)
    assert len(header) == ENTRY_HEADER
    return header + padded


def container(*entries):
    body = b''.join(entries)
    return struct.pack('<IHHQ', CONTAINER_MAGIC, 1, CONTAINER_HEADER, len(body)) + body


def main():
    mode, source, target = sys.argv[1:]
    ptx = open(source, 'rb').read() + b'\0'
    cubin = b'\x7fELF\x02\x01\x01' + bytes(249)
    newer = ptx.replace(b'.target sm_75', b'.target sm_90').replace(b'constant_table', b'newer_device__')
    blob = {
        'plain': lambda: container(entry(PTX, ptx, 75)),
        'lz4': lambda: container(entry(PTX, ptx, 75, 'lz4')),
        'zstd': lambda: container(entry(PTX, ptx, 75, 'zstd')),
        'mixed': lambda: container(entry(CUBIN, cubin, 75), entry(PTX, newer, 90, 'zstd'), entry(PTX, ptx, 75, 'zstd')),
        'elf': lambda: container(entry(CUBIN, cubin, 75)),
    }[mode]()
    open(target, 'wb').write(blob)


if __name__ == '__main__':
    main()
