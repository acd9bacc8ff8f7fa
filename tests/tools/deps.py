#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `make` says on a machine that lacks packages, to a user who may not install any.

usage: deps.py ROOT

The machine is pretended: dpkg-query, id, sudo and apt-get are ours, first in PATH. Fails when anything
is installed or built, when the line to type is missing or names a package that is there.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

MISSING = 'libcmocka-dev', 'qemu-system-x86'
FAKES = {
    'dpkg-query': 'for p; do :; done; case $p in %s) exit 1;; esac; echo install ok installed' % '|'.join(MISSING),
    'id': 'echo 1000',
    'sudo': 'exit 1',  # asks for a password nobody gives
    'apt-get': 'echo "$@" >>"$CALLS"',
}


def run(folder, uid, *cmd):
    (folder / 'id').write_text(f'#!/bin/sh\necho {uid}\n')
    env = dict(os.environ, PATH=f'{folder}:/usr/bin:/bin', CALLS=str(folder / 'calls'), LC_ALL='C')
    for name in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS'):
        env.pop(name, None)
    return subprocess.run(cmd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main():
    root = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder, build = pathlib.Path(name) / 'bin', pathlib.Path(name) / 'build'
        folder.mkdir()
        for fake, script in FAKES.items():
            (folder / fake).write_text(f'#!/bin/sh\n{script}\n')
            (folder / fake).chmod(0o755)
        line = 'apt-get install -y --no-install-recommends ' + ' '.join(sorted(MISSING))

        made = run(folder, 1000, 'make', '-C', str(root), f'BUILD={build}')
        assert made.returncode != 0, made.stdout
        assert '  sudo ' + line in made.stdout.splitlines(), made.stdout
        assert os.listdir(name) == ['bin'], os.listdir(name)
        assert not (folder / 'calls').exists(), (folder / 'calls').read_text()

        checked = run(folder, 1000, str(root / 'tools/deps.sh'), '--check')
        assert checked.returncode == 1 and checked.stdout == 'missing: ' + ' '.join(sorted(MISSING)) + '\n', checked.stdout

        # The same as root: exactly that line runs, without sudo.
        rooted = run(folder, 0, str(root / 'tools/deps.sh'))
        calls = (folder / 'calls').read_text().splitlines()
        assert rooted.returncode == 0 and calls == ['update', line.removeprefix('apt-get ')], (rooted.stdout, calls)
    print('ok deps')


main()
