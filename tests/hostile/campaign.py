# SPDX-License-Identifier: Apache-2.0
"""What the attacks have in common: a vgpud that lets them begin again at once, victims that check their own
results, and verdicts on keeper and broker: alive, silent, the same descriptors, processes and memory as before."""
import argparse
import os
import pathlib
import random
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../vgpud'))
from harness import BUILD, RUN, SOFTCUDA, Vgpud, wait_for  # noqa: E402

HOSTILE = BUILD / 'tests/hostile/hostile'
LOOP = BUILD / 'demo/loop'
CONFORMANCE = [BUILD / 'tests/conformance' / f'conf-{name}' for name in ('memory', 'copy', 'launch', 'stream')]
# A hostile tenant is to attack all the time, not to wait for its spawn bucket or for an administrator.
TIRELESS = ('fault-limit=1000', 'fault-window=1s', 'spawn-burst=1000', 'spawn-rate=1000', 'spare=on')
# Warnings a tenant causes and that name it, or what a peer that left deserves; everything else is a verdict.
HARMLESS = [r'user openvgpu does not exist', r'group openvgpu does not exist', r'landlock', r'namespaces',
            r'connection \d+: handing over its memory: (Broken pipe|Connection reset)',
            r'connection \d+ refused: ', r'\d+ more connections refused',
            r'VM \S+ channel \d+: executor ended with error', r'signal \d+: ending']
RSS_SLACK_KIB = 1024  # of keeper and broker each: what malloc() keeps
SANITIZED = bool(os.environ.get('VGPU_SANITIZED'))  # freed memory is kept, and all takes several times as long


def options(doc, **defaults):
    """--seed N and one option for each default, for the long versions."""
    ap = argparse.ArgumentParser(description=doc.splitlines()[0])
    ap.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    for name, value in defaults.items():
        ap.add_argument('--' + name, type=type(value), default=value)
    a = ap.parse_args()
    if not SOFTCUDA.exists():
        print('skipped: softcuda is not built')
        sys.exit(77)
    print('seed', a.seed, flush=True)
    return a


def guest_environment(v, tenant):
    return dict(os.environ, VGPU_SOCKET=str(v.run / 'guest.sock'), VGPU_TENANT=tenant)


def hostile(v, tenant, *args, **more):
    return subprocess.Popen([str(HOSTILE), *map(str, args)], env=guest_environment(v, tenant), stdout=subprocess.PIPE,
                            text=True, **more)


def run_as(v, tenant, *command, **more):
    return subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', tenant, '--', *map(str, command)],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


class Loop:
    """A tenant that computes without pause and, when told to end, proves every result."""

    def __init__(self, v, tenant, rounds=10000):
        self.tenant = tenant
        self.process = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', tenant, '--', str(LOOP), str(rounds)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self):
        line = self.process.stdout.readline()
        assert line == 'ready\n', (line, self.process.stderr.read())
        return self

    def begin(self):
        self.process.send_signal(signal.SIGUSR1)
        return self

    def finish(self):
        """Units of work, each found right."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, f'{self.tenant}: wrong results or an error: {err}'
        return int(out.split()[-1])


def start_loops(v, *tenants):
    loops = [Loop(v, t) for t in tenants]
    return [loop.begin() for loop in [loop.ready() for loop in loops]]


def used(v):
    """Device seconds of each VM by the broker's clock, charged up to now."""
    v.ok('timeline', since_bucket=2 ** 62)
    return {vm['name']: vm['device_seconds'] for vm in v.ok('list-vms')}


def stat_of(pid):
    """{what a process of vgpud holds: number}"""
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    links = []
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            links.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
        except FileNotFoundError:
            pass
    return dict(descriptors=len(links), memfds=sum('memfd:' in link for link in links),
                rss=int(re.search(r'VmRSS:\s+(\d+)', status).group(1)))


class Watch:
    """Keeper and broker before an attack, for the comparison after it."""

    def __init__(self, v, broker_may_end=False):
        self.v, self.broker_may_end = v, broker_may_end
        self.log_at = len(v.log_text())
        wait_for('a quiet start', self.only_the_spare)
        self.before = self.look()

    def only_the_spare(self):
        return self.v.ok('status')['spare'] == 'ready' and len(self.v.children('vgpu-executor')) == 1

    def look(self):
        broker = self.v.children('vgpu-broker')
        assert len(broker) == 1, f'brokers: {broker}'
        self.broker = broker[0]
        return dict(keeper=stat_of(self.v.process.pid), broker=stat_of(self.broker))

    def lines(self):
        """What keeper and broker warned of, harmless things left out."""
        own = [ln for ln in self.v.log_text()[self.log_at:].splitlines()
               if re.match(r'(vgpud|vgpu-broker): (warning|error): ', ln)]
        return [ln for ln in own if not any(re.search(h, ln) for h in HARMLESS)]

    def settled(self):
        """The same descriptors, memfds and processes as before, and no executor left but the spare."""
        if not self.only_the_spare():
            return False
        now = self.look()
        return all(now[who][what] == self.before[who][what] for who in now for what in ('descriptors', 'memfds'))

    def verdict(self, allowed=()):
        """Raises unless keeper and broker are as they were; what they hold, in words."""
        v, broker = self.v, self.broker
        assert v.process.poll() is None, f'the keeper ended:\n{v.log_text()[-3000:]}'
        assert self.broker_may_end or v.children('vgpu-broker') == [broker], f'the broker ended:\n{v.log_text()[-3000:]}'
        lines = [ln for ln in self.lines() if not any(re.search(a, ln) for a in allowed)]
        assert not lines, 'keeper or broker complain:\n' + '\n'.join(lines[:20])
        try:
            wait_for('all is given back', self.settled)
        except AssertionError as e:
            raise AssertionError(f'{e}: before {self.before}, now {self.look()}, '
                                 f'executors {v.children("vgpu-executor")}') from e
        now = self.look()
        for vm in v.ok('list-vms'):
            assert vm['quota_used'] == 0 and vm['connections'] == 0, vm
        for who in now:
            grown = now[who]['rss'] - self.before[who]['rss']
            assert SANITIZED or grown <= RSS_SLACK_KIB, f'the {who} has grown by {grown} KiB: {self.before} {now}'
        return ', '.join(f'{who} {now[who]["descriptors"]} fds, {now[who]["memfds"]} memfds, RSS '
                         f'{self.before[who]["rss"]} -> {now[who]["rss"]} KiB' for who in now)


def vgpud(*more):
    return Vgpud(*TIRELESS, *more)
