#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every read of keeper and broker from a BAR2, seen by readwatch.so while it is attacked.

The keeper reads nothing and maps nothing. The broker reads the wish page's generations and owners and nothing else: not
the header it writes itself, not a channel, not an extent; neither by an instruction nor by a system call.
"""
import fcntl
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile

from campaign import BUILD, TIRELESS, hostile, options
from harness import RUNNING, Peer, Vgpud, main, wait_for

WATCH = BUILD / 'tests/hostile/readwatch.so'
HEADER, WISH_SIZE, WANTED, OWNERS = 16 << 10, 16 << 10, 4 * 32, 8192
WORDS = (HEADER + WISH_SIZE) // 4
ARGS = options(__doc__, seconds=5)
sys.argv[1:] = []


class Watched(Vgpud):
    def __init__(self):
        super().__init__(*TIRELESS)
        self.seen = self.dir / 'seen'
        self.seen.mkdir()

    def environment(self, **more):
        # An instrumented program wants its own library first, but puts up with ours.
        asan = os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0:handle_segv=0'
        return dict(super().environment(**more), LD_PRELOAD=str(WATCH), VGPU_READWATCH=str(self.seen), ASAN_OPTIONS=asan)

    def reports(self):
        return {p.name.split('.')[0]: Report(p) for p in self.seen.iterdir()}


class Report:
    def __init__(self, path):
        data = path.read_bytes()
        self.windows, self.beyond, self.syscalls = struct.unpack_from('<III', data)
        self.reads = struct.unpack_from(f'<{WORDS}I', data, 16)
        self.writes = struct.unpack_from(f'<{WORDS}I', data, 16 + 4 * WORDS)

    def of(self, counts, first, size):
        return sum(counts[first // 4:(first + size) // 4])


def test_the_watch_sees():
    """A program that does read the header is caught, by instruction and by system call."""
    program = f'''
import mmap, os, fcntl
fd = os.memfd_create("bar", os.MFD_ALLOW_SEALING)
os.ftruncate(fd, 256 << 20)
fcntl.fcntl(fd, fcntl.F_ADD_SEALS, {fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL})
m = mmap.mmap(fd, {HEADER + WISH_SIZE})
m[100:104] = b"1234"
assert m[100:104] == b"1234"
assert m[{HEADER} + 8] == 0
os.pread(fd, 1, 0)
mmap.mmap(fd, 8 << 20)
'''
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(['/usr/bin/python3', '-c', program], check=True, timeout=60,
                       env={'LD_PRELOAD': str(WATCH), 'VGPU_READWATCH': d, 'PATH': '/usr/bin'})
        (path,) = pathlib.Path(d).iterdir()
        r = Report(path)
    assert r.windows == 2 and r.beyond == 1 and r.syscalls == 1, vars(r)
    assert r.reads[25] >= 1 and r.writes[25] >= 1 and r.reads[(HEADER + 8) // 4] >= 1


def attacked(v):
    """Every attack there is, a restart of the broker amid a running channel, and questions by an administrator."""
    v.ok('register-vm', name='a', quota=1 << 28)
    v.ok('register-vm', name='b', quota=1 << 28)
    p = Peer(v.run, 'b')
    p.want(1)
    p.wait_state(RUNNING)
    attacker = hostile(v, 'a', '--seed', ARGS.seed, '--seconds', ARGS.seconds)
    before = v.children('vgpu-broker')
    os.kill(before[0], signal.SIGKILL)
    wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], before))
    wait_for('its control socket', lambda: v.ask('status')['ok'])
    v.ok('show-vm', name='b')
    out = attacker.communicate(timeout=ARGS.seconds + 120)[0]
    assert '\n0 failed' in out, out
    p.close()
    wait_for('the channel to end', lambda: v.ok('show-vm', name='b')['connections'] == 0)


def test_reads_under_attack():
    with Watched() as v:
        attacked(v)
        reports = {p.name: Report(p) for p in v.seen.iterdir()}
    keepers = [r for name, r in reports.items() if name.startswith('vgpud.')]
    brokers = [r for name, r in reports.items() if name.startswith('vgpu-broker.')]
    assert len(keepers) == 1 and len(brokers) == 2, list(reports)
    assert not [n for n in reports if 'executor' in n], 'executors are not watched: they read all of their channel'
    for r in keepers:
        assert not (r.windows or r.beyond or r.syscalls or sum(r.reads)), f'the keeper: {r.windows} windows, {r.syscalls} system calls'
    for r in brokers:
        assert not r.beyond and not r.syscalls, f'the broker: {r.beyond} windows beyond the wish page, {r.syscalls} system calls'
        header = [4 * i for i, n in enumerate(r.reads[:HEADER // 4]) if n]
        assert not header, f'the broker read the header at {header[:10]}'
        other = [4 * i for i, n in enumerate(r.reads) if n and 4 * i >= HEADER + WANTED + OWNERS]
        assert not other, f'the broker read {other[:10]} behind the owners'
        assert r.of(r.reads, HEADER, WANTED) > 0, 'no generation was read: the watch is blind'
        assert r.of(r.writes, 0, HEADER) > 0, 'no header was written: the watch is blind'
        assert not r.of(r.writes, HEADER, WISH_SIZE), 'the wish page was written'
        print(f'broker: {r.windows} windows, {r.of(r.reads, HEADER, WANTED)} reads of generations, '
              f'{r.of(r.reads, HEADER + WANTED, OWNERS)} of owners, {r.of(r.writes, 0, HEADER)} writes of the header, no other')


if __name__ == '__main__':
    if os.environ.get('VGPU_PROFILED'):
        print('skipped: the counters of a coverage build are a mapped file themselves, and the watch is counted as well')
        sys.exit(77)
    sys.exit(main(globals()))
