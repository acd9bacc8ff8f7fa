#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A broker dies, or another version takes over, at a bad moment: what an administrator has changed since the programs came
must not end them, nor may they notice more than a pause of a second."""
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
from harness import BUILD, DEAD, SOFTCUDA, Peer, Refused, main, wait_for  # noqa: E402
from devices import HANG, Faulty, refused, running  # noqa: E402  takes the driver from the command line
from upgrade import PAUSE_MAX, WORKER, Installed, Worker  # noqa: E402

USER, OTHER_USER = 1000, 2000


def broker_dies(v):
    old = v.children('vgpu-broker')
    os.kill(old[0], signal.SIGKILL)
    wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], old))


def upgrade(v):
    r = v.admin('upgrade')
    assert r.returncode == 0, r


EVENTS = broker_dies, upgrade


class Program(Worker):
    """As an ordinary user may start one: by environment, perhaps without a tenant's name."""

    def __init__(self, v, tenant='', user=None):
        env = dict(os.environ, VGPU_SOCKET=str(v.run / 'guest.sock'), VGPU_TENANT=tenant,
                   LD_LIBRARY_PATH=str(BUILD / 'src/guest'))
        self.process = subprocess.Popen([str(WORKER)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                                        user=user)
        assert self.process.stdout.readline().startswith('round'), self.process.communicate()


def nobody_ends(v, what, event, programs):
    """The event happens while they compute; each goes on, in the same process on the device, and soon."""
    before = {c['id'] for c in v.ok('connections')}
    for p in programs:
        p.rounds()
        p.forget()
    event(v)
    for p in programs:
        p.rounds()
    assert {c['id'] for c in v.ok('connections')} == before, 'let in anew'
    pauses = [p.end() for p in programs]
    print(f'{what}, {event.__name__}: longest pause {max(pauses) * 1e3:.0f} ms')
    assert max(pauses) <= PAUSE_MAX, pauses
    assert v.process.poll() is None and 'not in this state' not in v.log_text(), v.log_text()


def register(v, *names, **more):
    for n in names:
        v.ok('register-vm', name=n, quota=1 << 28, **more)


def test_the_only_vm_is_not_alone_any_more():
    """A program that named no tenant was let in as the only VM there was."""
    for event in EVENTS:
        with Installed() as v:
            register(v, 'a')
            p = Program(v)
            register(v, 'b')
            nobody_ends(v, 'a second VM', event, [p])
            assert [c['vm'] for c in v.ok('connections') if c['vm'] != 'a'] == []
            try:
                Peer(v.run, '')
                raise AssertionError('let in as one of two')
            except Refused as e:
                assert e.args[0] == 2, e


def test_the_user_of_a_vm_changes():
    if os.geteuid():
        print('skipped: other users need root')
        return
    for event in EVENTS:
        with Installed() as v:
            os.chmod(v.run / 'guest.sock', 0o666)
            register(v, 'a', uid=USER)
            p = Program(v, 'a', USER)
            v.ok('set-vm', name='a', uid=OTHER_USER)
            nobody_ends(v, 'another user', event, [p])
            r = subprocess.run([str(WORKER)], env=dict(os.environ, VGPU_SOCKET=str(v.run / 'guest.sock'), VGPU_TENANT='a',
                               LD_LIBRARY_PATH=str(BUILD / 'src/guest')), user=USER, timeout=60, stdout=subprocess.PIPE)
            assert r.returncode, 'the next one of the former user is let in'


def test_a_vm_that_was_forgotten():
    """state.db is an older one, without the VM: its program ends, for nobody vouches for it; no other, and no broker."""
    with Installed() as v:
        register(v, 'a', 'b')
        p, q = Program(v, 'a'), Peer(v.run, 'b')
        with contextlib.closing(sqlite3.connect(v.dir / 'state/state.db', isolation_level=None)) as db:
            db.execute("DELETE FROM vms WHERE name = 'b'")
        p.forget()
        broker_dies(v)
        p.rounds()
        assert q.sock.recv(1) == b'', 'it is told'
        assert [c['vm'] for c in v.ok('connections')] == ['a'] and p.end() <= PAUSE_MAX
        assert 'not in this state' not in v.log_text() and v.log_text().count('broker ended') == 1, v.log_text()
        q.close()


def test_less_than_vms_were_promised():
    """As with a device that comes back smaller: what runs goes on and so does who comes, nobody new is registered."""
    with Installed() as v:
        register(v, 'a', 'b')
        p = Program(v, 'a')
        total = v.ok('status')['device_memory']
        with contextlib.closing(sqlite3.connect(v.dir / 'state/state.db', isolation_level=None)) as db:
            db.execute('UPDATE vms SET quota = ? WHERE name = ?', (total, 'b'))
        nobody_ends(v, 'less memory', broker_dies, [p])
        refused(v, '(0 bytes) are left', 'register-vm', name='c', quota=1 << 20)
        problems = v.ok('health')['problems']
        assert [x['what'] for x in problems] == ['reserved'] and str(total) in problems[0]['text'], problems
        v.ok('set-vm', name='a', weight=3)
        running(v, 'b').close()
        v.ok('set-vm', name='b', quota=1 << 28)
        assert v.ok('health')['healthy']


def test_the_driver_is_away():
    """While it is being replaced, say: what runs goes on, what is new ends with an error, and is served once it is back."""
    with Installed() as v:
        v.stop()
        v.driver = v.dir / 'softcuda.so'
        shutil.copy(SOFTCUDA, v.driver)
        away = v.driver.with_suffix('.away')
        v.start()
        register(v, 'a', 'b')
        p = Program(v, 'a')

        def broker_dies_without_driver(v):
            v.driver.rename(away)
            broker_dies(v)
        nobody_ends(v, 'no driver', broker_dies_without_driver, [p])
        q = Peer(v.run, 'b')
        q.want(1)
        assert q.wait_state(DEAD) == DEAD
        q.close()
        away.rename(v.driver)
        running(v, 'b').close()


def test_a_configuration_with_too_little():
    """Refused with the numbers, by reload-config and by upgrade; the next broker begins all the same."""
    v = Installed()
    v.options = [o for o in v.options if not o.startswith('bar-budget')]
    v.config.write_text('bar-budget = 1G\n')
    with v:
        register(v, 'a', 'b')
        p, total = Program(v, 'a'), v.ok('status')['device_memory']
        for text, words in (('bar-budget = 256M', '512 MiB, more than 256 MiB'), (f'bar-budget = 1G\ncontext-overhead = {total // 2}', 'at most')):
            v.config.write_text(text + '\n')
            refused(v, words, 'reload-config')
            refused(v, words, 'upgrade')
        nobody_ends(v, 'too little', broker_dies, [p])
        assert v.ok('status')['bar_budget'] == 1 << 30
        v.config.write_text('bar-budget = 512M\n')
        v.ok('reload-config')


def test_one_device_of_two_hangs():
    """It hung from the beginning, so nobody knows what it is: the next broker serves the other one meanwhile."""
    with Faulty() as faulty, Installed('devices=2') as v:
        v.stop()
        v.driver = faulty.path
        v.config.write_text('probe-timeout = 1s\n')
        faulty.set(1, kernels=HANG)
        v.start()
        register(v, 'a')
        p = Program(v, 'a')
        v.config.write_text('probe-timeout = 60s\n')
        v.ok('reload-config')
        nobody_ends(v, 'one of two hangs', broker_dies, [p])
        assert [(d['name'], d['serves']) for d in v.ok('list-devices')] == [('cuda0', True), ('cuda1', False)], v.ok('list-devices')
        running(v, 'a').close()


if __name__ == '__main__':
    sys.exit(main(globals()))
