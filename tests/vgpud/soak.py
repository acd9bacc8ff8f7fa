#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many tenants at once while everything goes wrong: executors and brokers killed, programs killed, limits changed
live, tenants quarantined and released, vgpud upgraded. Every program checks what it computed; afterwards nothing may be
left: no descriptor, no memfd, no zombie, no memory; and shares must still be what weights ask.

usage: soak.py [SECONDS] [TENANTS]      60 s and 10 by default; the long one is `soak.py 1800 30`
"""
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from limits import Busy, parts  # noqa: E402
from harness import BUILD, RUN, SOFTCUDA, Vgpud, wait_for  # noqa: E402

WORKER = BUILD / 'tests/vgpud/soak_worker'
SANITIZED = bool(os.environ.get('VGPU_SANITIZED'))  # the sanitizer keeps what is freed
PAUSE_MAX = 1.0  # seconds a program may notice of a broker's end, besides what the machine's load costs


class Tenant:
    """A program that computes and checks, over and over; started anew when it was killed or its executor was."""

    def __init__(self, v, name):
        self.v, self.name, self.process = v, name, None
        self.rounds = self.lost = self.starts = 0

    def start(self):
        self.log = open(self.v.dir / f'{self.name}.out', 'ab')
        self.process = subprocess.Popen([str(RUN), '--run-dir', str(self.v.run), '--tenant', self.name, '--', str(WORKER)],
                                        stdout=self.log, stderr=subprocess.STDOUT)
        self.log.close()
        self.starts += 1

    def look(self):
        """Wrong results end the soak; everything else that ends a program is what we did to it."""
        if self.process and self.process.poll() is not None:
            assert self.process.returncode != 3, f'{self.name}: wrong result:\n' + self.text()
            self.lost += 1
            self.process = None
        if not self.process:
            self.start()

    def text(self):
        return (self.v.dir / f'{self.name}.out').read_text()[-4000:]

    def end(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            assert self.process.returncode != 3, f'{self.name}: wrong result:\n' + self.text()
            self.process = None


def resources(v):
    """Of keeper and broker: descriptors, memfds among them, resident KiB."""
    out = {}
    for what, pid in (('keeper', v.process.pid), ('broker', v.children('vgpu-broker')[0])):
        links = []
        for fd in os.listdir(f'/proc/{pid}/fd'):
            try:
                links.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
            except OSError:
                pass
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        out[what] = dict(fds=len(links), memfds=sum('memfd' in n for n in links),
                         rss=next(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmRSS')))
    return out


def zombies(v):
    out = []
    for p in pathlib.Path('/proc').iterdir():
        try:
            if p.name.isdigit() and f'\nPPid:\t{v.process.pid}\n' in (s := (p / 'status').read_text()) and 'State:\tZ' in s:
                out.append(p.name)
        except OSError:
            continue
    return out


def answers(v):
    try:
        return v.ask('status')['ok']
    except (OSError, ValueError):
        return False


# ---- what goes wrong, each with how often

def kill_executor(v, tenants, rng):
    pids = v.children('vgpu-executor')
    if pids:
        try:
            os.kill(rng.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_program(v, tenants, rng):
    t = rng.choice(tenants)
    if t.process:
        t.process.kill()


def kill_broker(v, tenants, rng):
    """Not too often: four deaths within ten seconds, and the keeper ends, as it should."""
    old = v.children('vgpu-broker')
    began = time.monotonic()
    if began - v.killed < 5:
        return False
    v.killed = began
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], old) and answers(v))
    v.worst_pause = max(v.worst_pause, time.monotonic() - began)
    return True


def change_limits(v, tenants, rng):
    v.ok('set-vm', name=rng.choice(tenants).name, weight=rng.randint(1, 100), priority=rng.choice(['high', 'medium', 'low']),
         cap=rng.choice([0, 0, 50, 100]))


def quarantine(v, tenants, rng):
    name = rng.choice(tenants).name
    if v.ask('quarantine-vm', name=name)['ok']:
        v.ok('clear-quarantine', name=name)


def upgrade(v, tenants, rng):
    """Onto itself: the keeper's process stays, its program and its broker are new."""
    before = v.ok('status')['upgrades']
    began = time.monotonic()
    v.ok('upgrade')
    wait_for('the next one', lambda: answers(v) and v.ask('status')['data']['upgrades'] == before + 1)
    v.worst_pause = max(v.worst_pause, time.monotonic() - began)


TROUBLE = [(upgrade, 1), (kill_executor, 6), (kill_program, 3), (change_limits, 8), (quarantine, 2), (kill_broker, 1)]


def check_left(v, before):
    wait_for('all executors but a spare are gone', lambda: len(v.children('vgpu-executor')) <= 1, 60)
    wait_for('no connection is left', lambda: all(vm['connections'] == 0 for vm in v.ok('list-vms')))
    assert not zombies(v), zombies(v)
    after = resources(v)
    for what in before:
        assert after[what]['fds'] <= before[what]['fds'] + 4, (before, after)  # a spare's three, and its pidfd
        assert after[what]['memfds'] <= before[what]['memfds'] + 1, (before, after)
        assert SANITIZED or after[what]['rss'] < before[what]['rss'] + 8192, (before, after)
    assert all(vm['quota_used'] == 0 for vm in v.ok('list-vms')), v.ok('list-vms')
    return after


def check_shares(v, tenants):
    """Points by which device time differs from what weights ask, with three of the tenants at work."""
    asked = dict(zip((t.name for t in tenants), (10, 30, 60)))
    for name, weight in asked.items():
        v.ok('set-vm', name=name, weight=weight, priority='low', cap=0)
    work = [Busy(v, name) for name in asked]
    got = parts(v, 8)
    for w in work:
        w.end()
    total = sum(got[n] for n in asked)
    return max(abs(100 * got[n] / total - asked[n]) for n in asked)


def soak(seconds, count, seed):
    rng = random.Random(seed)
    kinds = [f for f, n in TROUBLE for _ in range(n)]
    done = dict.fromkeys((f.__name__ for f in kinds), 0)
    with Vgpud('spawn-rate=1000', 'fault-limit=1000') as v:
        v.worst_pause = v.killed = 0
        tenants = [Tenant(v, f't{i:02}') for i in range(count)]
        for t in tenants:
            v.ok('register-vm', name=t.name, quota=64 << 20)
        fair = check_shares(v, tenants[:3])  # of an undisturbed vgpud, on this machine, as busy as it is
        before = resources(v)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for t in tenants:
                t.look()
            trouble = rng.choice(kinds)
            if trouble(v, tenants, rng) is not False:
                done[trouble.__name__] += 1
            used = sum(vm['units'] for vm in v.ok('list-vms'))
            until = time.monotonic() + 1
            wait_for('work goes on', lambda u=used: time.monotonic() > until or
                     sum(vm['units'] for vm in v.ok('list-vms')) != u, 30)
        for t in tenants:
            t.end()
        points = check_shares(v, tenants[:3]), fair
        after = check_left(v, before)
        rounds = [(v.dir / f'{t.name}.out').read_text().count('round') for t in tenants]
        print(f'{seconds} s, {count} tenants, seed {seed}: {sum(t.starts for t in tenants)} programs, {done}; '
              f'broker back in at most {v.worst_pause:.2f} s')
        print(f'before {before}\nafter  {after}\nrounds {sum(rounds) * 64} or more; points by which shares are off: '
              f'{points[0]:.1f}, before it all {points[1]:.1f}; '
              f'load {os.getloadavg()}')
        assert SANITIZED or points[0] < max(5, points[1] + 5), points
        assert all(rounds), f'some tenant never computed anything: {rounds}'
        assert SANITIZED or done['kill_broker'] == 0 or v.worst_pause < PAUSE_MAX + 2, v.worst_pause


def main():
    if not SOFTCUDA.exists():
        print('skipped: softcuda is not built')
        return 77
    seconds, count = (int(a) for a in (sys.argv[1:] + ['60', '10'])[:2]) if len(sys.argv) != 2 else (int(sys.argv[1]), 10)
    soak(seconds, count, int(os.environ.get('SOAK_SEED', '1')))
    return 0


if __name__ == '__main__':
    sys.exit(main())
