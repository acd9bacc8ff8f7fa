#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A hundred tenants on one device, all live at once, each with work always queued and its results checked: when each
had its first result, that none starves, how far shares are from what weights ask, and what keeper and broker hold.

usage: hundred.py [TENANTS [QUANTA]]      100 and 5; QUANTA: of device time the smallest share gets while it is looked at.
  The verdict on shares (1 point and 5 % of each) needs 100 quanta and free cores: `hundred.py 100 100`.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import RUN, SOFTCUDA, SPINNER, Vgpud, wait_for  # noqa: E402
from soak import SANITIZED, resources, zombies  # noqa: E402

QUANTUM = 0.002
QUANTA_JUDGED = 100
POINTS, RELATIVE = 0.01, 0.05
WEIGHTS = (25, 50, 75, 100)
LOOPS, WINDOW = '1000', '64'  # launches of some tens of microseconds, milliseconds of them queued
LIMIT = 120


class Tenant:
    def __init__(self, v, number):
        self.name, self.weight = f't{number:03}', WEIGHTS[number % len(WEIGHTS)]
        v.ok('register-vm', name=self.name, weight=self.weight, quota=16 << 20, bar_size=256 << 20)
        self.v, self.out, self.first = v, v.dir / f'{self.name}.out', None

    def start(self):
        self.begun = time.monotonic()
        with open(self.out, 'wb') as f:
            self.process = subprocess.Popen([str(RUN), '--run-dir', str(self.v.run), '--tenant', self.name, '--', str(SPINNER), LOOPS,
                                             '0', WINDOW], stdout=f, stderr=subprocess.STDOUT)

    def ready(self):
        if not self.first and 'ready' in self.out.read_text():
            self.first = time.monotonic() - self.begun
        assert self.process.poll() is None, f'{self.name} ended with {self.process.returncode}: {self.out.read_text()}'
        return self.first


def used(v):
    v.ok('timeline')  # charges up to now
    return {vm['name']: vm['device_seconds'] for vm in v.ok('list-vms')}


def errors(tenants, got):
    """Worst tenant: of all device time, and of what it asked."""
    weights, total = sum(t.weight for t in tenants), sum(got.values())
    asked = {t.name: t.weight / weights for t in tenants}
    return max(abs(got[n] / total - a) for n, a in asked.items()), max(abs(got[n] / total / a - 1) for n, a in asked.items())


def tasks(v):
    """Of keeper and broker: they serve everybody with the threads they began with."""
    return {pid: len(os.listdir(f'/proc/{pid}/task')) for pid in (v.process.pid, v.children('vgpu-broker')[0])}


def run(count, quanta):
    with Vgpud('spawn-burst=1000', 'spawn-rate=1000', 'log-level=warning') as v:
        empty, threads = resources(v), tasks(v)
        tenants = [Tenant(v, i) for i in range(count)]
        for t in tenants:
            t.start()
        wait_for(f'first results of all {count}', lambda: all([t.ready() for t in tenants]), LIMIT)
        assert len(v.children('vgpu-executor')) == count
        before, begun = used(v), time.monotonic()

        def got():
            now = used(v)
            return {t.name: now[t.name] - before[t.name] for t in tenants}
        seconds = quanta * QUANTUM * sum(t.weight for t in tenants) / min(t.weight for t in tenants)
        wait_for(f'{seconds:.1f} s of device time', lambda: sum(got().values()) >= seconds, LIMIT + 20 * seconds)
        wait_for('device time of each', lambda: min(got().values()) > QUANTUM / 4, LIMIT)
        shares, took, full = got(), time.monotonic() - begun, resources(v)
        assert tasks(v) == threads
        for t in tenants:
            t.ready()
            t.process.terminate()
        for t in tenants:
            assert t.process.wait(LIMIT) == 0, f'{t.name}: ' + t.out.read_text()
            assert t.out.read_text().splitlines()[-1].startswith('launches ')
        wait_for('no executor', lambda: not v.children('vgpu-executor'))
        wait_for('no connection', lambda: all(vm['connections'] == 0 for vm in v.ok('list-vms')))
        for t in tenants:
            v.ok('remove-vm', name=t.name)
        left = resources(v)
        points, relative = errors(tenants, shares)
        equal = errors(tenants, dict.fromkeys(shares, 1))
        first = sorted(t.first for t in tenants)
        print(f'{count} tenants: first result after {first[0]:.2f} s, median {first[count // 2]:.2f} s, last {first[-1]:.2f} s\n'
              f'{sum(shares.values()):.1f} s of device time in {took:.1f} s; worst share off by {100 * points:.2f} points, '
              f'{100 * relative:.1f} % of its own (an equal split: {100 * equal[0]:.2f} and {100 * equal[1]:.0f} %); '
              f'{v.ok("status")["handovers"]} hand-overs; load {os.getloadavg()[0]:.1f}')
        for what in empty:
            print(f'{what}: empty {empty[what]}, with all {full[what]}, after all {left[what]}')
        assert not zombies(v)
        check_bounds(count, empty, full, left)
        assert quanta < QUANTA_JUDGED or (points <= POINTS and relative <= RELATIVE), (points, relative)


def check_bounds(count, empty, full, left):
    """Of each tenant keeper and broker hold some descriptors and some KiB, and nothing when it has gone."""
    for what in empty:
        assert full[what]['fds'] <= empty[what]['fds'] + 12 * count, (what, empty, full)
        assert left[what]['fds'] <= empty[what]['fds'], (what, empty, left)
        assert SANITIZED or full[what]['rss'] <= empty[what]['rss'] + 256 * count, (what, empty, full)
        assert SANITIZED or left[what]['rss'] <= full[what]['rss'] + 1024, (what, full, left)


def main():
    if not SOFTCUDA.exists():
        print('skipped: softcuda is not built')
        return 77
    argv = sys.argv[1:]
    count = int(argv[0]) if argv else 20 if SANITIZED else 100  # a sanitized process takes ten times the memory
    run(count, int(argv[1]) if len(argv) > 1 else 5)
    return 0


if __name__ == '__main__':
    sys.exit(main())
