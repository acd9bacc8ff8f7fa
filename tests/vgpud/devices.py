#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Several devices: pools, placement, moving, devices that go out of service and come back."""
import contextlib
import ctypes
import mmap
import os
import pathlib
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
from harness import DEAD, RUN, RUNNING, SPINNER, Peer, Vgpud, main, wait_for  # noqa: E402

FAULTY = sys.argv.pop(1) if sys.argv[1:] and sys.argv[1].endswith('.so') else None

G = 1 << 30
PTRACE_SEIZE, WALL = 0x4206, 0x40000000
ERR_NO_DEVICE, ERR_DEVICE_LOST = 5, 10
FOUR = ('devices=4', 'softcuda-memory=2G,1G')  # softcuda0 has 2 GiB, the others 1 GiB


def refused(v, what, cmd, **fields):
    r = v.ask(cmd, **fields)
    assert not r['ok'] and what in r['error'], r
    assert '\n' not in r['error'], r


def running(v, tenant, generation=1):
    p = Peer(v.run, tenant)
    p.want(generation)
    p.wait_state(RUNNING)
    return p


def device(v, name):
    return next(d for d in v.ok('list-devices') if d['name'] == name)


def where(v, vm):
    return v.ok('show-vm', name=vm)['device']


def gone(v, vm):
    wait_for(f'{vm} is not connected', lambda: v.ok('show-vm', name=vm)['status'] == 'down')


def two_pools(v):
    v.ok('create-pool', name='fast', policy='concurrent')
    v.ok('add-to-pool', name='fast', device='softcuda2')
    v.ok('add-to-pool', name='fast', device='softcuda3')


def test_devices_and_their_memory():
    with Vgpud(*FOUR) as v:
        d = v.ok('list-devices')
        assert [x['name'] for x in d] == ['softcuda0', 'softcuda1', 'softcuda2', 'softcuda3']
        assert [x['memory'] for x in d] == [2 * G, G, G, G], d
        assert all(x['pool'] == 'default' and x['serves'] for x in d)
        s = v.ok('status')
        assert s['device_memory'] == 5 * G and 'no GPU' in s['use'], s
        refused(v, 'quota', 'register-vm', name='big', quota=3 * G)
        assert v.ok('list-vms') == []


def test_placement_and_pools():
    with Vgpud(*FOUR) as v:
        two_pools(v)
        assert [(p['name'], p['policy'], p['devices']) for p in v.ok('list-pools')] == \
            [('default', 'exclusive', ['softcuda0', 'softcuda1']), ('fast', 'concurrent', ['softcuda2', 'softcuda3'])]
        assert device(v, 'softcuda2')['policy'] == 'concurrent'
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=G // 2)
        for name in ('f', 'g'):
            v.ok('register-vm', name=name, quota=G // 2, pool='fast')
        # a: the least memory left over; b: the smallest sum of shares
        assert (where(v, 'a'), where(v, 'b')) == ('softcuda1', 'softcuda0')
        assert sorted((where(v, 'f'), where(v, 'g'))) == ['softcuda2', 'softcuda3']
        assert 'least memory' in v.ok('show-vm', name='a')['placed'] and 'shares' in v.ok('show-vm', name='b')['placed']
        assert v.ok('show-vm', name='a')['share'] == 1.0, 'alone on its device'
        p, q = running(v, 'a'), running(v, 'f')
        assert device(v, 'softcuda1')['executors'] == 1 and device(v, where(v, 'f'))['executors'] == 1
        assert device(v, 'softcuda0')['executors'] == 0
        p.close()
        q.close()


def test_an_executor_has_its_device():
    """What the guest is told of the device is that device's."""
    with Vgpud(*FOUR) as v:
        two_pools(v)
        v.ok('register-vm', name='f', quota=G // 2, pool='fast')
        p = running(v, 'f')
        uuid = p.bar[int(p.bar.find(b'softcuda\0\0\0\0')):][:16]
        assert uuid[15] == int(where(v, 'f')[-1]), uuid
        with open(f"/proc/{v.ok('show-vm', name='f')['channels'][0]['pid']}/cmdline") as f:
            args = f.read().split('\0')
        assert args[args.index('--device') + 1] == where(v, 'f')[-1], args
        p.close()


def test_quotas_and_reservations_are_each_device_s():
    with Vgpud(*FOUR) as v:
        two_pools(v)
        v.ok('register-vm', name='f', quota=G, pool='fast', reservation=60)
        v.ok('register-vm', name='g', quota=G // 4, pool='fast', reservation=60)
        assert where(v, 'f') != where(v, 'g')
        before = v.ok('list-vms')
        refused(v, 'fast', 'register-vm', name='h', quota=G, pool='fast')
        refused(v, 'reservation', 'register-vm', name='h', quota=G // 4, pool='fast', reservation=41)
        refused(v, 'quota', 'set-vm', name='f', quota=G + 1)
        refused(v, 'from 1 to 100', 'set-vm', name='f', reservation=101)
        assert v.ok('list-vms') == before
        v.ok('set-vm', name='g', reservation=40)
        v.ok('register-vm', name='h', quota=G // 4, pool='fast', reservation=60)
        assert where(v, 'h') == where(v, 'g')
        refused(v, 'reservation', 'set-vm', name='g', reservation=41)


def test_bad_input_changes_nothing():
    with Vgpud(*FOUR) as v:
        two_pools(v)
        v.ok('create-pool', name='other')
        v.ok('register-vm', name='a', quota=G // 2, pool='fast')
        v.ok('register-vm', name='b', quota=G // 2)

        def everything():
            return [v.ok(c) for c in ('list-vms', 'list-devices', 'list-pools', 'audit')]
        before = everything()
        for what, cmd, fields in [
                ('does not exist', 'register-vm', dict(name='c', quota=1, pool='none')),
                ('has no device', 'register-vm', dict(name='c', quota=1, pool='other')),
                ('does not exist', 'set-pool', dict(name='b', pool='none')),
                ('pool: missing', 'set-pool', dict(name='b')),
                ('not registered', 'set-pool', dict(name='x', pool='fast')),
                ('already', 'set-pool', dict(name='a', pool='fast')),
                ('has no device', 'set-pool', dict(name='a', pool='other')),
                ('claimed by pool "fast"', 'add-to-pool', dict(name='other', device='softcuda2')),
                ('already', 'add-to-pool', dict(name='fast', device='softcuda3')),
                ('does not exist', 'add-to-pool', dict(name='other', device='softcuda9')),
                ('does not exist', 'add-to-pool', dict(name='nowhere', device='softcuda0')),
                ('is on it', 'add-to-pool', dict(name='other', device=where(v, 'b'))),
                ('not in pool', 'remove-from-pool', dict(name='other', device='softcuda2')),
                ('no other pool', 'remove-from-pool', dict(name='default', device='softcuda0')),
                ('is on it', 'remove-from-pool', dict(name='fast', device=where(v, 'a'))),
                ('exists', 'create-pool', dict(name='fast')),
                ('policy', 'create-pool', dict(name='p', policy='fair')),
                ('name', 'create-pool', dict(name='a b')),
                ('name', 'create-pool', dict(name='x' * 49)),
                ('no such argument', 'create-pool', dict(name='p', colour='red')),
                ('cannot be removed', 'remove-pool', dict(name='default')),
                ('belongs to it', 'remove-pool', dict(name='fast')),
                ('policy', 'set-policy', dict(name='fast', policy=7)),
                ('in pool "fast"', 'move-vm', dict(name='b', device='softcuda2')),
                ('does not exist', 'move-vm', dict(name='b', device='gpu7')),
                ('does not exist', 'drain-device', dict(name='gpu7')),
                ('reason', 'drain-device', dict(name='softcuda0', reason='x' * 200)),
                ('in service', 'undrain-device', dict(name='softcuda0')),
                ('not assigned', 'unassign-gpu', dict(name='softcuda0')),
                ('not the UUID', 'assign-gpu', dict(uuid='0')),
                ('gpu-driver', 'assign-gpu', dict(uuid='GPU-00000000-0000-0000-0000-000000000000'))]:
            refused(v, what, cmd, **fields)
        assert everything() == before


def test_set_pool():
    """One that is not connected moves at once, a connected one at its next connection; its room is reserved there."""
    with Vgpud(*FOUR) as v:
        two_pools(v)
        v.ok('register-vm', name='a', quota=G // 2)
        a = v.ok('set-pool', name='a', pool='fast')
        assert (a['pool'], a['device'], a['next_device']) == ('fast', 'softcuda2', ''), a
        p = running(v, 'a')
        a = v.ok('set-pool', name='a', pool='default')
        assert (a['pool'], a['device'], a['next_device']) == ('default', 'softcuda2', 'softcuda1'), a
        assert device(v, 'softcuda1')['memory_reserved'] == device(v, 'softcuda2')['memory_reserved'] == G // 2
        refused(v, 'is on it', 'remove-from-pool', name='fast', device='softcuda2')
        assert p.state() == RUNNING
        p.close()
        wait_for('moved', lambda: where(v, 'a') == 'softcuda1')
        assert device(v, 'softcuda2')['memory_reserved'] == 0
        assert 'moved' in [e['kind'] for e in v.ok('events')]
        running(v, 'a').close()
        gone(v, 'a')
        assert v.ok('move-vm', name='a', device='softcuda0')['device'] == 'softcuda0'
        log = [(r['command'], r['object'], r['change']) for r in v.ok('audit')]
        assert ('set-pool', 'a', 'fast softcuda2 -> default softcuda1, at its next connection') in log, log
        v.ok('remove-from-pool', name='fast', device='softcuda2')
        v.ok('remove-pool', name='fast')
        assert device(v, 'softcuda3')['pool'] == 'default' and device(v, 'softcuda3')['policy'] == 'exclusive'


def everything(v):
    return (v.ok('list-pools'), [{k: d[k] for k in ('name', 'pool', 'state', 'reason', 'memory', 'memory_reserved')} for d in v.ok('list-devices')],
            [{k: x[k] for k in ('name', 'pool', 'device', 'next_device', 'placed', 'numa_node')} for x in v.ok('list-vms')])


def test_a_restart_keeps_it_all():
    with Vgpud(*FOUR) as v:
        two_pools(v)
        v.ok('create-pool', name='empty')
        v.ok('register-vm', name='a', quota=G // 2, pool='fast', numa_node=1)
        v.ok('register-vm', name='b', quota=G // 2)
        v.ok('drain-device', name='softcuda0', reason='fan')
        p = running(v, 'a')
        v.ok('set-pool', name='a', pool='default')
        before = everything(v)
        old = v.children('vgpu-broker')
        os.kill(old[0], signal.SIGKILL)

        def answers():
            try:
                return v.children('vgpu-broker') not in ([], old) and v.ask('status')['ok']
            except (OSError, ValueError):
                return False
        wait_for('a new broker', answers)
        assert p.state() == RUNNING and everything(v) == before, (everything(v), before)
        assert device(v, 'softcuda2')['executors'] == 1
        for f in (v.dir / 'state').iterdir():
            f.write_bytes(b'not a database, ' * 512)
        old = v.children('vgpu-broker')
        os.kill(old[0], signal.SIGKILL)
        wait_for('a broker without state.db', answers)
        assert p.state() == RUNNING and everything(v) == before, (everything(v), before)
        p.close()
    with Vgpud(*FOUR) as v:
        two_pools(v)
        v.ok('register-vm', name='a', quota=G // 2, pool='fast')
        v.ok('drain-device', name='softcuda0', reason='fan')
        before = everything(v)
        v.stop()
        v.start()
        assert everything(v) == before
        running(v, 'a').close()


def names(v):
    return [d['name'] for d in v.ok('list-devices')]


def stored(v):
    with contextlib.closing(sqlite3.connect(v.dir / 'state/state.db')) as db:
        return {name for name, in db.execute('SELECT name FROM devices')}


def test_a_device_leaves_the_configuration():
    """Who was on it goes elsewhere; if that cannot be, it is kept, and said to be removed, until nobody is on it."""
    with Vgpud(*FOUR) as v:
        two_pools(v)
        v.ok('register-vm', name='a', quota=G // 2, pool='fast')
        v.ok('register-vm', name='b', quota=G // 2, pool='fast')
        v.ok('drain-device', name='softcuda1', reason='fan')
        assert sorted((where(v, 'a'), where(v, 'b'))) == ['softcuda2', 'softcuda3']
        v.stop()
        v.options.append('devices=3')
        v.start()
        assert names(v) == ['softcuda0', 'softcuda1', 'softcuda2'] and stored(v) == {'softcuda1', 'softcuda2'}, (names(v), stored(v))
        assert where(v, 'a') == where(v, 'b') == 'softcuda2', 'at once, not at the next connection'
        events = [(e['kind'], e['vm']) for e in v.ok('events')]
        assert ('device-removed', 'softcuda3') in events and ('moved', 'b') in events, events
        assert [x['text'] for x in v.ok('health')['problems']] == ['device softcuda1 is drained: fan']
        v.stop()
        v.options.append('devices=1')  # and now pool "fast" is empty
        v.start()
        assert names(v) == ['softcuda0', 'softcuda2'] and stored(v) == {'softcuda2'}, 'nobody was on the drained one'
        d = device(v, 'softcuda2')
        assert (d['state'], d['serves'], d['pool'], d['vms']) == ('removed', False, 'fast', 2), d
        problems = [x['text'] for x in v.ok('health')['problems']]
        assert problems == ['device softcuda2 is removed: vgpud.conf does not name it any more'], problems
        for cmd in ('drain-device', 'undrain-device'):
            refused(v, 'does not name it', cmd, name='softcuda2')
        refused(v, 'is on it', 'remove-from-pool', name='fast', device='softcuda2')
        p = Peer(v.run, 'a')
        p.want(1)
        p.wait_state(DEAD)
        assert p.error() == ERR_NO_DEVICE
        p.close()
        gone(v, 'a')
        v.ok('set-pool', name='a', pool='default')
        running(v, 'a').close()
        v.ok('remove-vm', name='b')
        wait_for('it is forgotten', lambda: names(v) == ['softcuda0'])
        assert stored(v) == set() and v.ok('health')['healthy']
        v.stop()
        v.options.append('devices=4')
        v.start()
        assert device(v, 'softcuda2')['serves'] and device(v, 'softcuda2')['pool'] == 'default', 'a new one'


def spin(v, tenant, seconds):
    p = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', tenant, '--', str(SPINNER), str(seconds)],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == 'started\n' and p.stdout.readline() == 'ready\n'
    return p


def test_drain_under_load():
    """What runs on the device ends as if it had failed, or goes on; nothing new starts; others notice nothing."""
    with Vgpud('devices=2') as v:
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=G // 2)
        assert (where(v, 'a'), where(v, 'b')) == ('softcuda0', 'softcuda1')
        a, b = spin(v, 'a', 1000), running(v, 'b')
        d = v.ok('drain-device', name='softcuda0', reason='fan replacement')
        assert (d['state'], d['serves']) == ('drained', False)
        assert a.poll() is None, 'draining alone ends nothing'
        refused(v, 'drained already: fan', 'drain-device', name='softcuda0')
        problems = v.ok('health')['problems']
        assert [x['text'] for x in problems] == ['device softcuda0 is drained: fan replacement'], problems
        last = v.ok('events')[-1]
        assert (last['kind'], last['vm']) == ('drain-device', 'softcuda0'), last
        new = Peer(v.run, 'a')
        new.want(1)
        new.wait_state(DEAD)
        assert new.error() == ERR_NO_DEVICE, 'connected on the drained device, so it stays there'
        new.close()
        assert a.poll() is None
        v.ok('undrain-device', name='softcuda0')
        v.ok('drain-device', name='softcuda0', end=True)
        out, err = a.communicate(timeout=60)
        assert a.returncode == 1 and 'out of service' in err, (out, err)
        assert v.ok('show-vm', name='a')['faults'] == 0, 'no fault of its own'
        assert b.state() == RUNNING
        b.close()
        gone(v, 'a')
        p = running(v, 'a')
        assert where(v, 'a') == 'softcuda1', 'nobody can be on a drained device, so it went elsewhere'
        assert v.ok('undrain-device', name='softcuda0')['serves']
        assert v.ok('health')['healthy']
        p.close()


def test_scheduling_is_each_device_s():
    """Two tenants on two devices wait for nobody."""
    with Vgpud('devices=2') as v:
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=G // 2)
        programs = [spin(v, name, 1000) for name in ('a', 'b')]
        wait_for('both work', lambda: all(v.ok('show-vm', name=n)['launches'] > 5 for n in ('a', 'b')))
        s = v.ok('status')
        assert s['handovers'] == 0, s
        assert all(d['busy_seconds'] > 0 for d in s['devices'])
        for p in programs:
            p.kill()
            p.communicate()


class Faulty:
    """A driver whose devices break when told; see faulty.c."""
    DEVICES = 8

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='vgpud-test.'))
        os.chmod(self.dir, 0o711)
        self.path = self.dir / 'libfaulty.so'
        shutil.copy(FAULTY, self.path)
        os.chmod(self.path, 0o644)
        with open(self.path, 'r+b') as f:
            size = f.seek(0, os.SEEK_END)
            f.write(bytes(-size % 4 + 2 * self.DEVICES * 4))
            f.flush()
            self.words = mmap.mmap(f.fileno(), 0)
        return self

    def __exit__(self, *exc):
        self.words.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def set(self, device, kernels=0, copies=0):
        for word, code in ((device, kernels), (self.DEVICES + device, copies)):
            struct.pack_into('<I', self.words, len(self.words) - (2 * self.DEVICES - word) * 4, code)


DEVICE_UNAVAILABLE, ECC_UNCORRECTABLE, HANG = 46, 214, 0xffffffff


def two_on_each(v):
    """Programs of a and b compute on the first and second device, c and d have a channel there."""
    for name, place in (('a', 'cuda0'), ('b', 'cuda1'), ('c', 'cuda0'), ('d', 'cuda1')):
        v.ok('register-vm', name=name, quota=G // 4)
        if where(v, name) != place:
            v.ok('move-vm', name=name, device=place)
    return spin(v, 'a', 1000), spin(v, 'b', 1000), running(v, 'c'), running(v, 'd')


def goes_on(v, vm, program):
    before = v.ok('show-vm', name=vm)['launches']
    wait_for(f'{vm} computes', lambda: v.ok('show-vm', name=vm)['launches'] > before + 20)
    assert program.poll() is None


def test_a_device_breaks():
    """An executor meets an error of the device, a fresh process meets it too: whoever is on it ends, nobody else."""
    with Faulty() as faulty, Vgpud('devices=2', driver=faulty.path) as v:
        a, b, c, d = two_on_each(v)
        faulty.set(0, kernels=ECC_UNCORRECTABLE, copies=ECC_UNCORRECTABLE)
        assert c.wait_state(DEAD) == DEAD and c.error() == ERR_DEVICE_LOST, c.error()
        out, err = a.communicate(timeout=60)
        assert a.returncode == 1 and (f' {ECC_UNCORRECTABLE}\n' in out or f' {DEVICE_UNAVAILABLE}\n' in out), (out, err)
        goes_on(v, 'b', b)
        assert d.state() == RUNNING
        sick, well = device(v, 'cuda0'), device(v, 'cuda1')
        assert (sick['state'], sick['serves'], sick['losses']) == ('lost', False, 1), sick
        assert 'CUDA_ERROR_ECC_UNCORRECTABLE' in sick['reason'], sick
        assert (well['state'], well['losses']) == ('up', 0), well
        assert [x['state'] for x in v.ok('status')['devices']] == ['lost', 'up']
        events = [(e['kind'], e['vm']) for e in v.ok('events')]
        assert [e for e in events if e[0].startswith('device-')] == [('device-suspect', 'cuda0'), ('device-lost', 'cuda0')], events
        problems = [x['text'] for x in v.ok('health')['problems']]
        assert len(problems) == 1 and 'cuda0 is lost' in problems[0] and 'ECC' in problems[0], problems
        assert all(v.ok('show-vm', name=n)['faults'] == 0 for n in 'abcd'), 'nobody is to blame'
        refused(v, 'ECC_UNCORRECTABLE', 'undrain-device', name='cuda0')
        refused(v, 'out of service', 'move-vm', name='b', device='cuda0')
        c.close()
        gone(v, 'c')
        running(v, 'c').close()
        assert where(v, 'c') == 'cuda1', 'it is served elsewhere'
        b.kill()
        b.communicate()
        d.close()
        v.stop()
        v.start()
        assert device(v, 'cuda0')['state'] == 'lost' and not v.ok('health')['healthy'], 'a restart repairs nothing'
        faulty.set(0)
        d = v.ok('undrain-device', name='cuda0')
        assert (d['state'], d['serves'], d['reason']) == ('up', True, ''), d
        assert v.ok('health')['healthy']
        gone(v, 'c')
        v.ok('move-vm', name='c', device='cuda0')
        c = spin(v, 'c', 1000)
        goes_on(v, 'c', c)
        c.kill()
        c.communicate()


def test_an_error_that_does_not_come_again():
    """One program meets an error of the device, the check does not: nothing is drained, nobody else ended."""
    with Faulty() as faulty, Vgpud('devices=2', driver=faulty.path) as v:
        a, b, c, d = two_on_each(v)
        faulty.set(0, kernels=DEVICE_UNAVAILABLE)
        out, err = a.communicate(timeout=60)
        assert a.returncode == 1 and f' {DEVICE_UNAVAILABLE}\n' in out, (out, err)
        wait_for('the check is over', lambda: 'device cuda0 works' in v.log_text())
        faulty.set(0)
        assert [(e['kind'], e['vm']) for e in v.ok('events') if e['kind'].startswith('device-')] == [('device-suspect', 'cuda0')]
        assert device(v, 'cuda0')['serves'] and device(v, 'cuda0')['losses'] == 0 and v.ok('health')['healthy']
        assert c.state() == d.state() == RUNNING
        goes_on(v, 'b', b)
        a = spin(v, 'a', 1000)
        goes_on(v, 'a', a)
        # It does come again, too soon for another check: that is made later, although nobody reports it once more.
        faulty.set(0, kernels=ECC_UNCORRECTABLE, copies=ECC_UNCORRECTABLE)
        out, err = a.communicate(timeout=60)
        assert a.returncode == 1 and f' {ECC_UNCORRECTABLE}\n' in out, (out, err)
        c.wait_state(DEAD)
        assert c.error() == ERR_DEVICE_LOST and device(v, 'cuda0')['state'] == 'lost'
        goes_on(v, 'b', b)
        b.kill()
        b.communicate()
        c.close()
        d.close()


def test_a_driver_hangs():
    """A probe that does not end is no answer: the device is out of service, whoever asked is told, others are served."""
    silent = 'the driver does not answer within 1 s'
    with Faulty() as faulty, Vgpud('devices=2', driver=faulty.path) as v:
        def limit(seconds):
            v.config.write_text(f'probe-timeout = {seconds}s\n')
        v.stop()
        v.config = v.dir / 'conf'
        limit(60)  # where a probe is to end well, on however slow a machine
        v.start()
        a, b, c, d = two_on_each(v)
        limit(1)
        v.ok('reload-config')
        faulty.set(0, kernels=ECC_UNCORRECTABLE, copies=HANG)
        assert c.wait_state(DEAD) == DEAD and c.error() == ERR_DEVICE_LOST, c.error()
        sick = device(v, 'cuda0')
        assert (sick['state'], sick['reason'], sick['losses']) == ('lost', silent, 1), sick
        a.communicate(timeout=60)
        c.close()
        gone(v, 'c')
        goes_on(v, 'b', b)
        assert d.state() == RUNNING
        refused(v, silent, 'undrain-device', name='cuda0')
        wait_for('no probe is left', lambda: len(v.children('vgpu-executor')) == 2)
        faulty.set(0)
        limit(60)
        v.ok('reload-config')
        assert v.ok('undrain-device', name='cuda0')['serves']
        b.kill()
        b.communicate()
        d.close()
        faulty.set(0, kernels=HANG)
        limit(10)
        v.stop()
        v.start()
        assert [(x['state'], x['serves']) for x in v.ok('list-devices')] == [('lost', False), ('up', True)], 'one of two answers'
        assert 'within 10 s' in v.ok('health')['problems'][0]['text']
        limit(60)
        v.ok('reload-config')
        faulty.set(0)
        assert v.ok('undrain-device', name='cuda0')['serves']
        faulty.set(0, kernels=HANG)
        faulty.set(1, kernels=HANG)
        limit(1)
        v.stop()
        try:
            v.start()
        except AssertionError:
            assert silent in v.log_text()
        else:
            raise AssertionError('it began to serve without a device')


@contextlib.contextmanager
def held(pid):
    """Its parent does not learn that it has ended: so it is with a process that hangs within a driver."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    assert libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        os.waitpid(pid, WALL)


def test_a_killed_executor_that_does_not_end():
    """Its device serves nobody new, what runs there goes on, and whoever asks is told."""
    with Vgpud('devices=2') as v:
        for name in 'ab':
            v.ok('register-vm', name=name, quota=G // 4)
            v.ok('move-vm', name=name, device='softcuda0') if where(v, name) != 'softcuda0' else None
        a = running(v, 'a')
        pid = v.ok('show-vm', name='a')['channels'][0]['pid']
        b = spin(v, 'b', 1000)
        with held(pid):
            a.close()
            wait_for('the device is drained', lambda: device(v, 'softcuda0')['state'] == 'drained')
            assert f'executor {pid} was killed and does not end' in device(v, 'softcuda0')['reason']
            assert any(str(pid) in x['text'] for x in v.ok('health')['problems'])
            assert ('device-drained', 'softcuda0') in [(e['kind'], e['vm']) for e in v.ok('events')]
            goes_on(v, 'b', b)
            v.ok('register-vm', name='c', quota=G // 4)
            running(v, 'c').close()
            assert where(v, 'c') == 'softcuda1', 'nothing new starts there'
        wait_for('it is back', lambda: device(v, 'softcuda0')['serves'] and 'device softcuda0 works' in v.log_text())
        assert [e['kind'] for e in v.ok('events') if e['vm'] == 'softcuda0'] == ['device-drained', 'device-suspect']
        gone(v, 'a')
        running(v, 'a').close()
        goes_on(v, 'b', b)
        b.kill()
        b.communicate()


def test_a_check_that_is_asked_for():
    with Faulty() as faulty, Vgpud('devices=2', driver=faulty.path) as v:
        v.ok('check-device', name='cuda1', reason='Xid 79')
        wait_for('it works', lambda: 'device cuda1 works' in v.log_text())
        assert [(e['kind'], e['vm'], e['text']) for e in v.ok('events')][-1] == ('device-suspect', 'cuda1', 'Xid 79')
        faulty.set(0, copies=ECC_UNCORRECTABLE)
        v.ok('check-device', name='cuda0')
        wait_for('it is out of service', lambda: device(v, 'cuda0')['state'] == 'lost')
        refused(v, 'undrain-device checks it', 'check-device', name='cuda0')
        refused(v, 'does not exist', 'check-device', name='cuda9')
        assert device(v, 'cuda1')['serves']


def test_an_assigned_gpu_breaks():
    """One that is broken is not taken; one that breaks is left, and its VM computes on the CPU until it is back."""
    uuid = 'GPU-736f6674-6375-6461-0000-000000000000'  # softcuda's
    with Faulty() as faulty, Vgpud(f'gpu-driver={faulty.path}') as v:
        faulty.set(0, copies=ECC_UNCORRECTABLE)
        refused(v, 'ECC_UNCORRECTABLE', 'assign-gpu', uuid=uuid)
        assert [d['name'] for d in v.ok('list-devices')] == ['softcuda0']
        faulty.set(0)
        v.ok('assign-gpu', uuid=uuid)
        assert device(v, 'gpu0')['serves'] and device(v, 'gpu0')['uuid'] == uuid
        v.ok('register-vm', name='a', quota=G // 4)
        assert where(v, 'a') == 'gpu0', 'a GPU before the CPU'
        p, program = running(v, 'a'), spin(v, 'a', 1000)
        faulty.set(0, kernels=ECC_UNCORRECTABLE, copies=ECC_UNCORRECTABLE)
        p.wait_state(DEAD)
        assert p.error() == ERR_DEVICE_LOST and device(v, 'gpu0')['state'] == 'lost'
        program.communicate(timeout=60)
        p.close()
        gone(v, 'a')
        running(v, 'a').close()
        assert where(v, 'a') == 'softcuda0'
        faulty.set(0)
        assert v.ok('undrain-device', name='gpu0')['serves']
        gone(v, 'a')
        v.ok('move-vm', name='a', device='gpu0')
        running(v, 'a').close()


if __name__ == '__main__':
    sys.exit(main(globals()))
