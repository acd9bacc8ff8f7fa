#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What vgpud remembers: settings changed live, quarantine, faults, who changed what; and what it does when
state.db is old, damaged or cannot be written."""
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import DEAD, RUN, RUNNING, SPINNER, Peer, Refused, Vgpud, main, wait_for  # noqa: E402

VERSION_1 = """
CREATE TABLE vms (id INTEGER PRIMARY KEY CHECK (id > 0), name TEXT NOT NULL UNIQUE,
 priority INTEGER NOT NULL CHECK (priority IN (1, 2, 4)), weight INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 100),
 quota INTEGER NOT NULL CHECK (quota > 0), job_timeout_ns INTEGER NOT NULL, hard_timeout_ns INTEGER NOT NULL,
 bar_size INTEGER NOT NULL CHECK (bar_size > 0), uid INTEGER NOT NULL) STRICT;
INSERT INTO vms VALUES (7, 'old', 4, 33, 1048576, 5000000000, 0, 268435456, 4294967295);
PRAGMA user_version = 1;
"""
ERR_QUARANTINED = 4


def running(v, name):
    p = Peer(v.run, name)
    p.want(1)
    assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
    return p


def crash(v, name):
    p = running(v, name)
    os.kill(v.ok('show-vm', name=name)['channels'][0]['pid'], signal.SIGKILL)
    p.wait_state(DEAD)
    p.close()
    wait_for('its end', lambda: not v.children('vgpu-executor'))


def refused(v, words, cmd, **fields):
    r = v.ask(cmd, **fields)
    assert not r['ok'] and words in r['error'], (words, r)


def test_settings_change_live():
    with Vgpud() as v:
        total = v.ok('status')['device_memory']
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28, weight=50, reservation=60)
        p = running(v, 'a')
        a = v.ok('set-vm', name='a', priority='high', weight=25, quota=1 << 29, cap=40, job_timeout_ns=10**9)
        assert (a['priority'], a['weight'], a['quota'], a['cap'], a['job_timeout_ns']) == ('high', 25, 1 << 29, 40, 10**9)
        assert abs(a['share'] - 0.5) < 1e-9 and p.state() == RUNNING
        assert int.from_bytes(p.bar[32:40], 'little') == 1 << 29, 'the guest sees its new quota'
        before = v.ok('list-vms')
        for words, fields in [('weight', dict(weight=0)), ('at most', dict(quota=total)), ('priority', dict(priority=3)),
                              ('cap', dict(cap=101)), ('reservation', dict(reservation=41)), ('bar_size', dict(bar_size=1 << 29)),
                              ('colour', dict(weight=70, colour=1)), ('more than the cap', dict(cap=10, reservation=20))]:
            refused(v, words, 'set-vm', name='a', **fields)
        refused(v, 'not registered', 'set-vm', name='c', weight=3)
        refused(v, 'id', 'set-vm-id', name='b', id=1)
        assert v.ok('list-vms') == before, 'a refusal changes nothing'
        v.ok('set-vm', name='b', reservation=0)
        v.ok('set-vm', name='a', reservation=40)
        refused(v, 'connected', 'set-vm-id', name='a', id=9)
        p.close()
        wait_for('a is down', lambda: v.ok('show-vm', name='a')['status'] == 'down')
        assert v.ok('set-vm-id', name='a', id=9)['id'] == 9
        running(v, 'a').close()
        v.stop()
        v.start()
        a = v.ok('show-vm', name='a')
        assert (a['id'], a['priority'], a['weight'], a['cap'], a['reservation']) == (9, 'high', 25, 40, 40), a
        log = [(r['command'], r['object'], r['change'], r['uid']) for r in v.ok('audit')]
        assert ('set-vm', 'b', 'reservation 60 -> 0', os.geteuid()) in log and \
            ('set-vm-id', 'a', 'id 1 -> 9', os.geteuid()) in log, log
        assert not [r for r in log if 'colour' in r[2]], 'refusals are no changes'


def test_quarantine_survives():
    with Vgpud('fault-limit=2') as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        crash(v, 'a')
        v.stop()
        v.start()
        assert v.ok('show-vm', name='a')['faults'] == 1
        crash(v, 'a')
        wait_for('two faults, one of them before the restart', lambda: v.ok('show-vm', name='a')['status'] == 'quarantined')
        v.stop()
        v.start()
        assert v.ok('show-vm', name='a')['status'] == 'quarantined'
        assert [(f['vm'], f['kind']) for f in v.ok('faults')] == [('a', 'crash')] * 2
        assert len(v.ok('faults', name='a')) == 2 and v.ok('faults', name='%') == v.ok('audit', name='_') == []
        assert not v.ok('health')['healthy']
        v.ok('clear-quarantine', name='a')
        crash(v, 'a')
        assert v.ok('show-vm', name='a')['status'] != 'quarantined', 'counted anew'
        assert v.ok('health')['healthy'] and v.ok('show-vm', name='b')['faults'] == 0


def test_fault_limit_of_one_vm():
    """One VM's own limit and window, set live; the others keep the configuration's. A restart forgets neither."""
    with Vgpud('fault-limit=3') as v:
        for name, own in (('strict', dict(fault_limit=1)), ('usual', {}), ('brief', dict(fault_limit=2, fault_window_ns=10**9))):
            v.ok('register-vm', name=name, quota=1 << 28, **own)
        for name in ('strict', 'usual'):
            crash(v, name)
        assert v.ok('show-vm', name='strict')['status'] == 'quarantined'
        assert v.ok('show-vm', name='usual')['status'] != 'quarantined'
        v.ok('set-vm', name='usual', fault_limit=2)
        crash(v, 'brief')
        v.stop()
        v.start()
        assert v.ok('show-vm', name='usual')['fault_limit'] == 2
        assert v.ok('show-vm', name='brief')['fault_window_ns'] == 10**9
        crash(v, 'usual')
        assert v.ok('show-vm', name='usual')['status'] == 'quarantined', 'one before the restart, one after it'
        first = time.monotonic()
        wait_for('a second', lambda: time.monotonic() - first > 1.1)
        crash(v, 'brief')
        assert v.ok('show-vm', name='brief')['status'] != 'quarantined', 'the first one was too long ago'
        refused(v, 'fault_limit', 'set-vm', name='usual', fault_limit=1001)
        refused(v, 'fault_window_ns', 'set-vm', name='usual', fault_window_ns=1)


def test_quarantine_by_hand():
    """Running executors end, the guest reads why, others go on; until cleared."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        p, q = running(v, 'a'), running(v, 'b')
        assert v.ok('quarantine-vm', name='a')['status'] == 'quarantined'
        p.wait_state(DEAD)
        assert p.error() == ERR_QUARANTINED and q.state() == RUNNING
        refused(v, 'already', 'quarantine-vm', name='a')
        wait_for('its executor ended', lambda: len(v.children('vgpu-executor')) == 1)
        p.want(0)
        p.want(2)
        p.wait_state(DEAD)
        try:
            Peer(v.run, 'a')
            raise AssertionError('admitted in quarantine')
        except Refused as e:
            assert e.args[0] == 6, e
        assert v.ok('show-vm', name='a')['faults'] == 0, 'being quarantined is no fault of its own'
        v.ok('clear-quarantine', name='a')
        p.close()
        running(v, 'a').close()
        q.close()


def test_quarantine_in_a_program():
    """What a CUDA program sees: its next call fails, it does not hang."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        program = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', 'a', '--', str(SPINNER), '1000'],
                                   stdout=subprocess.PIPE, text=True)
        assert program.stdout.readline() == 'started\n' and program.stdout.readline() == 'ready\n'
        v.ok('quarantine-vm', name='a')
        out, _ = program.communicate(timeout=60)
        assert program.returncode == 1 and out.rstrip().endswith(' 802'), out  # CUDA_ERROR_SYSTEM_NOT_READY
        again = subprocess.run([str(RUN), '--run-dir', str(v.run), '--tenant', 'a', '--', str(SPINNER), '10', '10'],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert again.returncode and 'quarantined' in again.stdout + again.stderr, again


def test_a_killed_executor_in_a_program():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        program = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', 'a', '--', str(SPINNER), '1000'],
                                   stdout=subprocess.PIPE, text=True)
        assert program.stdout.readline() == 'started\n' and program.stdout.readline() == 'ready\n'
        os.kill(v.ok('show-vm', name='a')['channels'][0]['pid'], signal.SIGKILL)
        out, _ = program.communicate(timeout=60)
        assert program.returncode == 1 and out.rstrip().endswith(' 719'), out  # CUDA_ERROR_LAUNCH_FAILED


def test_events():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        last = v.ok('events')[-1]['number']
        crash(v, 'a')
        seen = []
        while 'disconnected' not in seen:
            news = v.ok('events', since=last, wait=True)  # returns when there is one, not at once
            assert news
            last = news[-1]['number']
            seen += [e['kind'] for e in news]
        assert [k for k in seen if k in ('connected', 'fault', 'disconnected')] == ['connected', 'fault', 'disconnected'], seen


def test_old_version():
    with tempfile.TemporaryDirectory() as d:
        state = pathlib.Path(d) / 'state'
        state.mkdir()
        db = sqlite3.connect(state / 'state.db')
        db.executescript(VERSION_1)
        db.close()
        if os.geteuid() == 0:
            for f in [state, *state.iterdir()]:
                os.chown(f, 1900000000, 1900000000)
        with Vgpud(directory=d) as v:
            a = v.ok('show-vm', name='old')
            assert (a['id'], a['weight'], a['cap']) == (7, 33, 0), a
            v.ok('set-vm', name='old', cap=20)
        db = sqlite3.connect(state / 'state.db')
        assert db.execute('PRAGMA user_version').fetchone()[0] == 5
        db.execute('PRAGMA user_version = 99')
        db.commit()
        db.close()
        r = subprocess.run(v.command(), stderr=subprocess.PIPE, text=True, timeout=30, env=v.environment())
        assert r.returncode and 'version 99' in r.stderr, r


def damage(v):
    for f in (v.dir / 'state').iterdir():
        f.write_bytes(b'not a database, ' * 512)


def broker_anew(v):
    old = v.children('vgpu-broker')
    os.kill(old[0], signal.SIGKILL)

    def answers():
        try:
            return v.ask('status')['ok']
        except (OSError, ValueError):
            return False
    wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], old) and answers())


def test_damage_at_start():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.stop()
        damage(v)
        r = subprocess.run(v.command(), stderr=subprocess.PIPE, text=True, timeout=30, env=v.environment())
        errors = [line for line in r.stderr.splitlines() if ': error: ' in line]
        assert r.returncode and len(errors) == 1 and 'state.db' in errors[0], r


def test_damage_while_running():
    """A new broker cannot read state.db: every VM goes on from memory, changes are refused, and it says so."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, weight=77)
        v.ok('register-vm', name='b', quota=1 << 28)
        v.ok('quarantine-vm', name='b')
        p = running(v, 'a')
        damage(v)
        broker_anew(v)
        assert p.state() == RUNNING and v.ok('show-vm', name='a')['weight'] == 77
        assert v.ok('show-vm', name='b')['status'] == 'quarantined'
        running(v, 'a').close()
        health = v.ok('health')
        assert not health['healthy'] and 'state.db' in health['problems'][0]['text'], health
        before = v.ok('list-vms')
        for cmd, fields in [('set-vm', dict(name='a', weight=3)), ('register-vm', dict(name='c', quota=1 << 20)),
                            ('clear-quarantine', dict(name='b'))]:
            refused(v, 'state.db', cmd, **fields)
        assert [(x['name'], x['weight'], x['status']) for x in v.ok('list-vms')] == \
            [(x['name'], x['weight'], x['status']) for x in before]
        p.close()


def test_numbers_exchanged():
    """A broker that died while it gave VMs other numbers: the next one's sockets are the right VMs' all the same."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        corrupt(v, *(f"UPDATE vms SET id = {to} WHERE id = {old}" for old, to in ((1, 9), (2, 1), (9, 2))))
        broker_anew(v)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(v.run / 'vm/a.sock'))
            assert len(s.recv(8)) == 8
            assert v.ok('show-vm', name='a')['status'] == 'up' and v.ok('show-vm', name='b')['status'] == 'down'
            assert v.ok('show-vm', name='a')['id'] == 2


def test_set_id_without_a_socket():
    """The VM's socket cannot be opened under its new number: an error, but the VM stays, and can be tried again."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, weight=77)
        path = v.run / 'vm/a.sock'
        path.unlink()
        path.mkdir()
        refused(v, 'socket', 'set-vm-id', name='a', id=9)
        a = v.ok('show-vm', name='a')
        assert (a['id'], a['weight']) == (9, 77), a
        path.rmdir()
        assert v.ok('set-vm-id', name='a', id=9)['id'] == 9 and path.is_socket()
        (v.run / 'vm/b.sock').mkdir()
        refused(v, 'socket', 'register-vm', name='b', quota=1 << 28)
        assert [x['name'] for x in v.ok('list-vms')] == ['a']


def test_emptied_while_running():
    """A new broker finds no state.db, or an empty one: the VMs go on, and the file is not taken for the truth."""
    def removed(f):
        f.unlink()

    for ruin in removed, lambda f: f.write_bytes(b''):
        with Vgpud() as v:
            v.ok('register-vm', name='a', quota=1 << 28, weight=77)
            p = running(v, 'a')
            for f in (v.dir / 'state').iterdir():
                ruin(f)
            for _ in range(2):  # the second is not misled by what the first one did
                broker_anew(v)
                assert p.state() == RUNNING and v.ok('show-vm', name='a')['weight'] == 77
                health = v.ok('health')
                assert not health['healthy'] and 'state.db' in health['problems'][0]['text'], health
            refused(v, 'state.db', 'set-vm', name='a', weight=3)
            p.close()


def corrupt(v, *statements):
    """Writes what SQLite's own checks would refuse."""
    db = sqlite3.connect(v.dir / 'state/state.db', isolation_level=None)
    db.execute('PRAGMA ignore_check_constraints = 1')
    db.execute('PRAGMA writable_schema = 1')
    for s in statements:
        db.execute(s)
    db.close()


def test_damaged_rows():
    """Rows that are no VM's and no fault's: the broker says so and goes on from memory; it does not die of them."""
    unchecked = "UPDATE sqlite_schema SET sql = replace(sql, 'vm TEXT NOT NULL', 'vm TEXT') WHERE name = 'faults'"
    for statements, words in [(["UPDATE vms SET weight = 5000"], 'weight'), (["UPDATE vms SET bar_size = 1"], 'bar_size'),
                              (["UPDATE vms SET priority = 3"], 'priority'), (["UPDATE vms SET quota = -1"], 'quota'),
                              ([unchecked], None), (["INSERT INTO faults (at_ms, vm, kind) VALUES (1, NULL, 'crash')"], 'fault')]:
        with Vgpud() as v:
            v.ok('register-vm', name='a', quota=1 << 28, weight=77)
            if words == 'fault':
                corrupt(v, unchecked)
            corrupt(v, *statements)
            broker_anew(v)
            assert v.ok('show-vm', name='a')['weight'] == 77
            problems = v.ok('health')['problems']
            assert not problems if words is None else words in problems[0]['text'], (statements, problems)


def test_full_disk():
    """Nothing can be written: changes are refused whole, running programs and faults go on."""
    if os.geteuid():
        print('skipped: mounting a small file system needs root')
        return
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o711)
        state = pathlib.Path(d) / 'state'
        state.mkdir()
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', str(state)], stderr=subprocess.DEVNULL).returncode:
            print('skipped: no small file system can be mounted here')
            return
        try:
            with Vgpud(directory=d) as v:
                v.ok('register-vm', name='a', quota=1 << 28)
                p = running(v, 'a')
                try:
                    with open(state / 'filler', 'wb') as f:
                        while True:
                            f.write(bytes(4096))
                            f.flush()
                except OSError:
                    pass

                def until_full():
                    before = 50
                    for weight in range(1, 100):
                        r = v.ask('set-vm', name='a', weight=weight)
                        if not r['ok']:
                            return r['error'], before
                        before = weight
                    raise AssertionError('a full disk takes everything')
                error, before = until_full()
                assert 'state.db' in error and 'full' in error, error
                assert v.ok('show-vm', name='a')['weight'] == before, 'refused whole'
                refused(v, 'state.db', 'register-vm', name='b', quota=1 << 20)
                os.kill(v.ok('show-vm', name='a')['channels'][0]['pid'], signal.SIGKILL)
                p.wait_state(DEAD)
                p.close()
                running(v, 'a').close()
                assert v.ok('show-vm', name='a')['faults'] == 1
                (state / 'filler').unlink()
                v.ok('set-vm', name='a', weight=99)
                assert v.ok('health')['healthy']
        finally:
            subprocess.run(['umount', str(state)], check=True)


if __name__ == '__main__':
    sys.exit(main(globals()))
