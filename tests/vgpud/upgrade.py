#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Another version takes over under load, and a broker dies under load: no program may notice more than a pause of a
second, nothing may be lost on the way, and a version that cannot take over changes nothing."""
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import ADMIN, BUILD, DEAD, FREE, RUN, RUNNING, VGPUD, Peer, Refused, Vgpud, main, wait_for  # noqa: E402

WORKER = BUILD / 'tests/vgpud/soak_worker'
PAUSE_MAX = 30 if os.environ.get('VGPU_SANITIZED') else 1.0  # seconds; a sanitizer alone slows a start by that much
OTHER = b'0.9.9'
PROGRAMS = {'sbin/vgpud': VGPUD, 'libexec/openvgpu/vgpu-broker': BUILD / 'src/vgpud/vgpu-broker',
            'libexec/openvgpu/vgpu-executor': BUILD / 'src/executor/vgpu-executor'}


def version():
    return subprocess.run([str(VGPUD), '-V'], stdout=subprocess.PIPE, check=True).stdout.split()[1]


def put(path, content):
    """As a package manager replaces a file: the old one stays whole for who has it open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix('.new')
    new.write_bytes(content)
    new.chmod(0o755)
    new.rename(path)


class Installed(Vgpud):
    """A vgpud in a prefix of its own, which can be replaced by another version."""

    def __init__(self, *options):
        super().__init__(*options)
        self.program, self.config = self.dir / 'prefix/sbin/vgpud', self.dir / 'vgpud.conf'
        self.config.write_text('quantum = 2ms\n')
        self.install()

    def install(self, other=False):
        old = version()
        assert len(old) == len(OTHER)
        for name, source in PROGRAMS.items():
            content = source.read_bytes()
            assert not other or 'executor' in name or old + b'\0' in content
            put(self.dir / 'prefix' / name, content.replace(old + b'\0', OTHER + b'\0') if other else content)

    def admin(self, *args):
        return subprocess.run([str(ADMIN), '--run-dir', str(self.run), *args], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120)


class Worker:
    """Computes and checks without end; tells at its end how long its longest call took."""

    def __init__(self, v, name):
        self.process = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', name, '--', str(WORKER)],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout.readline().startswith('round'), self.process.communicate()
        self.read = ''

    def rounds(self):
        """Waits until it has done some more."""
        for _ in range(2):
            ready, _, _ = select.select([self.process.stdout], [], [], 60)
            line = self.process.stdout.readline() if ready else ''
            assert line.startswith('round'), f'it does not go on: {line!r}'

    def forget(self):
        self.process.send_signal(signal.SIGUSR1)

    def end(self):
        """Seconds of the longest pause."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, out
        return float(re.search(r'longest pause ([\d.]+) ms', out)[1]) / 1e3


def descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def executors(v):
    return sorted(c['pid'] for vm in v.ok('list-vms') for c in v.ok('show-vm', name=vm['name'])['channels'] if c['pid'])


def vm_of_qemu(v, name):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(str(v.run / f'vm/{name}.sock'))
    assert len(s.recv(8)) == 8
    return s


def measured(v, what, event, tenants):
    workers = [Worker(v, t) for t in tenants]
    for w in workers:
        w.rounds()
        w.forget()
    quiet = time.monotonic()
    wait_for('a second without trouble', lambda: time.monotonic() - quiet > 1)
    result = event()
    for w in workers:
        w.rounds()
    pauses = [w.end() for w in workers]
    print(f'{what}: longest pause of {len(pauses)} programs: {max(pauses) * 1e3:.0f} ms '
          f'({", ".join(f"{p * 1e3:.0f}" for p in pauses)})')
    assert max(pauses) <= PAUSE_MAX, pauses
    return result


def register(v, *names):
    for n in names:
        v.ok('register-vm', name=n, quota=1 << 28, weight=10 + len(n))


def test_the_broker_dies_under_load():
    with Vgpud() as v:
        register(v, *'abcd')

        def kill():
            old = v.children('vgpu-broker')
            os.kill(old[0], signal.SIGKILL)
            wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], old))
        measured(v, 'broker killed', kill, 'abcd')


def test_another_version_takes_over_under_load():
    with Installed('spare=on') as v:
        assert v.ok('status')['version'].encode() == version()
        register(v, 'a', 'b', 'c', 'd', 'idle', 'vm', 'bad', 'mute')
        v.ok('quarantine-vm', name='bad')
        v.ok('set-vm', name='idle', weight=77)
        idle, qemu = Peer(v.run, 'idle'), vm_of_qemu(v, 'vm')
        idle.want(1)
        assert idle.wait_state(RUNNING, DEAD) == RUNNING
        mute = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # has not said hello yet
        mute.connect(str(v.run / 'guest.sock'))
        keeper, before = v.process.pid, {}
        v.install(other=True)

        def upgrade():
            before.update(executors=executors(v), fds=descriptors(keeper))
            return v.admin('upgrade')
        r = measured(v, 'upgrade', upgrade, 'abcd')
        assert r.returncode == 0 and OTHER.decode() in r.stdout, r
        status = v.ok('status')
        assert status['version'] == OTHER.decode() and status['upgrades'] == 1 and v.process.poll() is None
        assert os.readlink(f'/proc/{keeper}/exe') == str(v.program)
        assert idle.state() == RUNNING and v.ok('show-vm', name='idle')['channels'][0]['pid'] in before['executors']
        assert v.ok('show-vm', name='vm')['status'] == 'up' and v.ok('show-vm', name='bad')['status'] == 'quarantined'
        assert v.ok('show-vm', name='idle')['weight'] == 77
        # What ends now is noticed by the new one: an executor, a VM, a program; what comes is let in.
        os.kill(v.ok('show-vm', name='idle')['channels'][0]['pid'], signal.SIGKILL)
        assert idle.wait_state(DEAD) == DEAD
        qemu.close()
        wait_for('the VM is seen to be gone', lambda: v.ok('show-vm', name='vm')['status'] == 'down')
        vm_of_qemu(v, 'vm').close()
        mute.close()
        idle.close()
        try:
            Peer(v.run, 'bad')
            raise AssertionError('admitted in quarantine')
        except Refused as e:
            assert e.args[0] == 6
        Worker(v, 'a').end()
        v.install()
        for _ in range(3):  # and back, and onto itself: nothing adds up
            r = v.admin('upgrade')
            assert r.returncode == 0, r
        wait_for('nothing is left', lambda: all(vm['connections'] == 0 for vm in v.ok('list-vms')))
        wait_for('a spare waits', lambda: v.ok('status')['spare'] == 'ready')
        wait_for(f'no descriptor is left: {before["fds"]}', lambda: descriptors(keeper) <= before['fds'])
        assert v.ok('status')['upgrades'] == 4 and v.ok('status')['version'].encode() == version()
        assert 'upgrade' in [x['command'] for x in v.ok('audit')]
        assert v.stop() == 0 and not (v.run / 'control.sock').exists()


def unchanged(v, words, prepare):
    """An upgrade that is refused: with one error that says why, and everybody goes on."""
    old = v.children('vgpu-broker'), v.ok('status')['version'], executors(v)
    vms = [(vm['name'], vm['weight'], vm['status']) for vm in v.ok('list-vms')]
    prepare()
    r = v.admin('upgrade')
    assert r.returncode == 1 and words in r.stderr and len(r.stderr.splitlines()) == 1, (words, r)
    assert (v.children('vgpu-broker'), v.ok('status')['version'], executors(v)) == old
    assert [(vm['name'], vm['weight'], vm['status']) for vm in v.ok('list-vms')] == vms
    assert v.ok('status')['upgrades'] == 0


def test_a_version_that_cannot_take_over():
    with Installed() as v:
        register(v, 'a')
        w = Worker(v, 'a')
        unchanged(v, 'cannot be', lambda: put(v.program, b'not a program at all'))
        unchanged(v, 'exit status 1', lambda: put(v.program, pathlib.Path('/bin/false').read_bytes()))
        unchanged(v, 'cannot be started', v.program.unlink)
        v.install()
        unchanged(v, 'colour', lambda: v.config.write_text('colour = blue\n'))
        unchanged(v, 'executor-uids', lambda: v.config.write_text('executor-uids = 1800000000-1800000010\n'))
        v.config.write_text('quantum = 3ms\n')
        w.rounds()
        assert v.admin('upgrade').returncode == 0 and v.ok('status')['upgrades'] == 1
        w.rounds()
        w.end()


def test_what_is_started_is_of_the_version_that_runs():
    """Between the new files and the upgrade: a broker that dies comes back as it was, a program starts."""
    with Installed() as v:
        register(v, 'a', 'b')
        p = Peer(v.run, 'a')
        p.want(1)
        assert p.wait_state(RUNNING, DEAD) == RUNNING
        for name in list(PROGRAMS)[1:]:
            put(v.dir / 'prefix' / name, b'of another version')
        old = v.children('vgpu-broker')
        os.kill(old[0], signal.SIGKILL)
        wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], old))
        assert v.ok('status')['version'].encode() == version() and p.state() == RUNNING
        Worker(v, 'b').end()
        p.want(0)
        wait_for('it is free again', lambda: p.state() == FREE)
        p.close()


if __name__ == '__main__':
    sys.exit(main(globals()))
