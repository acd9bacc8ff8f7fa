#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: syscalls_doc.py SYSCALLS.DEF OUT.md      the executor's allowed system calls as a table
       syscalls_doc.py --check SYSCALLS.DEF DOC.md  fails unless DOC.md holds that very table"""
import re
import sys

WHEN = {'S': 'always', 'N': "with NVIDIA's driver only"}


def table(path):
    text = open(path, encoding='utf-8').read()
    rows = re.findall(r'^([SNF])\((\w+), "([^"]*)"(?:, "([^"]*)")?\)$', text, re.M)
    if len(rows) != len(re.findall(r'^[SNF]\(', text, re.M)) or not rows:
        sys.exit(f'{path}: a line is not S(name, why), N(name, why) or F(name, why, how)')
    return '| call | why | when |\n|---|---|---|\n' + ''.join(
        f'| {name} | {why} | {WHEN.get(kind) or how} |\n' for kind, name, why, how in rows)


if sys.argv[1] == '--check':
    if table(sys.argv[2]) not in open(sys.argv[3], encoding='utf-8').read():
        sys.exit(f'{sys.argv[3]}: its table of system calls is not that of {sys.argv[2]}: '
                 'make it anew with src/executor/syscalls_doc.py')
else:
    with open(sys.argv[2], 'w', encoding='utf-8') as out:
        out.write('# System calls an executor may make once jailed\n\nEverything else fails with EPERM.\n\n' +
                  table(sys.argv[1]))
