# SPDX-License-Identifier: Apache-2.0
"""The programs under measurement and the machine they run on."""
import os
import pathlib
import select
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'tests/vgpud'))


def staged_vgpud(stage, build):
    """The tests' harness, pointed at an installed tree."""
    os.environ['VGPU_BUILD'] = str(build)
    import harness
    harness.VGPUD = stage / 'usr/sbin/vgpud'
    return harness


ANSWER_SECONDS = 60


class Client:
    """One bench_path that answers commands."""

    def __init__(self, command, env=None):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=env)
        line = self.process.stdout.readline().split()
        if line[:1] != ['ready']:
            raise RuntimeError(f'bench: {command[-2:]} did not start')
        self.pid = int(line[1])

    def send(self, *words):
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()

    def answer(self):
        if not select.select([self.process.stdout], [], [], ANSWER_SECONDS)[0]:
            raise RuntimeError(f'bench: client {self.pid} gave no answer within {ANSWER_SECONDS} s')
        line = self.process.stdout.readline().split()
        if line[:1] != ['ok']:
            raise RuntimeError(f'bench: client {self.pid} failed')
        return [float(x) for x in line[1:]]

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        if self.process.wait(30):
            raise RuntimeError(f'bench: client {self.pid} ended with {self.process.returncode}')


def set_realtime(pids, on):
    """The goals of single calls are for two free cores. In a class of its own the pair has them, for the
    milliseconds it needs. False where that is not permitted."""
    try:
        for pid in pids:
            for task in os.listdir(f'/proc/{pid}/task'):
                policy = os.SCHED_RR if on else os.SCHED_OTHER
                os.sched_setscheduler(int(task), policy, os.sched_param(1 if on else 0))
    except PermissionError:
        return False
    return True


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as f:
        return [int(x) for x in f.read().split()]


def rss_kib(pid):
    with open(f'/proc/{pid}/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmRSS:'))


def busy(seconds=1.0):
    """Cores in use, over a moment in which we use none."""
    def read():
        with open('/proc/stat') as f:
            v = list(map(int, f.readline().split()[1:9]))
        return sum(v) - v[3] - v[4], v[7]
    (b0, s0), t0 = read(), time.monotonic()
    time.sleep(seconds)
    (b1, s1), t1 = read(), time.monotonic()
    ticks = os.sysconf('SC_CLK_TCK') * (t1 - t0)
    return (b1 - b0) / ticks, (s1 - s0) / ticks


def machine():
    with open('/proc/cpuinfo') as f:
        model = next((line.split(':')[1].strip() for line in f if line.startswith('model name')), 'unknown')
    mem = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    release = '.'.join(os.uname().release.split('-')[0].split('.')[:2])
    return f'{os.cpu_count()} shared cores of a virtual machine ({model}), {mem:.0f} GiB, Linux {release}'
