#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A file as C data: embed.py IN OUT.c NAME -> const char NAME[] (NUL-terminated), NAME_size."""
import sys

data = open(sys.argv[1], 'rb').read()
name = sys.argv[3]
with open(sys.argv[2], 'w') as out:
    out.write('/* SPDX-License-Identifier: Apache-2.0 */\n#include <stddef.h>\n')
    out.write(f'extern const char {name}[];\nextern const size_t {name}_size;\n')
    out.write(f'const char {name}[] __attribute__((aligned(16))) = {{\n')
    for i in range(0, len(data), 16):
        out.write(''.join(f'{b - 256 if b > 127 else b},' for b in data[i:i + 16]) + '\n')
    out.write(f'0}};\nconst size_t {name}_size = {len(data)};\n')
