#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Channels opened, closed and killed without end, and spawn floods: nothing is left, and others compute right.

--count is 10000 in the long version. Every turn is one of: a program that connects and leaves; one that starts an
executor and leaves, without waiting or with a first result; one killed at a random moment; its executor killed; a
generation withdrawn and wanted anew as fast as words can be written.
"""
import os
import random
import signal
import sys
import time

from campaign import Watch, hostile, options, start_loops, used, vgpud
from harness import DEAD, RUNNING, Peer, wait_for


def connect(v, rng):
    Peer(v.run, 'churn').close()


def start(v, rng):
    p = Peer(v.run, 'churn')
    p.want(1 + rng.randrange(1000))
    p.close()


def serve(v, rng):
    p = Peer(v.run, 'churn')
    p.want(1 + rng.randrange(1000))
    assert p.wait_state(RUNNING, DEAD) == RUNNING, p.error()
    p.close()


def work(v, rng):
    p = hostile(v, 'churn', '--attack', 'local', '--lives', '1', '--seed', rng.randrange(1 << 32))
    out = p.communicate(timeout=600)[0]
    assert p.returncode == 0, out


def kill_guest(v, rng):
    p = hostile(v, 'churn', '--attack', 'flood', '--lives', '1', '--seed', rng.randrange(1 << 32))
    try:
        p.wait(rng.random() * 0.1)
    except Exception:  # still at work: that is the point
        p.kill()
    p.communicate()


def kill_executor(v, rng):
    p, generation = Peer(v.run, 'churn'), 1 + rng.randrange(1 << 31)  # others may be on their way out
    p.want(generation)
    assert p.wait_state(RUNNING, DEAD) == RUNNING, p.error()
    (pid,) = [c['pid'] for c in v.ok('show-vm', name='churn')['channels'] if c['generation'] == generation]
    os.kill(pid, signal.SIGKILL)
    p.wait_state(DEAD)
    p.close()


def flood(v, rng):
    p = Peer(v.run, 'churn')
    for _ in range(rng.randrange(1, 200)):
        p.want(rng.randrange(0, 1 << 32))
    p.close()


TURNS = [connect, start, start, serve, serve, work, kill_guest, kill_executor, flood]


def main():
    a = options(__doc__, count=300)
    rng = random.Random(a.seed)
    with vgpud() as v:
        for name in ('churn', 'calm'):
            v.ok('register-vm', name=name, quota=1 << 28)
        watch = Watch(v)
        (loop,) = start_loops(v, 'calm')
        before, began, done = used(v)['calm'], time.monotonic(), dict.fromkeys([t.__name__ for t in TURNS], 0)
        for n in range(a.count):
            turn = rng.choice(TURNS)
            turn(v, rng)
            done[turn.__name__] += 1
            if n % 16 == 15:  # one after the other is no pile
                wait_for('the channels are free', lambda: len(v.ok('show-vm', name='churn')['channels']) == 0)
        took = time.monotonic() - began
        seconds = used(v)['calm'] - before
        started = v.ok('show-vm', name='churn')['executors_started']
        print(f'{a.count} turns in {took:.1f} s: ' + ', '.join(f'{n} {name}' for name, n in done.items()) +
              f'; {started} executors started')
        print(f'the other tenant: {loop.finish()} units of work, all right, {seconds:.1f} s of the device')
        assert seconds > 0.1 * took, 'the other tenant stood still'
        # An executor that is killed by somebody from outside is a fault of its VM.
        print(watch.verdict(allowed=[r'VM churn channel \d+: executor \d+ (died of signal 9|exited)']))
    return 0


if __name__ == '__main__':
    sys.exit(main())
