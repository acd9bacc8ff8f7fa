# SPDX-License-Identifier: Apache-2.0
"""A vgpud of its own in a temporary directory, and what tests need to talk to it. No sleeping: every wait
is for an event, with a deadline."""
import array
import json
import mmap
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / 'tools'))
from processes import alive  # noqa: E402, F401

BUILD = pathlib.Path(os.environ['VGPU_BUILD'])
VGPUD = BUILD / 'src/vgpud/vgpud'
ADMIN = BUILD / 'src/admin/vgpu-admin'
RUN = BUILD / 'src/run/vgpu-run'
SOFTCUDA = pathlib.Path(os.environ.get('VGPU_DRIVER') or BUILD / 'src/softcuda/libcuda.so.1')
SPINNER = BUILD / 'tests/vgpud/spinner'
DEADLINE = 30

# wire/layout.h and transports/unix_proto.h
MAGIC, UNIX_MAGIC = 0x55504756, 0x58495656
FREE, STARTING, RUNNING, DEAD = range(4)
CHANNEL_STATUS = 152  # offset of channel[0] in struct vgpu_header
WISH = 16 << 10


def wait_for(what, condition, seconds=DEADLINE):
    """For conditions in shared memory or /proc, which cannot be waited on: look often, give up loudly."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'not within {seconds} s: {what}')
        select.select([], [], [], 0.002)


class Vgpud:
    def __init__(self, *options, directory=None, driver=SOFTCUDA):
        self.owned = directory is None
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix='vgpud-test.'))
        os.chmod(self.dir, 0o711)
        self.run = self.dir / 'run'
        self.driver = driver
        self.options = [f'run-dir={self.run}', f'state-dir={self.dir}/state', 'landlock=accept-missing',
                        'bar-budget=64G', 'spawn-burst=100', 'spare=off', *options]
        self.process = None
        self.program, self.config = VGPUD, '/dev/null'

    def command(self):
        return [str(self.program), '-c', str(self.config)] + [w for o in self.options for w in ('-o', o)]

    def environment(self, **more):
        return dict(os.environ, VGPU_DRIVER=str(self.driver), **more)

    def start(self):
        notify = self.dir / 'notify'
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(str(notify))
            self.log = open(self.dir / 'log', 'ab')
            self.process = subprocess.Popen(self.command(), stderr=self.log,
                                            env=self.environment(NOTIFY_SOCKET=str(notify)))
            pidfd = os.pidfd_open(self.process.pid)
            ready, _, _ = select.select([s, pidfd], [], [], DEADLINE)
            os.close(pidfd)
            if s not in ready:
                self.process.kill()
                self.process.wait()
                raise AssertionError('vgpud did not become ready:\n' + self.log_text())
        return self

    def log_text(self):
        return (self.dir / 'log').read_text()

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        return self.process.wait(DEADLINE)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        if self.process and self.process.poll() is None:
            self.stop()
        if exc[0]:
            print(self.log_text())
        if self.owned:
            shutil.rmtree(self.dir, ignore_errors=True)

    def ask(self, cmd, **fields):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(str(self.run / 'control.sock'))
            s.sendall(json.dumps(dict(cmd=cmd, **fields)).encode() + b'\n')
            return json.loads(s.makefile().readline())

    def ok(self, cmd, **fields):
        r = self.ask(cmd, **fields)
        assert r['ok'], r
        return r['data']

    def children(self, name):
        out = []
        for p in pathlib.Path('/proc').iterdir():
            try:
                if p.name.isdigit() and (p / 'comm').read_text().strip() == name[:15] and \
                        f'\nPPid:\t{self.process.pid}\n' in (p / 'status').read_text():
                    out.append(int(p.name))
            except OSError:
                continue
        return out


class Refused(Exception):
    pass


class Peer:
    """Plays guest kernel and guest library of the unix transport."""

    def __init__(self, run, tenant, hello=None):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(str(run / 'guest.sock'))
        self.sock.send(hello or struct.pack('<II64s', UNIX_MAGIC, 1, tenant.encode()))
        fds = array.array('i')
        data, anc, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(5 * 4))
        for level, kind, body in anc:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(body)
        magic, version, status, vectors, size, text = struct.unpack('<IIIIQ128s', data)
        assert magic == UNIX_MAGIC and version == 1
        if status:
            self.sock.close()
            raise Refused(status, text.split(b'\0')[0].decode())
        assert len(fds) == 5 and vectors == 2
        self.fds = list(fds)
        self.bar = mmap.mmap(self.fds[0], size)

    def word(self, at):
        return struct.unpack_from('<I', self.bar, at)[0]

    def state(self):
        return self.word(CHANNEL_STATUS)

    def generation(self):
        return self.word(CHANNEL_STATUS + 4)

    def error(self):
        return self.word(CHANNEL_STATUS + 8)

    def want(self, generation):
        struct.pack_into('<I', self.bar, WISH, generation)
        os.write(self.fds[1], struct.pack('<Q', 1))

    def wait_state(self, *states):
        wait_for(f'channel state {states}, it is {self.state()}', lambda: self.state() in states)
        return self.state()

    def close(self):
        self.sock.close()
        self.bar.close()
        for fd in self.fds:
            os.close(fd)


def main(tests):
    """Runs every test_* of a script's globals(), or those its command line names; the script's exit status."""
    if not SOFTCUDA.exists():
        print('skipped: softcuda is not built')
        return 77
    known = [name for name in tests if name.startswith('test_')]
    only = sys.argv[1:] or known
    failed = [name for name in only if name not in known]
    for name in failed:
        print('not ok', name, '(no such test)')
    for name in [n for n in known if n in only]:
        try:
            tests[name]()
            print('ok', name, flush=True)
        except Exception:  # one test's failure must not hide the others
            failed.append(name)
            print('not ok', name)
            traceback.print_exc(file=sys.stdout)
    print(f'{len(failed)} failed')
    return 1 if failed else 0
