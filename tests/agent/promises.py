#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-agent against a vgpud that hangs or is restarted, and what its answers promise: what was changed is there, an
event is not passed over in silence, a status says who is to blame."""
import http.client
import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import agent
from agent import LIMIT, TOKEN, Agent, vgpud

STREAMS_MAX = 64
TCP_REPAIR = 19  # linux/tcp.h
AUTH = {'Authorization': 'Bearer ' + TOKEN}


class Stream:
    """/v1/events of one client."""

    def __init__(self, a, last=None):
        self.connection = http.client.HTTPConnection('127.0.0.1', a.port, timeout=LIMIT)
        self.connection.request('GET', '/v1/events', headers=dict(AUTH, **({'Last-Event-ID': last} if last else {})))
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def event(self):
        return agent.read_event(self.answer)


def epoch(event):
    return int(event['id'].split('-')[0])


def churn(d, times):
    for _ in range(times):
        d.ok('quarantine-vm', name='one')
        d.ok('clear-quarantine', name='one')


def restart_broker(d):
    old = d.children('vgpu-broker')
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    agent.harness.wait_for('another broker', lambda: d.children('vgpu-broker') not in ([], old), LIMIT)
    agent.harness.wait_for('its answer', lambda: answers(d), LIMIT)


def answers(d):
    try:
        return d.ask('status')['ok']
    except (OSError, ValueError):
        return False


def test_events_of_another_broker(d, a):
    """Numbers begin anew with a broker; who was in the middle of the old one's is told, and misses none of the new."""
    churn(d, 3)
    with Stream(a) as s, Stream(a) as follower:
        seen = [s.event() for _ in range(5)]
        while agent.number_of(follower.event()) < d.ok('events', since=0)[-1]['number']:
            pass
    last = seen[-1]
    with Stream(a, last['id']) as s:
        follow = s.event()
        assert agent.number_of(follow) == agent.number_of(last) + 1 and epoch(follow) == epoch(last), (last, follow)
        while agent.number_of(follow) < d.ok('events', since=0)[-1]['number']:
            follow = s.event()
        restart_broker(d)
        churn(d, 4)
        expected = [e['number'] for e in d.ok('events', since=0)]
        lost = s.event()
        assert lost['event'] == 'lost' and epoch(lost) != epoch(last), lost
        assert [agent.number_of(s.event()) for _ in expected] == expected
    for resume in (last['id'], '5'):  # of the other broker; of an agent whose ids were numbers
        with Stream(a, resume) as s:
            first = s.event()
            if '-' in resume:
                assert first['event'] == 'lost' and json.loads(first['data'])['kind'] == 'lost', first
                first = s.event()
            assert agent.number_of(first) == expected[0] and epoch(first) == epoch(lost), (resume, first)
    with Stream(a, lost['id']) as s:
        assert agent.number_of(s.event()) == expected[0]


def test_events_not_kept(d, a):
    """Who comes back after more than is kept is told that some are lost."""
    with Stream(a) as s:
        first = s.event()
    churn(d, 520)
    newest = d.ok('events', since=0)[-1]['number']
    with Stream(a) as s:
        while agent.number_of(s.event()) < newest:
            pass
    with Stream(a, first['id']) as s:
        lost, after = s.event(), s.event()
        assert lost['event'] == 'lost' and agent.number_of(after) == agent.number_of(lost) + 1 == newest - 1023, (first, lost, after, newest)


def test_vanished_followers(d):
    """Clients whose host vanished, without a word, give their places back."""
    with Agent(d.run, '--request-seconds', '1') as a:
        def follow():
            s = socket.create_connection(('127.0.0.1', a.port), LIMIT)
            s.sendall(b'GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ' + TOKEN.encode() + b'\r\n\r\n')
            return s

        first = follow()
        data = b''
        while b'\n:\n\n' not in data.replace(b'\r\n', b'\n'):
            part = first.recv(65536)
            assert part, 'no comment came: ' + repr(data[-200:])
            data += part
        first.close()
        followers = [follow() for _ in range(STREAMS_MAX)]
        for s in followers:
            assert s.recv(1), 'no answer'
        a.until('all of the places taken', lambda: a.ask('/v1/events')[0] == 503)
        try:
            for s in followers:
                s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except PermissionError:
            print('not tried: vanishing needs CAP_NET_ADMIN')
            for s in followers:
                s.close()
            return
        for s in followers:
            s.close()  # in repair: not a byte is sent

        def place():
            s = follow()
            answer = s.recv(12)
            s.close()
            return answer == b'HTTP/1.1 200'
        a.until('a place among them', place)


def test_changes_are_seen(d, a):
    """What a change was answered for is there when it is asked for next."""
    for i in range(20):
        name = f'seen-{i}'
        a.json('/v1/assignments', 201, method='POST', body={'name': name, 'quota': 1 << 20})
        assert a.json('/v1/vms/' + name)['name'] == name
        a.json('/v1/assignments/' + name, method='DELETE')
        a.json('/v1/vms/' + name, 404)


def test_malformed_settings(d, a):
    """400: could never be granted; 409: not as things are."""
    for body in ({'name': 'x', 'priority': 'ultra'}, {'name': 'x', 'qouta': 5}, {'name': 'bad name/!'}, {'name': 'x', 'weight': -3},
                 {'name': 'x', 'quota': '4G'}, {'name': 'x' * 200}, {'name': 'x', 'cap': 10, 'reservation': 20}):
        error = a.json('/v1/assignments', 400, method='POST', body=body)['error']
        assert any(key in error for key in body), (body, error)
    for body in ({'name': 'one'}, {'name': 'x', 'quota': 1 << 50}, {'name': 'x', 'pool': 'nowhere'}):
        a.json('/v1/assignments', 409, method='POST', body=body)


def test_capacity(d, a):
    """What is free is told by device: a VM is on one of them."""
    c, devices = a.json('/v1/capacity'), {v['name']: v for v in d.ok('list-devices')}
    assert {v['name']: v['memory_free'] for v in c['devices']} == {n: v['memory'] - v['memory_reserved'] for n, v in devices.items()}, c
    assert len(devices) == 2 and c['largest_free'] == max(v['memory_free'] for v in c['devices']) < c['device_memory_free'], c
    a.json('/v1/assignments', 409, method='POST', body={'name': 'x', 'quota': c['largest_free'] + 1})
    one, = (v for v in a.json('/v1/assignments') if v['name'] == 'one')
    assert one['device'] in devices and one['pool'] == 'default', one


def cpu_ns(pid):
    return sum(int((t / 'schedstat').read_text().split()[0]) for t in pathlib.Path(f'/proc/{pid}/task').iterdir())


def test_page_cost():
    """A page of 64 VMs and 4 devices, by the processor's time it costs the agent: with the looks of the meantime."""
    with vgpud('devices=4') as d:
        for i in range(64):
            d.ok('register-vm', name=f'instance-{i:08x}', quota=1 << 20)
        with Agent(d.run) as a:
            took = []
            for _ in range(20):
                since = cpu_ns(a.process.pid)
                for _ in range(5):
                    assert a.ask('/metrics')[0] == 200
                took.append((cpu_ns(a.process.pid) - since) / 5e6)
            print(f'/metrics of 64 VMs and 4 devices: {sorted(took)[10]:.2f} ms of a processor (median of 20 fives)')
            assert agent.SANITIZED or sorted(took)[10] <= 5, took


class Hung:
    """vgpud stopped, and its socket's backlog full: whoever connects waits."""

    def __init__(self, d):
        self.pids = [d.process.pid, *d.children('vgpu-broker')]
        self.path, self.fill = str(d.run / 'control.sock'), []

    def __enter__(self):
        for p in self.pids:
            os.kill(p, signal.SIGSTOP)
        while len(self.fill) < 4096:
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            try:
                s.connect(self.path)
            except BlockingIOError:
                s.close()
                return self
            self.fill.append(s)
        raise AssertionError('the backlog has no end')

    def __exit__(self, *_):
        for p in self.pids:
            os.kill(p, signal.SIGCONT)
        for s in self.fill:
            s.close()


def test_hung_vgpud(d):
    """It is down within seconds; changes are answered, streams opened, an agent starts, and SIGTERM ends it."""
    with Agent(d.run) as a:
        with Hung(d):
            since = time.monotonic()
            a.until('it is down', lambda: a.ask('/healthz')[0] == 503)
            assert a.json('/healthz', 503)['status'] == 'down' and a.metrics()['openvgpu_up'][1] == {None: 0}
            took = time.monotonic() - since
            answered = []
            posts = [threading.Thread(target=lambda: answered.append(a.ask('/v1/assignments', 'POST', {'name': 'x'})[0])) for _ in range(8)]
            for t in posts:
                t.start()
            with Stream(a), Stream(a):
                pass
            for t in posts:
                t.join(LIMIT)
            assert answered == [503] * 8, answered
            begin = time.monotonic()
            with Agent(d.run) as other:
                started = time.monotonic() - begin
                assert other.ask('/healthz')[0] == 503
                begin = time.monotonic()
            ended = time.monotonic() - begin
            print(f'a hung vgpud: down after {took:.1f} s; another agent starts in {started:.1f} s and ends in {ended:.1f} s')
            assert took < 10 and started < 10 and ended < 10
        a.until('its return', lambda: a.ask('/healthz')[0] == 200)


def main():
    test_page_cost()
    print('ok test_page_cost', flush=True)
    with vgpud('devices=2') as d:
        d.ok('register-vm', name='one', quota=64 << 20)
        with Agent(d.run) as a:
            a.until('the VM', lambda: len(a.json('/v1/vms')) == 1)
            for test in (test_changes_are_seen, test_malformed_settings, test_capacity, test_events_of_another_broker, test_events_not_kept):
                test(d, a)
                print('ok', test.__name__, flush=True)
        for test in (test_vanished_followers, test_hung_vgpud):
            test(d)
            print('ok', test.__name__, flush=True)


if __name__ == '__main__':
    main()
