#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""C source of a library to link against, never to run: one symbol per name the programs may use.

usage: stub.py HEADER OUT.c -- HEADER's prototypes name the symbols.
"""
import re
import sys

names = sorted(set(re.findall(r'\b(cu[A-Z]\w*)\s*\(', open(sys.argv[1]).read())))
if len(names) < 100:
    sys.exit(f'{sys.argv[1]}: only {len(names)} prototypes found')
with open(sys.argv[2], 'w') as out:
    out.write('/* SPDX-License-Identifier: Apache-2.0 */\n')
    for n in names:
        out.write(f'int {n}(void);\nint {n}(void) {{ return 34; }} /* CUDA_ERROR_STUB_LIBRARY */\n')
