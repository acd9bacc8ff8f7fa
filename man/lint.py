#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The manual: mandoc has nothing to warn of, and nothing is left out.

usage: lint.py SOURCE-ROOT VGPUD PROGRAM...
Fails for a warning of mandoc, a reference to a page of ours that there is none of, a program without a page, a key of the
configuration or a command of the control socket without a word. (Style, the length of lines for instance, is not judged.)
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT, VGPUD, PROGRAMS = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
PAGES = {p.name: p for p in (ROOT / 'man').glob('*.[1-8]')}


def words(text):
    """What mdoc marks as a command or key, with what stands beside it on the line."""
    return set(w for line in re.findall(r'^\.It Cm (.*)$', text, re.M) for w in re.findall(r'[a-z][a-z-]+', line))


def main():
    if not shutil.which('mandoc'):
        print('skipped: mandoc is not installed')
        return 77
    wrong = []
    for name, path in sorted(PAGES.items()):
        r = subprocess.run(['mandoc', '-Tlint', '-Wwarning', str(path)], capture_output=True, text=True)
        wrong += (r.stdout + r.stderr).splitlines()
        for page, section in re.findall(r'^\.Xr (\S+) (\d)', path.read_text(), re.M):
            if re.match(r'vgpu|openvgpu', page) and f'{page}.{section}' not in PAGES:
                wrong.append(f'{name}: there is no {page}({section})')
    for program in PROGRAMS:
        program = pathlib.Path(program).name
        if not any(f'{program}.{s}' in PAGES for s in (1, 8)):
            wrong.append(f'{program} has no page')
    conf = words(PAGES['vgpud.conf.5'].read_text())
    shown = subprocess.run([VGPUD, 'print-config'], capture_output=True, text=True, check=True).stdout
    keys = re.findall(r'^([a-z-]+) =', shown, re.M)
    assert len(keys) > 15, shown
    wrong += [f'vgpud.conf.5: nothing about {k}' for k in keys if k not in conf]
    table = ''.join(p.read_text() for p in sorted((ROOT / 'src/vgpud/broker').glob('commands*.c')))
    commands = re.findall(r'\{"([a-z-]+)", (?:true|false), cmd_', table)
    assert len(commands) > 15, commands
    told = words(PAGES['vgpu-control.7'].read_text())
    wrong += [f'vgpu-control.7: nothing about {c}' for c in commands if c not in told]
    print('\n'.join(wrong))
    print(f'{len(PAGES)} pages, {len(keys)} keys, {len(commands)} commands')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
