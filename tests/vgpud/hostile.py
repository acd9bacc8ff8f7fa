#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peers that do their worst to keeper and broker through what they were given: descriptors, sockets, shared
memory. Each time another tenant must go on as if nothing had happened."""
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import DEAD, FREE, RUN, RUNNING, SPINNER, Peer, Refused, Vgpud, main, wait_for  # noqa: E402

FULL = struct.pack('<Q', 2**64 - 2)
CTL_HEAD = (2 << 20) + 0x1000 + 64  # of channel 0, in the BAR2


def works(v, tenant):
    p = Peer(v.run, tenant)
    p.want(1)
    assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
    p.close()


def fill(fd):
    """Takes what is in an eventfd and leaves it full; the file is left blocking."""
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    try:
        os.read(fd, 8)
    except BlockingIOError:
        pass
    try:
        os.write(fd, FULL)
    except BlockingIOError:
        pass  # the broker was in between
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)


def test_blocking_eventfds():
    """A full interrupt that blocks, and doorbells emptied before the broker can read them."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        p = Peer(v.run, 'a')
        fill(p.fds[3])
        fill(p.fds[4])
        for generation in range(1, 6):
            p.want(generation)
            wait_for('it is taken', lambda g=generation: p.generation() == g)
        end, stop = time.monotonic() + 2, threading.Event()

        def steal():
            fcntl.fcntl(p.fds[1], fcntl.F_SETFL, 0)  # blocking
            while not stop.is_set():
                os.write(p.fds[1], struct.pack('<Q', 1))
                os.read(p.fds[1], 8)
        thief = threading.Thread(target=steal)
        thief.start()
        while time.monotonic() < end:
            v.ok('status')
        works(v, 'b')
        stop.set()
        thief.join()
        p.close()


def test_racing_interrupts():
    """Fills an interrupt between the broker's look and its write: a moment's delay, no more."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        p = Peer(v.run, 'a')
        stop = threading.Event()

        def race():
            while not stop.is_set():
                fill(p.fds[3])
        racer = threading.Thread(target=race)
        racer.start()
        end, generation = time.monotonic() + 2, 0
        while time.monotonic() < end:
            generation += 1
            p.want(generation)
            v.ok('status')
        works(v, 'b')
        stop.set()
        racer.join()
        p.close()


def test_doorbell_storm():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        p = Peer(v.run, 'a')
        broker = v.children('vgpu-broker')[0]

        def cpu():
            words = open(f'/proc/{broker}/stat').read().rsplit(') ', 1)[1].split()
            return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')
        before, end = cpu(), time.monotonic() + 2
        while time.monotonic() < end:
            for _ in range(1000):
                os.write(p.fds[1], struct.pack('<Q', 1))
        used = (cpu() - before) / 2
        assert used < 0.2, f'{used:.0%} of a processor for one ringing guest'
        p.want(1)  # and it is still heard
        assert p.wait_state(RUNNING, DEAD) == RUNNING
        p.close()
        works(v, 'b')


def test_peers_that_vanish():
    """A peer that leaves while its memory is being made takes no place with it."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(v.run / 'vm/a.sock'))
            s.close()
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect(str(v.run / 'guest.sock'))
            s.send(struct.pack('<II64s', 0x58495656, 1, b'a'))
            s.close()
        wait_for('nothing of them is left', lambda: v.ok('show-vm', name='a')['connections'] == 0, 10)

        def let_in():  # refused while one that vanished is still in the backlog
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(30)
                s.connect(str(v.run / 'vm/a.sock'))
                return len(s.recv(8)) == 8
        wait_for('the VM itself is let in', let_in)


def eventually_admitted(v, tenant):
    def ask():
        try:
            works(v, tenant)
            return True
        except (Refused, OSError, struct.error):
            return False
    wait_for('somebody honest is let in', ask, 20)


def test_header_overwritten():
    """A guest can write it: only it suffers, and what starts in it next, after a reset, finds it as it was."""
    with Vgpud() as v:
        v.ok('register-vm', name='t', quota=1 << 26)
        p = Peer(v.run, 't')
        p.want(7)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, p.error()
        length = 1536  # of struct vgpu_header, which has more
        before = p.bar[:length]
        p.bar[:length] = b'\xa5' * length
        wait_for('the header is the host\'s again', lambda: p.bar[:length] == before, 5)
        p.want(0)
        p.wait_state(FREE)
        p.close()


def test_silent_peers():
    """Connections that never say hello are sent away."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        silent = []
        for _ in range(300):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.setblocking(False)
            try:
                s.connect(str(v.run / 'guest.sock'))
            except BlockingIOError:
                s.close()
                continue
            silent.append(s)
        assert len(os.listdir(f'/proc/{v.process.pid}/fd')) < 200, 'each costs the keeper a descriptor'
        eventually_admitted(v, 'a')
        ended = select.poll()
        for s in silent:
            ended.register(s, select.POLLHUP)
        wait_for('all were sent away', lambda: len(ended.poll(0)) == len(silent))
        for s in silent:
            s.close()


def test_connection_flood():
    """Neither the keeper's descriptors nor the broker's patience end."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        before = v.children('vgpu-broker')
        end = time.monotonic() + 4
        while time.monotonic() < end:
            for path, kind in (('guest.sock', socket.SOCK_SEQPACKET), ('vm/a.sock', socket.SOCK_STREAM)):
                batch = []
                for _ in range(100):
                    s = socket.socket(socket.AF_UNIX, kind)
                    s.setblocking(False)
                    try:
                        s.connect(str(v.run / path))
                        if kind == socket.SOCK_SEQPACKET:
                            s.send(struct.pack('<II64s', 0x58495656, 1, b'nobody'))
                    except OSError:
                        pass
                    batch.append(s)
                for s in batch:
                    s.close()
        assert v.children('vgpu-broker') == before, 'the broker was restarted'
        assert v.log_text().count('refused') < 60, 'the log is not flooded'
        eventually_admitted(v, 'a')
        wait_for('nothing is left', lambda: v.ok('show-vm', name='a')['connections'] == 0, 10)


def test_coming_and_going():
    """A program that connects without end fills neither the log nor the ring of events."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        begin = time.monotonic()
        for _ in range(150):
            Peer(v.run, 'a').close()
        wait_for('all are gone', lambda: v.ok('show-vm', name='a')['connections'] == 0)
        most = 50 * (2 + int((time.monotonic() - begin) / 10))
        kinds = [e['kind'] for e in v.ok('events')]
        assert 0 < kinds.count('connected') == kinds.count('disconnected') <= most, kinds
        assert 'register-vm' in kinds and v.log_text().count(': connection ') <= 2 * most


def test_memory_of_many_programs():
    """Local programs have a BAR2 each; together they stay within the budget."""
    with Vgpud('bar-budget=1G') as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        peers = [Peer(v.run, 'a') for _ in range(3)]
        try:
            Peer(v.run, 'a')
            raise AssertionError('more memory than there is')
        except Refused as e:
            assert e.args[0] == 4 and 'bar-budget' in e.args[1], e
        works(v, 'b')
        for p in peers:
            p.close()
        eventually_admitted(v, 'a')


def test_questions_without_end():
    """Who only looks can ask, but not hold the broker or its socket."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        idle = []
        for _ in range(100):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(v.run / 'control.sock'))
            idle.append(s)
        for s in idle:
            s.close()
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(v.run / 'control.sock'))
            lines = b'{"cmd":"status"}\n' * 500
            s.sendall(lines)
            answers = s.makefile('rb')
            for _ in range(500):
                assert b'"ok":true' in answers.readline()
        wait_for('others are heard', lambda: v.ask('status')['ok'])


def bar_of(pid):
    """The BAR2 of a running program, to write into behind its back."""
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            if 'vgpu-bar' in os.readlink(f'/proc/{pid}/fd/{fd}'):
                with open(f'/proc/{pid}/fd/{fd}', 'r+b', buffering=0) as f:
                    return mmap.mmap(f.fileno(), os.fstat(f.fileno()).st_size)
        except FileNotFoundError:
            continue
    raise AssertionError(f'process {pid} has no BAR2')


def test_violation_during_endless_kernel():
    """Who breaks the protocol ends at once, with its kernel: neither lingers while others wait for the device."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        endless = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', 'a', '--', str(SPINNER), '0'],
                                   stdout=subprocess.PIPE, text=True)
        assert endless.stdout.readline() == 'started\n'
        wait_for('its kernel runs', lambda: v.ok('show-vm', name='a')['device_seconds'] > 0.1)
        executor = v.ok('show-vm', name='a')['channels'][0]['pid']
        spinner = [int(p) for p in os.listdir('/proc') if p.isdigit() and is_child(int(p), endless.pid)]
        bar = bar_of((spinner or [endless.pid])[0])
        struct.pack_into('<Q', bar, CTL_HEAD, 2**63)
        wait_for('the executor is gone', lambda: not os.path.exists(f'/proc/{executor}'), 5)
        wait_for('it counts as a fault', lambda: v.ok('show-vm', name='a')['faults'] == 1, 5)
        assert v.ok('show-vm', name='a')['channels'][0]['error'] == 2
        works(v, 'b')
        endless.kill()
        endless.wait()
        for p in spinner:
            if is_child(p, None):
                os.kill(p, signal.SIGKILL)


def test_closing_hides_no_fault():
    """Who closes the channel before the broker hears of a violation is charged with it all the same; who only
    closes is not."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        broker = v.children('vgpu-broker')[0]
        for violates, faults in ((False, 0), (True, 1)):
            p = Peer(v.run, 'a')
            p.want(1)
            assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
            executor = v.children('vgpu-executor')[0]
            os.kill(broker, signal.SIGSTOP)
            p.want(0)
            if violates:
                struct.pack_into('<Q', p.bar, CTL_HEAD, 2**63)
                os.write(p.fds[2], struct.pack('<Q', 1))
                wait_for('the executor is gone', lambda e=executor: not os.path.exists(f'/proc/{e}'))
            os.kill(broker, signal.SIGCONT)
            wait_for('it is free again', lambda peer=p: peer.state() == FREE)
            assert v.ok('show-vm', name='a')['faults'] == faults
            p.close()


def is_child(pid, parent):
    """Is pid alive, and a child of parent (None: of anybody)?"""
    try:
        with open(f'/proc/{pid}/stat') as f:
            words = f.read().rsplit(') ', 1)[1].split()
        with open(f'/proc/{pid}/comm') as f:
            return f.read().strip() == 'spinner' and (parent is None or int(words[1]) == parent)
    except OSError:
        return False


if __name__ == '__main__':
    sys.exit(main(globals()))
