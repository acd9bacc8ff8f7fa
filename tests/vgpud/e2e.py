#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vgpud from outside: starting and refusing to, tenants, channels, deaths of every process."""
import ctypes
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import (ADMIN, DEAD, FREE, MAGIC, RUN, RUNNING, SOFTCUDA, SPINNER, VGPUD, Peer, Refused, alive,  # noqa: E402
                     Vgpud, WISH, main, wait_for)

ERR_CRASHED, ERR_KEEPER_GONE = 1, 8
VM_DEAD = 3
STATUS_WORD, ERROR_WORD = 40, 44  # offsets in struct vgpu_header


def fails(command, *words, env=None):
    """Exit status not 0, exactly one error line, and it holds these words."""
    r = subprocess.run([str(c) for c in command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, timeout=30,
                       env=env)
    errors = [line for line in r.stderr.splitlines() if ': error: ' in line]
    assert r.returncode != 0, 'succeeded'
    assert len(errors) == 1, r.stderr
    for w in words:
        assert w in errors[0], (w, errors[0])
    return r


def executor_of(v, name):
    return v.ok('show-vm', name=name)['channels'][0]['pid']


def test_check_config():
    with tempfile.TemporaryDirectory() as d:
        conf = pathlib.Path(d) / 'vgpud.conf'
        conf.write_text(f'run-dir = {d}/run\nquantum = 3ms\n')
        env = dict(os.environ, VGPU_DRIVER=str(SOFTCUDA))
        subprocess.run([str(VGPUD), '-n', '-c', str(conf)], check=True, env=env, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        conf.write_text('run-dir = /tmp/x\nquantum = soon\n')
        fails([VGPUD, '-c', conf], 'vgpud.conf:2: quantum: "soon" is not a duration')
        fails([VGPUD, '-c', conf, '-n'], 'vgpud.conf:2: quantum:')
        fails([VGPUD, '-c', '/dev/null', '-o', 'colour=red'], 'option -o 1: colour: no such key')
        fails([VGPUD, '-c', d + '/absent'], 'absent', 'No such file')
        assert not (pathlib.Path(d) / 'run').exists(), 'half started'


def test_print_config():
    """What is printed sets the same when it is read."""
    with tempfile.TemporaryDirectory() as d:
        conf = pathlib.Path(d) / 'vgpud.conf'
        conf.write_text('quantum = 3500us\nbar-size = 1G\nexecutor-uids = 5000-5010\nlog-level = debug\nqemu-user = qemu\n')

        def printed(*options):
            return subprocess.run([str(VGPUD), '-c', str(conf), *options, 'print-config'], check=True, text=True, timeout=30,
                                  stdout=subprocess.PIPE).stdout
        text = printed('-o', 'fault-limit=7')
        for line in ('quantum = 3500000ns', 'bar-size = 1073741824', 'executor-uids = 5000-5010', 'log-level = debug',
                     'fault-limit = 7', 'job-timeout = 30000000000ns', 'qemu-user = qemu'):
            assert line in text.splitlines(), (line, text)
        conf.write_text(text)
        assert printed() == text


def test_reload_config():
    with Vgpud() as v:
        conf = v.dir / 'vgpud.conf'
        v.stop()
        conf.write_text('quantum = 2ms\nfault-limit = 5\n')
        v.command = lambda: [str(conf) if w == '/dev/null' else w for w in Vgpud.command(v)]
        v.start()
        v.ok('register-vm', name='a')
        p = Peer(v.run, 'a')
        p.want(1)
        assert p.wait_state(RUNNING, DEAD) == RUNNING
        conf.write_text('quantum = soon\n')
        r = v.ask('reload-config')
        assert not r['ok'] and 'vgpud.conf:1: quantum' in r['error'], r
        conf.write_text('executor-uids = 5000-5010\n')
        r = v.ask('reload-config')
        assert not r['ok'] and 'executor-uids' in r['error'] and 'restart' in r['error'], r
        broker = v.children('vgpu-broker')
        conf.write_text('quantum = 4ms\nfault-limit = 1\n')
        v.ok('reload-config')
        assert v.children('vgpu-broker') == broker and p.state() == RUNNING, 'nothing was restarted'
        os.kill(executor_of(v, 'a'), signal.SIGKILL)
        wait_for('one fault is too many now', lambda: v.ok('show-vm', name='a')['status'] == 'quarantined')
        p.close()


def test_bad_driver():
    with tempfile.TemporaryDirectory() as d:
        v = Vgpud(directory=d, driver='/nowhere/libcuda.so.1')
        fails(v.command(), 'driver: /nowhere/libcuda.so.1', env=v.environment())
        junk = pathlib.Path(d) / 'libcuda.so.1'
        junk.write_text('not a library')
        junk.chmod(0o755)
        v = Vgpud(directory=d, driver=junk)
        fails(v.command(), 'driver', 'libcuda.so.1', env=v.environment())
        assert not list((pathlib.Path(d) / 'run').glob('*.sock')), 'half started'


def test_second_vgpud():
    with Vgpud() as v:
        fails(v.command(), 'another vgpud runs there', str(v.process.pid), env=v.environment())
        v.ok('status')


def test_stale_socket():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.stop(signal.SIGKILL)
        assert (v.run / 'guest.sock').exists()
        fails([ADMIN, '--run-dir', v.run, 'status'], 'control.sock', 'stale socket')
        fails([RUN, '--run-dir', v.run, '--tenant', 'a', '--', 'true'], 'guest.sock', 'stale socket')
        v.start()
        assert [vm['name'] for vm in v.ok('list-vms')] == ['a'], 'the VM survived the restart'
        Peer(v.run, 'a').close()


def test_foreign_socket():
    with tempfile.TemporaryDirectory() as d:
        v = Vgpud(directory=d)
        v.run.mkdir()
        (v.run / 'guest.sock').write_text('mine')
        fails(v.command(), 'guest.sock', 'not a socket', env=v.environment())
        assert (v.run / 'guest.sock').read_text() == 'mine'
        assert not (v.run / 'control.sock').exists(), 'half started'


def test_tenants():
    with Vgpud('bar-budget=1G') as v:
        total = v.ok('status')['device_memory']
        v.ok('register-vm', name='a', quota=total // 2)
        for fields, words in [
                (dict(name='b', quota=total), 'at most'), (dict(name='a'), 'registered already'),
                (dict(name='../b'), 'name'), (dict(name='b', weight=101), 'weight'),
                (dict(name='b', priority='urgent'), 'priority'), (dict(name='b', colour=1), 'colour'),
                (dict(name='b', quota=1, bar_size=3 << 28), 'power of two'), (dict(), 'name')]:
            r = v.ask('register-vm', **fields)
            assert not r['ok'] and words in r['error'], (fields, r)
        for name in 'bcd':
            v.ok('register-vm', name=name, quota=1 << 20)
        r = v.ask('register-vm', name='e', quota=1 << 20)
        assert not r['ok'] and 'bar-budget' in r['error'] and '1 GiB' in r['error'], r
        try:
            Peer(v.run, 'nobody')
            raise AssertionError('unknown tenant admitted')
        except Refused as e:
            assert e.args[0] == 2 and 'nobody' in e.args[1]
        fails([RUN, '--run-dir', v.run, '--tenant', 'nobody', '--', 'true'], 'nobody', 'not registered')
        p = Peer(v.run, 'a')
        assert p.word(0) == MAGIC
        assert struct.unpack_from('<Q', p.bar, 32)[0] == total // 2, 'the header tells the quota'
        r = v.ask('remove-vm', name='a')
        assert not r['ok'] and 'connected' in r['error']
        p.close()
        wait_for('a is removable', lambda: v.ask('remove-vm', name='a')['ok'])
        assert not (v.run / 'vm/a.sock').exists() and (v.run / 'vm/b.sock').exists()


def test_bad_hello():
    with Vgpud() as v:
        v.ok('register-vm', name='a')
        for hello in (b'x', struct.pack('<II64s', 1, 1, b'a'), struct.pack('<II64s', 0x58495656, 2, b'a'),
                      struct.pack('<II64s', 0x58495656, 1, b'a' * 64), b'y' * 5000):
            try:
                Peer(v.run, '', hello)
                raise AssertionError('bad hello admitted')
            except Refused as e:
                assert e.args[0] == 1, e
        Peer(v.run, 'a').close()


def test_control_socket():
    with Vgpud() as v:
        for line in (b'{', b'[]', b'{"cmd": 5}', b'{"cmd": "reboot"}', b'{"a":1,"a":2}'):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(v.run / 'control.sock'))
                s.sendall(line + b'\n')
                assert b'"ok":false' in s.makefile('rb').readline()
        with socket.socket(socket.AF_UNIX) as s:  # an endless line ends the connection, not vgpud
            s.connect(str(v.run / 'control.sock'))
            try:
                for _ in range(64):
                    s.sendall(b'x' * 4096)
                assert s.recv(1) == b''
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert (v.run / 'control.sock').stat().st_mode & 0o777 == 0o660
        assert (v.run / 'guest.sock').stat().st_mode & 0o777 == 0o660
        v.ok('register-vm', name='a')
        assert (v.run / 'vm/a.sock').stat().st_mode & 0o777 == 0o600


def test_channel_life():
    with Vgpud() as v:
        v.ok('register-vm', name='a')
        p = Peer(v.run, 'a')
        assert p.state() == FREE
        p.want(7)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, (p.error(), v.log_text())
        assert p.generation() == 7
        mark = (2 << 20) + (1 << 20)  # in channel 0's bounce
        p.bar[mark:mark + 4] = b'mark'
        os.kill(executor_of(v, 'a'), signal.SIGKILL)
        p.wait_state(DEAD)
        assert p.error() == ERR_CRASHED and p.bar[mark:mark + 4] == b'mark', 'a death leaves the memory'
        p.want(0)
        p.wait_state(FREE)
        assert p.bar[mark:mark + 4] == bytes(4), 'FREE means zero'
        p.want(8)
        assert p.wait_state(RUNNING, DEAD) == RUNNING
        p.want(9)  # a guest that was reset: the old one is replaced
        wait_for('generation 9 runs', lambda: p.generation() == 9 and p.state() == RUNNING)
        wait_for('only one executor', lambda: len(v.children('vgpu-executor')) == 1)
        p.close()
        wait_for('the executor ended with its peer', lambda: not v.children('vgpu-executor'))


def test_jail():
    with Vgpud() as v:
        v.ok('register-vm', name='a')
        p = Peer(v.run, 'a')
        p.want(1)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
        pid = executor_of(v, 'a')
        status = dict(line.split(':\t', 1) for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
                      if ':\t' in line)
        assert status['Seccomp'] == '2' and status['NoNewPrivs'] == '1', status
        assert int(status['CapEff'], 16) == 0 and int(status['CapPrm'], 16) == 0, status
        if os.geteuid() == 0:
            uids = set(status['Uid'].split())
            assert len(uids) == 1 and int(uids.pop()) >= 1900000001, 'its own uid'
            links = sorted(os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd'))
            assert not [ln for ln in links if ln.endswith(('.sock', '.db', '.lock'))], links
            for ns in ('net', 'ipc', 'pid_for_children', 'uts'):
                assert os.readlink(f'/proc/{pid}/ns/{ns}') != os.readlink(f'/proc/self/ns/{ns}'), ns
            broker = v.children('vgpu-broker')[0]
            assert 'Uid:\t0' not in pathlib.Path(f'/proc/{broker}/status').read_text()
        p.close()


def test_broker_dies():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        p = Peer(v.run, 'a')
        p.want(3)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
        executor, broker = [executor_of(v, 'a')], v.children('vgpu-broker')
        os.kill(broker[0], signal.SIGKILL)
        wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], broker))
        wait_for('its control socket', lambda: v.ask('status')['ok'])
        wait_for('the probe is gone', lambda: v.children('vgpu-executor') == executor)
        assert p.state() == RUNNING and p.generation() == 3, 'adopted'
        assert v.ok('show-vm', name='a')['channels'][0]['state'] == 'run'
        p.want(0)
        p.wait_state(FREE)
        q = Peer(v.run, 'a')
        q.want(1)
        assert q.wait_state(RUNNING, DEAD) == RUNNING
        q.close()
        p.close()


def test_broker_dies_while_cleaning():
    """What it had not zeroed yet, the next one does."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        p = Peer(v.run, 'a')
        p.want(3)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
        at, extent, n = 194 << 20, 2 << 20, (256 - 194) // 2
        p.bar[WISH + 128:WISH + 128 + n] = b'\x01' * n  # all extents are channel 0's
        for i in range(n):
            p.bar[at + i * extent:at + (i + 1) * extent] = b'\xa5' * extent
        mark = (2 << 20) + (1 << 20)  # in channel 0's bounce, cleaned first
        p.bar[mark] = 1
        p.want(0)
        wait_for('cleaning began', lambda: p.bar[mark] == 0)
        broker = v.children('vgpu-broker')
        os.kill(broker[0], signal.SIGKILL)
        p.wait_state(FREE)
        assert not any(p.bar[at:]) and v.ok('show-vm', name='a')['retired_channels'] == 0
        p.want(4)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, 'and it is used again'
        p.close()


def memory_of(pid):
    """What an executor has of a VM's memory: mapped or open."""
    maps = pathlib.Path(f'/proc/{pid}/maps').read_text()
    links = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
    return [x for x in maps.splitlines() + links if 'vgpu-bar' in x]


def spare_of(v, *others):
    wait_for('a spare executor', lambda: v.ok('status')['spare'] == 'ready')
    pids = [p for p in v.children('vgpu-executor') if p not in others]
    assert len(pids) == 1, pids
    return pids[0]


def test_spare():
    """One executor waits, jailed, with nobody's memory; it is given away once and never comes back."""
    with Vgpud('spare=on') as v:
        spare = spare_of(v)
        assert 'Seccomp:\t2' in pathlib.Path(f'/proc/{spare}/status').read_text() and not memory_of(spare)
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=1 << 28)
        out, _ = spinner(v, 'a', '10', '100').communicate(timeout=60)
        assert 'launches 100' in out, out
        wait_for('its end with the program it served', lambda: not pathlib.Path(f'/proc/{spare}').exists())
        second = spare_of(v)
        p, q = Peer(v.run, 'a'), Peer(v.run, 'b')
        p.want(1)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
        assert executor_of(v, 'a') == second and memory_of(second)
        third = spare_of(v, second)
        assert not memory_of(third)
        os.kill(third, signal.SIGKILL)
        q.want(1)
        assert q.wait_state(RUNNING, DEAD) == RUNNING, 'without a spare it starts as ever'
        fourth = spare_of(v, second, executor_of(v, 'b'))
        broker = v.children('vgpu-broker')
        os.kill(broker[0], signal.SIGKILL)
        wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], broker))
        wait_for('its control socket', lambda: v.ask('status')['ok'])
        fifth = spare_of(v, second, executor_of(v, 'b'))
        assert fifth != fourth and p.state() == q.state() == RUNNING, 'what was given away is adopted'
        p.close()
        q.close()


def test_keeper_dies():
    with Vgpud() as v:
        v.ok('register-vm', name='a')
        p = Peer(v.run, 'a')
        p.want(1)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
        pids = v.children('vgpu-executor') + v.children('vgpu-broker')
        v.stop(signal.SIGKILL)
        wait_for('the header says so', lambda: p.word(STATUS_WORD) == VM_DEAD)
        assert p.word(ERROR_WORD) == ERR_KEEPER_GONE and p.state() == DEAD
        wait_for('everything ended', lambda: not any(map(alive, pids)))
        p.close()


def test_contexts_count_after_a_restart():
    """Each context beyond a VM's first is paid by its quota, whichever broker counts."""
    with Vgpud('context-overhead=64M') as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        peers = [Peer(v.run, 'a') for _ in range(3)]
        for p in peers:
            p.want(1)
            assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
        assert v.ok('show-vm', name='a')['quota_used'] == 128 << 20
        broker = v.children('vgpu-broker')
        os.kill(broker[0], signal.SIGKILL)
        wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], broker))
        wait_for('its control socket', lambda: v.ask('status')['ok'])
        assert v.ok('show-vm', name='a')['quota_used'] == 128 << 20
        for p in peers:
            p.close()
        wait_for('all is given back', lambda: v.ok('show-vm', name='a')['quota_used'] == 0)


def test_ends_although_an_executor_does_not():
    """One that a debugger holds is not reaped by its parent, as one that hangs in a driver would not be."""
    libc, seize = ctypes.CDLL(None, use_errno=True), 0x4206
    with Vgpud() as v:
        v.ok('register-vm', name='a')
        p = Peer(v.run, 'a')
        p.want(1)
        assert p.wait_state(RUNNING, DEAD) == RUNNING, v.log_text()
        pid = executor_of(v, 'a')
        if libc.ptrace(seize, pid, 0, 0):
            print('not tested here: ptrace:', os.strerror(ctypes.get_errno()))
        else:
            assert v.stop() == 0
            assert 'does not end' in v.log_text()
            os.waitpid(pid, 0x40000000)  # __WALL
        p.close()


def spinner(v, tenant, *args):
    return subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', tenant, '--', str(SPINNER), *args],
                            stdout=subprocess.PIPE, text=True)


def test_watchdog():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, hard_timeout_ns=500000000)
        v.ok('register-vm', name='b', quota=1 << 28)
        endless = spinner(v, 'a', '0')
        assert endless.stdout.readline() == 'started\n'
        out, _ = endless.communicate(timeout=60)
        assert endless.returncode == 1 and ' 702' in out, out  # CUDA_ERROR_LAUNCH_TIMEOUT
        assert v.ok('show-vm', name='a')['faults'] == 1
        out, _ = spinner(v, 'b', '10', '100').communicate(timeout=60)
        assert 'launches 100' in out, 'others go on'
        out, _ = spinner(v, 'a', '10', '100').communicate(timeout=60)
        assert 'launches 100' in out, 'the tenant itself starts anew'


def test_job_timeout_of_one_vm():
    """A VM's own timeout ends its endless kernel while another waits, and is changed while that runs; the other has the
    configuration's 30 s."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        v.ok('register-vm', name='b', quota=1 << 28)
        endless = spinner(v, 'a', '0')
        assert endless.stdout.readline() == 'started\n'
        wait_for('it computes', lambda: v.ok('show-vm', name='a')['device_seconds'] > 0.1)
        assert v.ok('status')['devices'][0]['units_in_flight'] >= 1, v.ok('status')['devices']
        other = spinner(v, 'b', '10')
        assert other.stdout.readline() == 'started\n'
        began = time.monotonic()
        v.ok('set-vm', name='a', job_timeout_ns=500000000)
        out, _ = endless.communicate(timeout=60)
        assert endless.returncode == 1 and ' 702' in out, out
        assert time.monotonic() - began < 15
        assert [f['kind'] for f in v.ok('faults')] == ['timeout'] and v.ok('show-vm', name='b')['faults'] == 0
        assert v.ok('status')['faults'] == {'crash': 0, 'protocol': 0, 'timeout': 1}
        other.send_signal(signal.SIGTERM)
        other.communicate(timeout=60)
        assert other.returncode == 0


def test_quarantine():
    with Vgpud('fault-limit=2') as v:
        v.ok('register-vm', name='a')
        for _ in range(2):
            p = Peer(v.run, 'a')
            p.want(1)
            assert p.wait_state(RUNNING, DEAD) == RUNNING
            os.kill(executor_of(v, 'a'), signal.SIGKILL)
            p.wait_state(DEAD)
            p.close()
            wait_for('its end', lambda: not v.children('vgpu-executor'))
        wait_for('quarantine', lambda: v.ok('show-vm', name='a')['status'] == 'quarantined')
        try:
            Peer(v.run, 'a')
            raise AssertionError('admitted in quarantine')
        except Refused as e:
            assert e.args[0] == 6 and 'clear-quarantine' in e.args[1]
        v.ok('clear-quarantine', name='a')
        Peer(v.run, 'a').close()


def test_quota():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 20)
        first = spinner(v, 'a', '1000')
        assert first.stdout.readline() == 'started\n'
        assert v.ok('show-vm', name='a')['quota_used'] > 0
        first.terminate()
        assert 'launches' in first.communicate(timeout=60)[0]
        wait_for('memory is given back', lambda: v.ok('show-vm', name='a')['quota_used'] == 0)


def test_33_processes():
    with Vgpud() as v:
        v.ok('register-vm', name='a')
        peers = [Peer(v.run, 'a') for _ in range(32)]
        try:
            Peer(v.run, 'a')
            raise AssertionError('33rd admitted')
        except Refused as e:
            assert e.args[0] == 5 and '32 channels' in e.args[1]
        peers.pop().close()

        def again():
            try:
                Peer(v.run, 'a').close()
                return True
            except Refused:
                return False
        wait_for('a place is free again', again)
        for p in peers:
            p.close()


def test_ivshmem():
    with Vgpud() as v:
        v.ok('register-vm', name='a')
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(30)
        s.connect(str(v.run / 'vm/a.sock'))
        got = []
        while len(got) < 3 + 66:
            data, fds, _, _ = socket.recv_fds(s, 8, 4)
            assert len(data) == 8
            got.append((struct.unpack('<q', data)[0], fds))
        assert [g[0] for g in got] == [0, 1, -1] + [0] * 33 + [1] * 33
        assert [len(g[1]) for g in got] == [0, 0, 1] + [1] * 66
        size = os.fstat(got[2][1][0]).st_size
        assert size == 256 << 20
        try:
            os.ftruncate(got[2][1][0], 4096)
            raise AssertionError('memfd is not sealed')
        except PermissionError:
            pass
        second = socket.socket(socket.AF_UNIX)  # a second QEMU on the same VM gets nothing
        second.settimeout(30)
        second.connect(str(v.run / 'vm/a.sock'))
        assert second.recv(8) == b''
        s.close()
        for _, fds in got:
            for fd in fds:
                os.close(fd)
        wait_for('the VM is down', lambda: v.ok('show-vm', name='a')['status'] == 'down')


def test_vgpu_run():
    env = dict(os.environ, VGPU_DRIVER=str(SOFTCUDA))
    r = subprocess.run([str(RUN), '--private', '--', 'sh', '-c', 'echo out; echo err >&2; test -S $VGPU_SOCKET && exit 42'],
                       env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (r.returncode, r.stdout, r.stderr) == (42, 'out\n', 'err\n'), r
    r = subprocess.run([str(RUN), '--private', '--', 'sh', '-c', 'kill -USR1 $$'], env=env, timeout=60)
    assert r.returncode == -signal.SIGUSR1, r
    r = subprocess.run([str(RUN), '--direct', '--', 'sh', '-c', 'echo $LD_LIBRARY_PATH'], env=env, timeout=60,
                       stdout=subprocess.PIPE, text=True)
    assert r.stdout.strip().split(':')[0] == str(SOFTCUDA.parent), r
    fails([RUN, '--direct', '--', '/nonexistent/program'], '/nonexistent/program')


if __name__ == '__main__':
    sys.exit(main(globals()))
