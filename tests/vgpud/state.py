#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What vgpud remembers: settings changed live, quarantine, faults, who changed what; and what it does when
state.db is old, damaged or cannot be written."""
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import DEAD, RUN, RUNNING, SOFTCUDA, SPINNER, Peer, Refused, Vgpud, main, wait_for  # noqa: E402

# What each version of vgpud made of state.db, as it stood in the file: version n is the first n of these. Never derived
# from today's code, which is what is tested.
VERSIONS = ["""
CREATE TABLE vms (id INTEGER PRIMARY KEY CHECK (id > 0), name TEXT NOT NULL UNIQUE,
 priority INTEGER NOT NULL CHECK (priority IN (1, 2, 4)), weight INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 100),
 quota INTEGER NOT NULL CHECK (quota > 0), job_timeout_ns INTEGER NOT NULL, hard_timeout_ns INTEGER NOT NULL,
 bar_size INTEGER NOT NULL CHECK (bar_size > 0), uid INTEGER NOT NULL) STRICT;
INSERT INTO vms VALUES (7, 'old', 4, 33, 1048576, 5000000000, 0, 268435456, 4294967295);
INSERT INTO vms VALUES (9, 'other', 2, 50, 2097152, 0, 0, 268435456, 1000);
""", """
ALTER TABLE vms ADD COLUMN cap INTEGER NOT NULL DEFAULT 0 CHECK (cap BETWEEN 0 AND 100);
ALTER TABLE vms ADD COLUMN reservation INTEGER NOT NULL DEFAULT 0 CHECK (reservation BETWEEN 0 AND 100);
ALTER TABLE vms ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0 CHECK (quarantined IN (0, 1));
CREATE TABLE faults (number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, vm TEXT NOT NULL, kind TEXT NOT NULL) STRICT;
CREATE INDEX faults_vm ON faults (vm, at_ms);
CREATE TABLE audit (number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, uid INTEGER NOT NULL, pid INTEGER NOT NULL,
 command TEXT NOT NULL, object TEXT NOT NULL, change TEXT NOT NULL) STRICT;
UPDATE vms SET cap = 44, reservation = 20 WHERE name = 'old';
UPDATE vms SET quarantined = 1 WHERE name = 'other';
INSERT INTO faults VALUES (1, 1700000000000, 'old', 'crash');
INSERT INTO audit VALUES (1, 1700000000000, 0, 5, 'set-vm', 'old', 'cap 0 -> 44');
""", """
ALTER TABLE vms ADD COLUMN max_launches_per_second INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN max_bytes_per_second INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN queue_depth INTEGER NOT NULL DEFAULT 0;
UPDATE vms SET max_launches_per_second = 1000, queue_depth = 3 WHERE name = 'old';
""", """
ALTER TABLE vms ADD COLUMN fault_limit INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN fault_window_ns INTEGER NOT NULL DEFAULT 0;
UPDATE vms SET fault_limit = 4 WHERE name = 'old';
""", """
CREATE TABLE pools (name TEXT PRIMARY KEY, policy TEXT NOT NULL CHECK (policy IN ('exclusive', 'concurrent'))) STRICT;
INSERT INTO pools VALUES ('default', 'exclusive');
CREATE TABLE devices (name TEXT PRIMARY KEY, pool TEXT NOT NULL, uuid TEXT NOT NULL, pci TEXT NOT NULL,
 numa_node INTEGER NOT NULL, peers TEXT NOT NULL, state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2), reason TEXT NOT NULL) STRICT;
ALTER TABLE vms ADD COLUMN numa_node INTEGER NOT NULL DEFAULT 4294967295;
ALTER TABLE vms ADD COLUMN pool TEXT NOT NULL DEFAULT 'default';
ALTER TABLE vms ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN next_device TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN placed TEXT NOT NULL DEFAULT '';
INSERT INTO pools VALUES ('spare', 'concurrent');
"""]
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


def make(d, version, *more):
    """A state.db of that version, as a vgpud of then left it."""
    state = pathlib.Path(d) / 'state'
    state.mkdir()
    db = sqlite3.connect(state / 'state.db')
    for sql in (*VERSIONS[:version], f'PRAGMA user_version = {version};', *more):
        db.executescript(sql)
    db.close()
    own(state)
    return state


def own(state):
    """The broker's, as vgpud makes it."""
    if os.geteuid() == 0:
        for f in [state, *state.iterdir()]:
            os.chown(f, 1900000000, 1900000000)


def version_of(state):
    db = sqlite3.connect(state / 'state.db')
    try:
        return db.execute('PRAGMA user_version').fetchone()[0]
    finally:
        db.close()


def refuses_to_start(v, *words):
    r = subprocess.run(v.command(), stderr=subprocess.PIPE, text=True, timeout=30, env=v.environment())
    errors = [line for line in r.stderr.splitlines() if ': error: ' in line]
    assert r.returncode and len(errors) == 1 and all(w in errors[0] for w in ('state.db', *words)), r


def test_every_former_version():
    """What a former vgpud stored is in force, what it did not know has its initial value, and changes are stored."""
    for version in range(1, len(VERSIONS) + 1):
        with tempfile.TemporaryDirectory() as d:
            state = make(d, version)
            with Vgpud(directory=d) as v:
                a, other = v.ok('show-vm', name='old'), v.ok('show-vm', name='other')
                for key, since, value in [('id', 1, 7), ('priority', 1, 'high'), ('weight', 1, 33), ('quota', 1, 1 << 20),
                                          ('job_timeout_ns', 1, 5 * 10**9), ('cap', 2, 44), ('reservation', 2, 20),
                                          ('max_launches_per_second', 3, 1000), ('queue_depth', 3, 3), ('fault_limit', 4, 4)]:
                    assert a[key] == (value if version >= since else 0), (version, key, a[key])
                assert a['pool'] == 'default' and other['uid'] == 1000, (version, a, other)
                assert (other['status'] == 'quarantined') == (version >= 2), (version, other)
                assert len(v.ok('faults')) == (version >= 2) and len(v.ok('audit')) == (version >= 2), version
                assert ('spare' in [p['name'] for p in v.ok('list-pools')]) == (version >= 5)
                assert v.ok('health')['problems'] == [p for p in v.ok('health')['problems'] if p['what'] == 'quarantined']
                v.ok('set-vm', name='old', cap=60)
            assert version_of(state) == len(VERSIONS)
            with Vgpud(directory=d) as v:
                assert v.ok('show-vm', name='old')['cap'] == 60 and v.ok('show-vm', name='old')['weight'] == 33


def test_newer_version():
    """Not touched: not by a vgpud that starts, and not by a broker that finds it there, which goes on from memory."""
    with tempfile.TemporaryDirectory() as d:
        state = make(d, len(VERSIONS), 'CREATE TABLE colours (name TEXT)', 'PRAGMA user_version = 99')
        before = (state / 'state.db').read_bytes()
        v = Vgpud(directory=d)
        refuses_to_start(v, 'version 99', f'knows {len(VERSIONS)}')
        assert (state / 'state.db').read_bytes() == before and [f.name for f in state.iterdir()] == ['state.db']
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, weight=77)
        corrupt(v, 'PRAGMA user_version = 99')
        broker_anew(v)
        assert v.ok('show-vm', name='a')['weight'] == 77
        refused(v, 'version 99', 'set-vm', name='a', weight=3)
        assert 'version 99' in v.ok('health')['problems'][0]['text'] and 'version 99' in v.ok('status')['state']
        assert version_of(v.dir / 'state') == 99 and not aside(v)
        corrupt(v, f'PRAGMA user_version = {len(VERSIONS)}')
        v.ok('set-vm', name='a', weight=3)  # the newer one's file is ours again
        assert v.ok('health')['healthy']


def test_migration_cut_off():
    """The power goes at any moment of a migration: each step is there wholly or not at all, and the next start goes on."""
    for version in range(1, len(VERSIONS)):
        with tempfile.TemporaryDirectory() as d:
            state = make(d, version, 'PRAGMA journal_mode = WAL')
            # A process that does the next step and dies before, or without, its COMMIT; what it wrote is in the journal.
            script = f"""if True:
                import os, sqlite3
                db = sqlite3.connect({str(state / 'state.db')!r}, isolation_level=None)
                db.execute('PRAGMA cache_size = 1')
                db.execute('BEGIN IMMEDIATE')
                for s in {VERSIONS[version]!r}.split(';'):
                    db.execute(s)
                db.execute('PRAGMA user_version = {version + 1}')
                db.execute('CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) '
                           'SELECT i, hex(randomblob(50)) FROM n')
                os.kill(os.getpid(), 9)"""
            died = subprocess.run([sys.executable, '-c', script], timeout=60)
            assert died.returncode == -signal.SIGKILL
            assert (state / 'state.db-wal').stat().st_size > 100000, 'the cut left something behind'
            own(state)
            with Vgpud(directory=d) as v:
                a = v.ok('show-vm', name='old')
                assert (a['id'], a['weight'], a['cap']) == (7, 33, 44 if version >= 2 else 0), (version, a)
            assert version_of(state) == len(VERSIONS)
            db = sqlite3.connect(state / 'state.db')
            assert not db.execute("SELECT * FROM sqlite_schema WHERE name = 'filler'").fetchall()
            db.close()


def test_migration_fails():
    """A step that cannot be done is undone, and the file stays what it was."""
    with tempfile.TemporaryDirectory() as d:
        state = make(d, 3, 'CREATE TABLE pools (mine TEXT)')  # in the way of the last step, not of the one before
        v = Vgpud(directory=d)
        refuses_to_start(v, 'bringing it up to date', 'pools')
        assert version_of(state) == 4, 'as far as it went, which the version says'
        db = sqlite3.connect(state / 'state.db')
        assert not db.execute("SELECT * FROM sqlite_schema WHERE name = 'devices'").fetchall()
        db.execute('DROP TABLE pools')
        db.close()
        own(state)
        with v:
            assert v.ok('show-vm', name='old')['weight'] == 33


def damage(v):
    for f in (v.dir / 'state').iterdir():
        f.write_bytes(b'not a database, ' * 512)


def up(v):
    try:
        return v.ask('status')['ok']
    except (OSError, ValueError):
        return False


def broker_anew(v):
    old = v.children('vgpu-broker')
    os.kill(old[0], signal.SIGKILL)

    wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], old) and up(v))


def aside(v):
    return sorted(f for f in (v.dir / 'state').iterdir() if 'aside' in f.name and f.name[-1].isdigit())


def wait_event(v, kind, since=0):
    """The number of the first event of that kind after `since`; waits for it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for e in v.ok('events', since=since, wait=True):
            if e['kind'] == kind:
                return e['number']
            since = e['number']
    raise AssertionError(f'no event {kind}\n' + v.log_text())


def stored_again(v, since=0):
    """state.db came back without a restart: said once, nothing is amiss any more, and changes are taken."""
    wait_event(v, 'state-stored', since)
    assert v.ok('health')['healthy'] and v.ok('status')['state'] == 'stored', v.ok('health')


def degraded(v, *words):
    """It says so, in health, in status and in an event, once; changes are refused whole."""
    problems = v.ok('health')['problems']
    text = [p['text'] for p in problems if p['what'] == 'state']
    assert len(text) == 1 and all(w in text[0] for w in ('state.db', *words)), problems
    assert v.ok('status')['state'] == text[0]
    before = [(x['name'], x['weight'], x['status']) for x in v.ok('list-vms')]
    for cmd, fields in [('set-vm', dict(name='a', weight=3)), ('register-vm', dict(name='c', quota=1 << 20)),
                        ('create-pool', dict(name='p'))]:
        refused(v, 'state.db', cmd, **fields)
    assert [(x['name'], x['weight'], x['status']) for x in v.ok('list-vms')] == before
    assert len([e for e in v.ok('events') if e['kind'] == 'state-not-stored']) == 1, v.ok('events')


def started_anew(v, **expected):
    """What a vgpud that starts finds in state.db."""
    v.stop()
    v.start()
    for name, fields in expected.items():
        vm = v.ok('show-vm', name=name)
        assert {k: vm[k] for k in fields} == fields, vm


def test_damage_at_start():
    """A vgpud that starts has nothing else: it says what is wrong and changes nothing."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.stop()
        damage(v)
        before = (v.dir / 'state/state.db').read_bytes()
        refuses_to_start(v)
        assert (v.dir / 'state/state.db').read_bytes() == before and not aside(v)


def test_damage_while_running():
    """A new broker cannot read state.db: every VM goes on from memory. The damaged file is kept under another name, and
    what is in force is stored in a new one."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, weight=77)
        v.ok('register-vm', name='b', quota=1 << 28)
        v.ok('quarantine-vm', name='b')
        p = running(v, 'a')
        damage(v)
        broken = (v.dir / 'state/state.db').read_bytes()
        broker_anew(v)
        assert p.state() == RUNNING and v.ok('show-vm', name='a')['weight'] == 77
        assert v.ok('show-vm', name='b')['status'] == 'quarantined'
        running(v, 'a').close()
        wait_event(v, 'state-stored')
        assert [f.read_bytes() for f in aside(v)] == [broken], 'never written to'
        assert 'aside-1' in v.log_text()
        v.ok('clear-quarantine', name='b')
        v.ok('set-vm', name='a', weight=78)
        p.close()
        started_anew(v, a=dict(weight=78), b=dict(status='down'))


def test_comes_back():
    """Not usable when the broker begins, for as long as that lasts: it says so; once it can be used again, what is in
    force is stored without a restart, and what was in it (who changed what) is in it still."""
    def no_right(v):
        (v.dir / 'state/state.db').chmod(0)

    def right(v):
        (v.dir / 'state/state.db').chmod(0o600)

    def read_only(v):
        (v.dir / 'state/state.db').chmod(0o400)

    def directory(v):
        (v.dir / 'state/state.db').rename(v.dir / 'kept')
        (v.dir / 'state/state.db').mkdir()

    def no_directory(v):
        (v.dir / 'state/state.db').rmdir()
        (v.dir / 'kept').rename(v.dir / 'state/state.db')

    for ruin, mend, words in [(no_right, right, ['Permission denied']), (read_only, right, ['written']),
                              (directory, no_directory, ['unable to open'])]:
        with Vgpud('fault-limit=1') as v:
            v.ok('register-vm', name='a', quota=1 << 28, weight=77)
            v.ok('register-vm', name='b', quota=1 << 28)
            p = running(v, 'a')
            ruin(v)
            broker_anew(v)
            degraded(v, *words)
            q = running(v, 'b')
            os.kill(v.ok('show-vm', name='b')['channels'][0]['pid'], signal.SIGKILL)
            q.wait_state(DEAD)
            q.close()
            wait_for('quarantine', lambda: v.ok('show-vm', name='b')['status'] == 'quarantined')
            broker_anew(v)
            assert v.ok('show-vm', name='b')['status'] == 'quarantined', 'not in state.db, but in force'
            mend(v)
            wait_event(v, 'state-stored')
            assert [x['what'] for x in v.ok('health')['problems']] == ['quarantined'] and v.ok('status')['state'] == 'stored'
            assert not aside(v) and p.state() == RUNNING and [r['object'] for r in v.ok('audit')] == ['a', 'b']
            p.close()
            started_anew(v, a=dict(weight=77), b=dict(status='quarantined'))


def test_damage_that_cannot_be_put_aside():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, weight=77)
        damage(v)
        (v.dir / 'state').chmod(0o500)
        broker_anew(v)
        wait_for('it was tried', lambda: 'aside' in v.ok('status')['state'])
        refused(v, 'aside', 'set-vm', name='a', weight=3)
        assert not aside(v)
        (v.dir / 'state').chmod(0o700)
        stored_again(v)
        assert len(aside(v)) == 1
        started_anew(v, a=dict(weight=77))


def test_taken_away_in_use():
    """Removed, or another in its place, while the broker has it open: what it wrote would be lost without a word."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, weight=77)
        for f in (v.dir / 'state').iterdir():
            f.unlink()
        stored_again(v)
        started_anew(v, a=dict(weight=77))
        db = sqlite3.connect(v.dir / 'other')
        db.executescript("CREATE TABLE mine (x); PRAGMA user_version = 3")
        db.close()
        other = (v.dir / 'other').read_bytes()
        last = v.ok('events')[-1]['number'] if v.ok('events') else 0
        (v.dir / 'other').rename(v.dir / 'state/state.db')
        stored_again(v, last)
        assert [f.read_bytes() for f in aside(v)] == [other]
        v.ok('set-vm', name='a', weight=70)
        started_anew(v, a=dict(weight=70))


def test_killed_while_storing():
    """What was answered is stored, whenever the broker is killed."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        for turn in range(3):  # a fourth death within ten seconds, and the keeper ends, as it should
            pid, acknowledged = v.children('vgpu-broker')[0], 0
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(30)
                s.connect(str(v.run / 'control.sock'))
                answers = s.makefile()
                for i in range(1, 99):
                    s.sendall(b'{"cmd":"set-vm","name":"a","weight":%d}\n' % i)
                    if i == 15 + 17 * turn:
                        os.kill(pid, signal.SIGKILL)
                    try:
                        line = answers.readline()
                    except OSError:
                        break
                    if not line:
                        break
                    acknowledged = i
                assert acknowledged >= 14
            wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], [pid]) and up(v))
            assert v.ok('show-vm', name='a')['weight'] in (acknowledged, acknowledged + 1)
            assert v.ok('health')['healthy']


def test_no_probe_for_a_new_broker():
    """What a device is is known: a broker that comes anew starts no process of the driver's before it serves. A slow
    driver would keep guests waiting, and one that fails would end everything; this one's is gone."""
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o711)
        driver = pathlib.Path(d) / 'libcuda.so.1'
        shutil.copy(SOFTCUDA, driver)
        with Vgpud(directory=d, driver=driver) as v:
            v.ok('register-vm', name='a', quota=1 << 28)
            running(v, 'a').close()
            wait_for('its executor ended', lambda: not v.children('vgpu-executor'))
            same = ('name', 'model', 'memory', 'pci', 'numa_node', 'serves')
            before = [[x[k] for k in same] for x in v.ok('status')['devices']]
            os.truncate(driver, 0)
            broker_anew(v)
            assert [[x[k] for k in same] for x in v.ok('status')['devices']] == before
            shutil.copy(SOFTCUDA, driver)
            running(v, 'a').close()


def test_two_at_once():
    """A second vgpud on the same directories is refused; the first one does not notice."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        r = subprocess.run(v.command(), stderr=subprocess.PIPE, text=True, timeout=30, env=v.environment())
        assert r.returncode and 'run-dir' in r.stderr and r.stderr.count(': error: ') == 1, r
        other = Vgpud(f'run-dir={v.dir}/run2', directory=v.dir)
        other.run = v.dir / 'run2'
        r = subprocess.run(other.command(), stderr=subprocess.PIPE, text=True, timeout=30, env=other.environment())
        assert r.returncode and 'state-dir' in r.stderr, r
        v.ok('set-vm', name='a', weight=3)
        running(v, 'a').close()


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
    """A new broker finds no state.db, or an empty one: that is not taken for a state of no VMs."""
    def removed(f):
        f.unlink()

    for ruin in removed, lambda f: f.write_bytes(b''):
        with Vgpud() as v:
            v.ok('register-vm', name='a', quota=1 << 28, weight=77)
            p = running(v, 'a')
            for f in (v.dir / 'state').iterdir():
                ruin(f)
            broker_anew(v)
            assert p.state() == RUNNING and v.ok('show-vm', name='a')['weight'] == 77
            stored_again(v)
            p.close()
            started_anew(v, a=dict(weight=77))


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
            if words:
                stored_again(v)
                said = [e['text'] for e in v.ok('events') if e['kind'] == 'state-not-stored']
                assert len(said) == 1 and words in said[0] and len(aside(v)) == 1, said
            assert v.ok('health')['healthy']


def test_somebody_else_writes():
    """An administrator's sqlite3 in the midst of a change: ours is refused, and nobody waits for his."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, weight=77)
        db = sqlite3.connect(v.dir / 'state/state.db', isolation_level=None)
        db.execute('BEGIN IMMEDIATE')
        began = time.monotonic()
        refused(v, 'locked', 'set-vm', name='a', weight=3)
        refused(v, 'locked', 'set-vm', name='a', weight=3)
        assert time.monotonic() - began < 1.5, 'the broker, and every guest with it, waited'
        assert 'locked' in v.ok('status')['state']
        db.execute('ROLLBACK')
        db.close()
        stored_again(v)
        assert v.ok('show-vm', name='a')['weight'] == 77


def fill(directory):
    try:
        with open(directory / 'filler', 'wb') as f:
            while True:
                f.write(bytes(4096))
                f.flush()
    except OSError:
        pass


def test_full_disk():
    """Nothing can be written: changes are refused whole, running programs and faults go on; until there is space again."""
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
                fill(state)

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
                stored_again(v)
                v.ok('set-vm', name='a', weight=99)
                started_anew(v, a=dict(weight=99))
                # The machine starts with a full disk: what is stored can be read, and there is room again later.
                v.stop()
                (state / 'state.db-shm').unlink()
                fill(state)
                v.start()
                assert v.ok('show-vm', name='a')['weight'] == 99
                running(v, 'a').close()
                refused(v, 'full', 'set-vm', name='a', weight=98)
                (state / 'filler').unlink()
                stored_again(v)
                started_anew(v, a=dict(weight=99))
        finally:
            subprocess.run(['umount', str(state)], check=True)


def test_held_by_another():
    """Somebody's sqlite3 shell holds the file: nobody waits for it but a moment, and what happened is stored later."""
    with Vgpud() as v:
        for name in 'ab':
            v.ok('register-vm', name=name, quota=1 << 28)
        p = running(v, 'b')
        db = sqlite3.connect(v.dir / 'state/state.db', isolation_level=None)
        db.execute('BEGIN IMMEDIATE')
        t = time.monotonic()
        refused(v, 'locked', 'set-vm', name='a', weight=3)
        assert time.monotonic() - t < 1, 'leases wait meanwhile'
        os.kill(v.ok('show-vm', name='b')['channels'][0]['pid'], signal.SIGKILL)
        p.wait_state(DEAD)
        p.close()
        v.ok('quarantine-vm', name='a')
        v.ok('drain-device', name='softcuda0')
        assert v.ok('show-vm', name='a')['status'] == 'quarantined' and v.ok('list-devices')[0]['state'] == 'drained'
        db.execute('ROLLBACK')
        db.close()
        wait_event(v, 'state-stored')
        v.ok('undrain-device', name='softcuda0')
        assert v.ok('status')['state'] == 'stored' and v.ok('show-vm', name='b')['faults'] == 1
        started_anew(v, a=dict(status='quarantined'))


if __name__ == '__main__':
    sys.exit(main(globals()))
