#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""systemd takes every directive of the units, and their filters let through what vgpud's own filters let through.

usage: test_units.py syscalls.def jail.c UNIT..."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# What keeper and executors ask before their own filter is closed, besides @system-service.
EARLY = {'clone3', 'setresuid', 'setgroups', 'capset', 'prctl', 'setrlimit', 'landlock_restrict_self', 'seccomp', 'memfd_create'}


def accepted(unit):
    """Nothing to complain about, once the program is one that exists here."""
    text = re.sub(r'^(Exec\w+)=\S+', r'\1=/bin/true', unit.read_text(), flags=re.M)
    with tempfile.TemporaryDirectory() as d:
        copy = pathlib.Path(d) / unit.name
        copy.write_text(text)
        r = subprocess.run(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', str(copy)], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    complaints = [line for line in r.stdout.splitlines() if unit.name in line]
    assert r.returncode == 0 and not complaints, '\n'.join(complaints) or r.stdout


# systemd-analyze security, 0 is best: above it something of a unit's hardening was lost. docs/operating.md shows running
# units, which are a little better.
EXPOSURE = {'vgpud.service': 3.7, 'vgpu-agent.service': 1.5, 'vgpu-doctor.service': 3.0}


def exposure(unit):
    r = subprocess.run(['systemd-analyze', 'security', '--offline=yes', '--no-pager', str(unit)], text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=60)
    return float(re.search(r'Overall exposure level for \S+: ([\d.]+)', r.stdout)[1])


def refuses_nonsense():
    with tempfile.TemporaryDirectory() as d:
        bad = pathlib.Path(d) / 'bad.service'
        bad.write_text('[Service]\nExecStart=/bin/true\nProtectEverything=yes\n')
        r = subprocess.run(['systemd-analyze', 'verify', '--man=no', str(bad)], text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=60)
    assert 'ProtectEverything' in r.stdout, 'systemd-analyze complains about nothing here'


def members(name):
    if not name.startswith('@'):
        return {name}
    r = subprocess.run(['systemd-analyze', 'syscall-filter', name], text=True, stdout=subprocess.PIPE, check=True)
    words = [line.strip() for line in r.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith('#')]
    return set().union(*[members(w) for w in words])


def allowed(unit):
    calls = set()
    for line in re.findall(r'^SystemCallFilter=(.*)$', unit.read_text(), re.M):
        group = set().union(*[members(n) for n in line.lstrip('~').split()])
        calls = calls - group if line.startswith('~') else calls | group
    return calls


def main():
    if not shutil.which('systemd-analyze'):
        print('skipped: systemd-analyze is not installed')
        return 77
    table, jail, units = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), [pathlib.Path(p) for p in sys.argv[3:]]
    refuses_nonsense()
    for unit in units:
        accepted(unit)
        level = exposure(unit)
        assert level <= EXPOSURE[unit.name], f'{unit.name}: exposure {level}, was at most {EXPOSURE[unit.name]}'
        print('ok', unit.name, 'exposure', level)
    own = set(re.findall(r'^[SNF]\((\w+),', table.read_text(), re.M)) | set(re.findall(r'SCMP_SYS\((\w+)\)', jail.read_text()))
    missing = (own | EARLY) - allowed(units[0])
    assert len(own) > 60 and not missing, f'vgpud.service does not let through {sorted(missing)}'
    for call in ('init_module', 'ptrace', 'reboot', 'swapon', 'iopl'):
        assert call not in allowed(units[0]), call
    print('ok system calls')
    return 0


if __name__ == '__main__':
    sys.exit(main())
