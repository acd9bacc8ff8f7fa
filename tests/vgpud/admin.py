#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-admin as its user meets it: what it prints, what it refuses, its exit status."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
from harness import ADMIN, Peer, Vgpud, main  # noqa: E402

DONE, REFUSED, USAGE, UNREACHABLE = range(4)


def admin(v, *args, status=DONE):
    """Standard output when all went well, else the one error line."""
    r = subprocess.run([str(ADMIN), '--run-dir', str(v), *args], text=True, capture_output=True, timeout=30)
    assert r.returncode == status, (args, r)
    if status == DONE:
        return r.stdout
    errors = [line for line in r.stderr.splitlines() if ': error: ' in line]
    assert len(errors) == 1 and not r.stdout, r
    return errors[0]


def row(table, name):
    """{title: cell} of the row with this name; columns are two spaces apart."""
    lines = [[c.strip() for c in line.split('  ') if c.strip()] for line in table.splitlines()]
    found = [cells for cells in lines[1:] if name in cells]
    assert len(found) == 1, table
    return dict(zip(lines[0], found[0]))


def test_life_of_a_vm():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--priority', 'high', '--weight', '30', '--quota', '512M', '--job-timeout', '5s')
        admin(v.run, 'register-vm', 'b', '--priority=low', '--weight=60', '--quota=1G')
        a = row(admin(v.run, 'list-vms'), 'a')
        assert a['PRIORITY'] == 'high' and a['WEIGHT'] == '30' and a['QUOTA'] == '512 MiB', a
        assert a['SHARE'] == '66.7 %', a  # 4 x 30 of 4 x 30 + 1 x 60
        shown = admin(v.run, 'show-vm', 'a')
        assert 'high' in shown and '512 MiB' in shown, shown
        peer = Peer(v.run, 'a')
        assert row(admin(v.run, 'list-vms'), 'a')['CONNECTIONS'] == '1'
        peer.sock.close()
        assert 'a' in admin(v.run, 'status')
        admin(v.run, 'remove-vm', 'b')
        assert 'b' not in [line.split()[1] for line in admin(v.run, 'list-vms').splitlines()]
        assert 'b' in admin(v.run, 'show-vm', 'b', status=REFUSED)


def test_json_says_the_same():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        assert json.loads(admin(v.run, '--json', 'list-vms')) == v.ok('list-vms')
        assert json.loads(admin(v.run, '--json', 'show-vm', 'a'))['quota'] == 512 << 20
        assert isinstance(json.loads(admin(v.run, 'timeline')), dict)
        assert json.loads(admin(v.run, '--json', 'status'))


def test_refusals_change_nothing():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        before = v.ok('list-vms')
        admin(v.run, 'register-vm', 'a', status=REFUSED)
        admin(v.run, 'remove-vm', 'nobody', status=REFUSED)
        admin(v.run, 'clear-quarantine', 'nobody', status=REFUSED)
        admin(v.run, 'register-vm', 'big', '--quota', '900000G', status=REFUSED)
        for option, value in (('--weight', '0'), ('--weight', '101'), ('--priority', 'urgent')):
            assert option[2:] in admin(v.run, 'register-vm', 'c', option, value, status=REFUSED)
        assert v.ok('list-vms') == before


def test_wrong_usage():
    with tempfile.TemporaryDirectory() as d:
        for words in (['no-such-command'], ['show-vm'], ['list-vms', 'x'], ['register-vm', 'a', '--quota', '12Q'], ['register-vm', 'a', '--unknown', '1'],
                      ['register-vm', 'a', '--quota'], ['status', '--weight', '3']):
            error = admin(d, *words, status=USAGE)
            assert any(w in error for w in words), (words, error)
        assert 'run/openvgpu' not in admin(pathlib.Path(d) / 'none', 'status', status=UNREACHABLE)


def test_help():
    r = subprocess.run([str(ADMIN), '--help'], text=True, capture_output=True, timeout=30)
    assert r.returncode == 0
    for command in ('register-vm', 'remove-vm', 'list-vms', 'show-vm', 'status', 'timeline', 'clear-quarantine', 'exit status'):
        assert command in r.stdout, command


if __name__ == '__main__':
    sys.exit(main(globals()))
