#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits of device time on real executors: caps, reservations, changes that apply at once."""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import RUN, SPINNER, Vgpud, main, wait_for  # noqa: E402

LOOPS = '2000'  # some 0.1 ms per launch


class Busy:
    """A tenant that always has work queued."""

    def __init__(self, v, name, loops=LOOPS):
        self.process = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', name, '--', str(SPINNER), loops,
                                         '0', '256'], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == 'started\n' and self.process.stdout.readline() == 'ready\n'

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


def used(v):
    v.ok('timeline')  # charges up to now
    return {vm['name']: vm['device_seconds'] for vm in v.ok('list-vms')}, time.monotonic()


def parts(v, seconds):
    """Fractions of the device's time over an interval."""
    (before, t0) = used(v)
    wait_for(f'{seconds} s', lambda: time.monotonic() - t0 >= seconds, 60)
    (after, t1) = used(v)
    return {n: (after[n] - before[n]) / (t1 - t0) for n in after}


def test_a_cap_idles_the_device():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, cap=20)
        a = Busy(v, 'a')
        got = parts(v, 2)['a']
        assert 0.1 < got < 0.23, got  # the lower bounds allow for a loaded machine
        v.ok('set-vm', name='a', cap=60)
        got = parts(v, 2)['a']
        assert 0.25 < got < 0.63, got
        v.ok('set-vm', name='a', cap=0)
        got = parts(v, 1)['a']
        assert got > 0.4, got
        a.end()


def test_a_cap_counts_work_not_waiting():
    """A program that computes little and waits much is not held up by a cap above what it uses."""
    with Vgpud() as v:
        for name, cap in (('free', 0), ('capped', 50)):
            v.ok('register-vm', name=name, quota=1 << 28, cap=cap)
        took = {}
        for name in ('free', 'capped'):
            t = time.monotonic()
            r = subprocess.run([str(RUN), '--run-dir', str(v.run), '--tenant', name, '--', str(SPINNER), '1', '20'], timeout=60,
                               stdout=subprocess.DEVNULL)
            assert r.returncode == 0
            took[name] = time.monotonic() - t
        assert v.ok('show-vm', name='capped')['device_seconds'] < 0.5 * took['capped'], took


def test_a_reservation_beside_a_large_share():
    with Vgpud() as v:
        v.ok('register-vm', name='small', quota=1 << 28, priority='low', weight=1, reservation=40)
        v.ok('register-vm', name='large', quota=1 << 28, priority='high', weight=100)
        tenants = [Busy(v, 'small'), Busy(v, 'large')]
        got = parts(v, 3)
        total = sum(got.values())  # by share it would be 1/401 of it
        assert got['small'] / total > 0.37, got
        for t in tenants:
            t.end()


def test_concurrent_keeps_caps_and_admits_all():
    with Vgpud('policy=concurrent') as v:
        assert v.ok('status')['policy'] == 'concurrent'
        v.ok('register-vm', name='capped', quota=1 << 28, cap=20, weight=100)
        v.ok('register-vm', name='free', quota=1 << 28, weight=1)
        tenants = [Busy(v, 'capped'), Busy(v, 'free')]
        got = parts(v, 3)
        assert got['capped'] < 0.23, got  # by share it would be 100/101
        assert got['free'] > 0.6, got
        v.ok('set-vm', name='capped', cap=0)
        handovers = v.ok('status')['handovers']
        got = parts(v, 2)
        assert got['capped'] / sum(got.values()) < 0.6, got  # side by side: split, not by share
        assert v.ok('status')['handovers'] - handovers <= 2
        for t in tenants:
            t.end()


def test_concurrent_kernels_are_long_beside_others():
    """Side by side nobody waits, so a long kernel delays nobody: the job timeout is for those that do."""
    with Vgpud('policy=concurrent') as v:
        v.ok('register-vm', name='long', quota=1 << 28, job_timeout_ns=10**9)
        v.ok('register-vm', name='other', quota=1 << 28)
        endless = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', 'long', '--', str(SPINNER), '0'], stdout=subprocess.DEVNULL)
        other = Busy(v, 'other')
        wait_for('it runs for three times its timeout', lambda: v.ok('show-vm', name='long')['device_seconds'] > 3)
        assert endless.poll() is None and v.ok('show-vm', name='long')['faults'] == 0
        endless.kill()
        endless.wait()
        other.end()


def test_a_changed_weight_counts_within_100_ms():
    with Vgpud() as v:
        for name in 'ab':
            v.ok('register-vm', name=name, quota=1 << 28)
        tenants = [Busy(v, 'a'), Busy(v, 'b')]
        parts(v, 1)
        v.ok('set-vm', name='a', weight=100)
        v.ok('set-vm', name='b', weight=10)
        first = v.ok('timeline')
        start = first['first_bucket'] + len(first['device_us']['a'])  # the next bucket of 100 ms, and ten after it
        wait_for('buckets', lambda: (t := v.ok('timeline', since_bucket=start))['first_bucket'] >= start and
                 len(t['device_us']['a']) > 11)
        t = v.ok('timeline', since_bucket=start)['device_us']
        a, b = sum(t['a'][1:11]), sum(t['b'][1:11])
        assert abs(a / (a + b) - 10 / 11) < 0.05, (t['a'][:12], t['b'][:12])
        for p in tenants:
            p.end()


def test_endless_kernels_of_one_tenant():
    """Nine programs whose kernels never end, against one that computes: it goes on beside them."""
    with Vgpud() as v:
        v.ok('register-vm', name='bad', quota=1 << 28)
        v.ok('register-vm', name='good', quota=1 << 28)
        bad = [subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', 'bad', '--', str(SPINNER), '0'],
                                stdout=subprocess.PIPE, text=True) for _ in range(9)]
        for p in bad:
            assert p.stdout.readline() == 'started\n'
        wait_for('they compute', lambda: used(v)[0]['bad'] > 0.2)
        r = subprocess.run([str(RUN), '--run-dir', str(v.run), '--tenant', 'good', '--', str(SPINNER), '1000', '50'],
                           stdout=subprocess.PIPE, text=True, timeout=25)
        assert r.stdout.split()[-1] == '50', r
        for p in bad:
            p.kill()
            p.communicate()
        wait_for('their executors are gone', lambda: not v.children('vgpu-executor'))


if __name__ == '__main__':
    sys.exit(main(globals()))
