# SPDX-License-Identifier: Apache-2.0
"""An installed tree (build/stage), a private vgpud from it, and what the demo and the VM tests ask it."""
import json
import os
import signal
import socket
import subprocess
import threading
import time


class StageError(Exception):
    pass


class Stage:
    """Where things lie below DIR once installed there."""

    def __init__(self, root):
        self.root = os.path.abspath(root)
        usr = os.path.join(self.root, 'usr')
        self.bin, self.sbin = os.path.join(usr, 'bin'), os.path.join(usr, 'sbin')
        self.libexec = os.path.join(usr, 'libexec', 'openvgpu')
        self.guest = os.path.join(usr, 'lib', 'openvgpu', 'guest')
        self.softcuda = os.path.join(usr, 'lib', 'openvgpu', 'softcuda', 'libcuda.so.1')
        self.ko = os.path.join(self.guest, 'vgpu_stub.ko')
        self.guest_libcuda = os.path.join(self.guest, 'libcuda.so.1')
        self.agent = os.path.join(self.libexec, 'demo', 'vm-agent')
        self.loop = os.path.join(self.libexec, 'demo', 'loop')
        self.run = self.program('vgpu-run')
        self.admin = self.program('vgpu-admin')
        self.vgpud = self.program('vgpud')
        for path in (self.ko, self.guest_libcuda, self.agent, self.softcuda):
            if not os.path.exists(path):
                raise StageError(f'{path} is missing: run "make stage"'
                                 + (' with kernel headers installed' if path == self.ko else ''))

    def program(self, name):
        for folder in (self.bin, self.sbin, self.libexec):
            if os.path.exists(os.path.join(folder, name)):
                return os.path.join(folder, name)
        raise StageError(f'{name} is not below {self.root}: run "make stage"')

    def direct(self, *command):
        """A command directly on softcuda, without any of our path."""
        return [self.run, '--direct', '--'] + list(command)


class Vgpud:
    """A vgpud of our own on softcuda, its run directory below `folder`."""

    def __init__(self, stage, folder, *options):
        self.stage, self.folder = stage, folder
        self.run_dir, self.state_dir = os.path.join(folder, 'r'), os.path.join(folder, 's')
        self.log_path = os.path.join(folder, 'vgpud.log')
        self.options = list(options)
        self.proc = None
        self.lines, self.cond = 0, threading.Condition()  # of its log

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def start(self):
        os.chmod(self.folder, 0o711)  # as root the broker and the executors have users of their own
        conf = os.path.join(self.folder, 'vgpud.conf')
        with open(conf, 'w') as f:
            f.write(f'run-dir = {self.run_dir}\nstate-dir = {self.state_dir}\n'
                    f'driver = {self.stage.softcuda}\nlandlock = accept-missing\n')
        command = [self.stage.vgpud, '-c', conf]
        for option in self.options:
            command += ['-o', option]
        notify_path = os.path.join(self.folder, 'notify')
        if os.path.exists(notify_path):
            os.unlink(notify_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(notify_path)
            os.chmod(notify_path, 0o777)
            self.proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                         env=dict(os.environ, NOTIFY_SOCKET=notify_path))
            threading.Thread(target=self._read_log, args=(self.proc.stderr,), daemon=True).start()
            self._wait_ready(notify)

    def _read_log(self, pipe):
        with open(self.log_path, 'ab', buffering=0) as log, pipe:
            for line in pipe:
                log.write(line)
                with self.cond:
                    self.lines += 1
                    self.cond.notify_all()

    def wait_for(self, test, what, timeout=30):
        """The control socket has no events, but the log has: with log-level=debug one line for every change
        of a channel, and the broker answers nobody in the midst of one."""
        deadline = time.monotonic() + timeout
        while True:
            seen = self.lines
            if test():
                return
            with self.cond:
                if not self.cond.wait_for(lambda: self.lines != seen, deadline - time.monotonic()):
                    raise AssertionError(f'{what}: not within {timeout} s')

    def _wait_ready(self, notify, timeout=60):
        notify.settimeout(0.2)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.proc.poll() is not None:
                raise StageError(f'vgpud ended with {self.proc.returncode}:\n{self.log()}')
            try:
                if b'READY=1' in notify.recv(4096):
                    return
            except socket.timeout:
                continue
        raise StageError(f'vgpud not ready within {timeout} s:\n{self.log()}')

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()[-4000:]

    def admin(self, *args):
        """vgpu-admin as a user would call it; its output. StageError carries its message."""
        r = subprocess.run([self.stage.admin, '--run-dir', self.run_dir] + list(args),
                           capture_output=True, text=True, timeout=60)
        if r.returncode:
            raise StageError(f'vgpu-admin {" ".join(args)}: {(r.stderr or r.stdout).strip()}')
        return r.stdout

    @property
    def control_path(self):
        return os.path.join(self.run_dir, 'control.sock')

    def control(self, cmd, **arguments):
        """One request of the control socket's JSON lines; its data."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.control_path)
            s.sendall(json.dumps(dict(arguments, cmd=cmd)).encode() + b'\n')
            data = b''
            while not data.endswith(b'\n'):
                part = s.recv(1 << 20)
                if not part:
                    raise StageError(f'control socket: no answer to "{cmd}"')
                data += part
        reply = json.loads(data)
        if not reply['ok']:
            raise StageError(f'{cmd}: {reply["error"]}')
        return reply['data']

    def vm_socket(self, name):
        return os.path.join(self.run_dir, 'vm', name + '.sock')

    def register(self, name, *options):
        return self.admin('register-vm', name, *options)

    def device_seconds(self, names):
        """Device time charged to each VM so far, by the broker's clock, all at one moment."""
        self.control('timeline', since_bucket=2 ** 62)  # charges what runs up to now
        used = {vm['name']: vm['device_seconds'] for vm in self.control('list-vms')}
        return [used[n] for n in names]

    def timeline(self):
        """Device time per VM in buckets (docs: control socket), for pictures."""
        return self.control('timeline')
