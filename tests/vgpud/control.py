#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What reaches the control socket and should not: nonsense, values out of range, more than there is, more than a user
may, floods and stalls. Each is refused with one error, changes nothing, and others are answered meanwhile."""
import json
import os
import re
import select
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import Vgpud, main, wait_for  # noqa: E402
from upgrade import Worker  # noqa: E402

SANITIZED = bool(os.environ.get('VGPU_SANITIZED'))
# Seconds an honest question may wait while others flood, besides waiting for a processor: two of the broker's windows of
# 100 ms, and the answers before it.
LATENCY_MAX = 5 if SANITIZED else 0.5
NOBODY, OTHER = 65534, 65533
LIVE = ('device_seconds', 'wait_seconds')


def dump(v):
    """All that a refusal might have changed."""
    vms = [{k: x for k, x in vm.items() if k not in LIVE} for vm in v.ok('list-vms')]
    status = {k: x for k, x in v.ok('status').items() if 'handover' not in k}
    return vms, status, v.ok('audit'), v.ok('events'), v.ok('health'), v.ok('faults')


def connect(v):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(str(v.run / 'control.sock'))
    return s


def say(v, raw):
    """The answers to raw bytes, until vgpud hangs up or as many came as there were lines."""
    with connect(v) as s:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in s.makefile('rb')]


RANGES = [('weight', x) for x in (0, 101, -1, 2**63, 1.5, '50', None, True, [], {})] + \
    [('priority', x) for x in ('highest', 3, None, 'HIGH ')] + \
    [('cap', 101), ('cap', -1), ('reservation', 101), ('queue_depth', 1025), ('job_timeout_ns', 1), ('hard_timeout_ns', 2**62),
     ('fault_limit', 1001), ('fault_window_ns', 5), ('bar_size', 3 << 20), ('bar_size', (256 << 20) + 4096), ('bar_size', 1 << 60),
     ('uid', -1), ('uid', 2**32), ('max_launches_per_second', -1), ('max_bytes_per_second', 2**51), ('colour', 1), ('id', 7),
     ('quota', -1), ('quota', 2**51), ('quarantined', 0)]
NAMES = ['', '.', '..', '../x', 'a/b', '-rf', 'x' * 49, 'x' * 4000, 'a b', 'é', 'a\n', 'a\0b', "a'; DROP TABLE vms; --", 'a', 5, None, ['a']]
LINES = [b'', b'\n', b'{}\n', b'[]\n', b'null\n', b'"status"\n', b'{"cmd":5}\n', b'{"cmd":"status"\n', b'{"cmd":"x"}\n', b'\0\n', b'\xff\xfe\n',
         b'{"cmd":"status","cmd":"status"}\n', b'[' * 3000 + b'\n', b'{"cmd":"set-vm","name":"a","weight":1e999}\n',
         b'{"cmd":"set-vm","name":"a","weight":99999999999999999999}\n', b'{"cmd":"set-vm","name":"\xc3\x28"}\n',
         b'{"cmd":"remove-vm"}\n', b'{"cmd":"show-vm","name":"' + b'n' * 4000 + b'"}\n', b'GET / HTTP/1.1\r\n']


def test_refused_whole():
    with Vgpud() as v:
        total = v.ok('status')['device_memory']
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28, reservation=60)
        before = dump(v)

        def no(words, cmd, malformed=None, **fields):
            r = v.ask(cmd, **fields)
            assert r['ok'] is False and (words in r['error'] or 'not a JSON object: ' in r['error']) and '\n' not in r['error'] and len(r) == 4, (cmd, fields, r)
            assert malformed is None or r['malformed'] is malformed, (cmd, fields, r)
        for key, value in RANGES:
            no(key, 'set-vm', malformed=True, name='a', **{key: value})
            no(key, 'register-vm', malformed=True, name='c', **{'quota': 1 << 20, key: value})
        for name in NAMES:
            no('name', 'register-vm', malformed=name != 'a', name=name, quota=1 << 20)
            if name != 'a':
                for cmd in ('set-vm', 'remove-vm', 'show-vm', 'quarantine-vm', 'clear-quarantine', 'set-vm-id'):
                    no('', cmd, name=name)
        no('at most', 'set-vm', malformed=False, name='a', quota=total)
        no('at most', 'register-vm', malformed=False, name='c', quota=total)
        no('at most 40', 'register-vm', malformed=False, name='c', quota=1 << 20, reservation=41)
        no('more than the cap', 'set-vm', name='a', cap=10, reservation=20)
        for id in (0, -1, 2**31, 1.5, '3', 2):
            no('id', 'set-vm-id', name='a', id=id)
        for since in (-1, 1.5, '0', 2**64):
            no('since', 'events', since=since)
        assert dump(v) == before


def test_nonsense():
    """One answer to each line, a connection that goes on, or one that is closed with a word; the rest is as it was."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        before = dump(v)
        for line in LINES:
            answers = say(v, line + b'{"cmd":"status"}\n')
            assert len(answers) == line.count(b'\n') + 1 or not line, (line[:60], answers)
            assert all(not a['ok'] and a['error'] for a in answers[:-1]), (line[:60], answers)
            assert answers[-1]['ok'], (line[:60], answers)
        for raw in (b'x' * 5000, b'{"cmd":"status"}' + b' ' * 5000 + b'\n', b'[' * 100000):
            answers = say_until_closed(v, raw)
            assert len(answers) == 1 and '4096' in answers[0]['error'], (raw[:20], answers)
        assert dump(v) == before


def say_until_closed(v, raw):
    with connect(v) as s:
        try:
            s.sendall(raw)
        except OSError:
            pass  # it was closed before it had taken all
        out = b''
        try:
            while part := s.recv(65536):
                out += part
        except ConnectionResetError:
            pass
        return [json.loads(line) for line in out.splitlines()]


class As:
    """A process of another user, which runs `what` and can be ended."""

    def __init__(self, uid, what, *args):
        r, w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(r)
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                os.write(w, json.dumps(what(*args)).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(w)
        self.out = os.fdopen(r)

    def end(self, kill=False):
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        text = self.out.read()
        self.out.close()
        os.waitpid(self.pid, 0)
        return json.loads(text) if text else None


def open_to_all(v):
    """As root the socket is its group's; here two numbers without a group are to reach it."""
    if os.geteuid():
        print('skipped: other users need root')
        return False
    os.chmod(v.run / 'control.sock', 0o666)
    return True


CHANGES = [('register-vm', dict(name='c', quota=1 << 20)), ('remove-vm', dict(name='a')), ('set-vm', dict(name='a', weight=3)),
           ('set-vm-id', dict(name='a', id=9)), ('quarantine-vm', dict(name='a')), ('clear-quarantine', dict(name='a')),
           ('reload-config', {}), ('upgrade', {}), ('audit', {})]


def test_more_than_a_user_may():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        if not open_to_all(v):
            return
        before = dump(v)
        answers = As(NOBODY, lambda: [v.ask(cmd, **f) for cmd, f in CHANGES]).end()
        assert all(not a['ok'] and a['denied'] and 'only root' in a['error'] for a in answers), answers
        looks = As(NOBODY, lambda: [v.ask(cmd)['ok'] for cmd in ('status', 'list-vms', 'health', 'events', 'timeline', 'faults')]).end()
        assert looks == [True] * 6
        assert dump(v) == before


def flood(run, answers_read):
    """As many connections as are let in, each with questions without end; the costly ones."""
    lines = b'{"cmd":"timeline"}\n{"cmd":"list-vms"}\n{"cmd":"events"}\nnonsense\n' * 20
    open_, poll = {}, select.poll()
    while True:
        while len(open_) < 60:
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            try:
                s.connect(str(run / 'control.sock'))
            except OSError:
                s.close()
                break
            open_[s.fileno()] = s
            poll.register(s, select.POLLOUT | (select.POLLIN if answers_read else 0))
        for fd, events in poll.poll(10):
            try:
                if events & select.POLLIN and not open_[fd].recv(1 << 20):
                    raise OSError
                if events & select.POLLOUT:
                    open_[fd].send(lines)
                if events & (select.POLLHUP | select.POLLERR) and not events & select.POLLIN:
                    raise OSError
            except BlockingIOError:
                pass
            except OSError:
                poll.unregister(fd)
                open_.pop(fd).close()


def without_a_processor(*pids):
    """Seconds in which these were ready to run and did not, as the kernel counts them."""
    out = 0
    for pid in pids:
        with open(f'/proc/{pid}/schedstat') as f:
            out += int(f.read().split()[1]) / 1e9
    return out


def latencies(v, n, broker):
    """Of an honest client that connects anew for each question; seconds, without what it and the broker waited for a
    processor, which is the machine's load and not the broker's doing; and how often it was turned away."""
    took, away = [], 0
    while len(took) < n and away < 1000:
        began, load = time.monotonic(), without_a_processor('self', broker)
        try:
            assert v.ask('status')['ok']
            took.append(max(0, time.monotonic() - began - (without_a_processor('self', broker) - load)))
        except (OSError, ValueError):
            away += 1
    return sorted(took) or [1e9], away


def test_floods():
    """One user floods, by reading its answers and by not reading them: others are answered, work goes on."""
    with Vgpud() as v:
        for i in range(20):
            v.ok('register-vm', name=f'vm{i}', quota=1 << 24)
        w = Worker(v, 'vm0')
        w.rounds()
        w.forget()
        if not open_to_all(v):
            return
        broker = v.children('vgpu-broker')[0]
        alone, _ = latencies(v, 50, broker)
        for answers_read in (True, False):
            f = As(NOBODY, flood, v.run, answers_read)
            wait_for('the flood', lambda: len(os.listdir(f'/proc/{broker}/fd')) > 25)
            root, _ = latencies(v, 50, broker)
            user, away = As(OTHER, latencies, v, 50, broker).end()
            f.end(kill=True)
            print(f'a question takes {alone[25] * 1e3:.1f} ms (worst {alone[-1] * 1e3:.0f}); while another user floods'
                  f'{"" if answers_read else " and reads nothing"}: root {root[25] * 1e3:.1f} ms (worst {root[-1] * 1e3:.0f}), '
                  f'a third user {user[len(user) // 2] * 1e3:.1f} ms (worst {user[-1] * 1e3:.0f}), turned away {away} times')
            assert root[-1] < LATENCY_MAX and len(user) == 50 and user[-1] < LATENCY_MAX and not away, (root, user)
        w.rounds()
        pause = w.end()
        print(f'longest pause of a program meanwhile: {pause * 1e3:.0f} ms')
        assert pause < 10 * LATENCY_MAX, pause  # three processes besides it on whatever cores there are
        rss = int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{broker}/status').read())[1])
        print(f'the broker has {rss} KiB afterwards')


def test_stalls():
    """Half a line, an answer nobody reads, a wait for events: no other client waits for that."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        stalled = [connect(v) for _ in range(30)]
        for i, s in enumerate(stalled):
            s.sendall([b'{"cmd":"sta', b'{"cmd":"events","wait":true,"since":1000000}\n', b'', b'\n'][i % 4])
        took, away = latencies(v, 50, v.children('vgpu-broker')[0])
        assert not away and took[-1] < LATENCY_MAX, took
        stalled[0].sendall(b'tus"}\n')
        assert b'"ok":true' in stalled[0].recv(1 << 16), 'and the stalled one may go on'
        for s in stalled:
            s.close()


if __name__ == '__main__':
    sys.exit(main(globals()))
