#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many tenants at once while everything goes wrong: executors and brokers killed, programs killed, limits changed
live, tenants quarantined and released, vgpud upgraded. Every program checks what it computed; afterwards nothing may be
left: no descriptor, no memfd, no zombie, no memory; and shares must still be what weights ask.

usage: soak.py [SECONDS] [TENANTS]      60 s and 10 by default; the long one is `soak.py 1800 30`

It states at its end what was done, what was right, what is left and how long the broker was away; SOAK_SEED=N is the
order in which things go wrong. With 30 tenants a machine of two cores is as busy as can be, so a broker's pause is judged
by its 99th percentile; the worst is printed with what the machine itself waited for meanwhile.
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
PAUSE_MAX = 3.0  # seconds until the next broker answers: one that a program may notice, and what the machine's load costs
END_S = 120  # one of weight 1 among thirty has a round of seconds to finish


class Tenant:
    """A program that computes and checks, over and over; started anew when it was killed or its executor was."""

    def __init__(self, v, name):
        self.v, self.name, self.process = v, name, None
        self.lost = self.starts = 0

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
        if not self.process:
            return
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            pid = self.process.pid
            where = [(t.name, (t / 'wchan').read_text()) for t in pathlib.Path(f'/proc/{pid}/task').iterdir()]
            raise AssertionError(f'{self.name} did not end within {END_S} s of SIGTERM: threads {where}, '
                                 f'{self.v.ok("show-vm", name=self.name)}') from None
        assert self.process.returncode != 3, f'{self.name}: wrong result:\n' + self.text()
        self.process = None


def end_all(v, tenants):
    """As equals: who has hundredth parts of the device takes its time."""
    for t in tenants:
        v.ok('set-vm', name=t.name, weight=50, priority='medium', cap=0)
        if t.process:
            t.process.send_signal(signal.SIGTERM)
    for t in tenants:
        t.end()


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


def stalled():
    """Seconds since boot in which some task waited for a processor or a disk, as the kernel counts them."""
    out = {}
    for what in ('cpu', 'io'):
        try:
            first = pathlib.Path(f'/proc/pressure/{what}').read_text().splitlines()[0]
            out[what] = int(first.rsplit('=', 1)[1]) / 1e6
        except OSError:
            pass
    return out


def pause_over(v, what, began, before):
    """A broker answers again."""
    waited = {k: round(t - before[k], 2) for k, t in stalled().items()}
    v.pauses.append((time.monotonic() - began, what, f'the machine waited {waited}'))


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
    before = stalled()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], old) and answers(v))
    pause_over(v, 'kill', began, before)
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
    began, waited = time.monotonic(), stalled()
    v.ok('upgrade')
    wait_for('the next one', lambda: answers(v) and v.ask('status')['data']['upgrades'] == before + 1)
    pause_over(v, 'upgrade', began, waited)


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


def trouble_for(v, tenants, seconds, rng):
    """How often each thing was done."""
    kinds = [f for f, n in TROUBLE for _ in range(n)]
    done = dict.fromkeys((f.__name__ for f in kinds), 0)
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
    return done


def soak(seconds, count, seed):
    rng = random.Random(seed)
    with Vgpud('spawn-rate=1000', 'fault-limit=1000') as v:
        v.pauses, v.killed = [], 0
        tenants = [Tenant(v, f't{i:02}') for i in range(count)]
        for t in tenants:
            v.ok('register-vm', name=t.name, quota=64 << 20)
        fair = check_shares(v, tenants[:3])  # of an undisturbed vgpud, on this machine, as busy as it is
        before = resources(v)
        done = trouble_for(v, tenants, seconds, rng)
        end_all(v, tenants)
        points = check_shares(v, tenants[:3])
        after = check_left(v, before)
        rounds = [(v.dir / f'{t.name}.out').read_text().count('round') * 64 for t in tenants]
        pauses = sorted(v.pauses) or [(0, 'none', '')]
        most = pauses[int(0.99 * (len(pauses) - 1))][0]
        faults = {}
        for f in v.ok('faults'):
            faults[f['kind']] = faults.get(f['kind'], 0) + 1
        print(f'{seconds} s, {count} tenants, seed {seed}, load {os.getloadavg()}\n'
              f'done     {done}\n'
              f'right    {sum(rounds)} rounds or more by {sum(t.starts for t in tenants)} programs, {min(rounds)} or more by each tenant; '
              f'wrong 0\n'
              f'before   {before}, zombies 0\nafter    {after}, zombies {len(zombies(v))}\n'
              f'shares   off by {points:.1f} points of 10:30:60; before it all by {fair:.1f}\n'
              f'broker   back in {pauses[len(pauses) // 2][0]:.2f} s (median of {len(v.pauses)}), {most:.2f} s (99 %); '
              f'worst {pauses[-1][0]:.2f} s, {pauses[-1][1]}, {pauses[-1][2]}\n'
              f'faults   the last hundred: {faults}')
        assert SANITIZED or points < max(5, fair + 5), (points, fair)
        assert all(rounds), f'some tenant never computed anything: {rounds}'
        assert SANITIZED or most < PAUSE_MAX, v.pauses
        assert v.ok('status')['state'] == 'stored' and 'protocol' not in faults, faults  # nobody broke a rule


def main():
    if not SOFTCUDA.exists():
        print('skipped: softcuda is not built')
        return 77
    seconds, count = (int(a) for a in (sys.argv[1:] + ['60', '10'])[:2]) if len(sys.argv) != 2 else (int(sys.argv[1]), 10)
    soak(seconds, count, int(os.environ.get('SOAK_SEED', '1')))
    return 0


if __name__ == '__main__':
    sys.exit(main())
