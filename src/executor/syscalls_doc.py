#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: syscalls_doc.py SYSCALLS.DEF OUT.md  --  the executor's allowed system calls as a table."""
import re
import sys

rows = re.findall(r'^([SN])\((\w+), "([^"]*)"\)$', open(sys.argv[1]).read(), re.M)
assert rows, 'no system calls found'
with open(sys.argv[2], 'w') as out:
    out.write('# System calls an executor may make once jailed\n\nEverything else fails with EPERM; clone only for '
              'threads, clone3 with ENOSYS so that libc uses clone.\n\n| call | why | when |\n|---|---|---|\n')
    for kind, name, why in rows:
        out.write(f'| {name} | {why} | {"always" if kind == "S" else "NVIDIA driver only"} |\n')
