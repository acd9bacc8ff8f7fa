# SPDX-License-Identifier: Apache-2.0
"""A stock QEMU with our guest image: start, run commands, reset, panic, unplug. No sleeping: every
wait is for an event with a deadline.

    with VM(image, run_dir, name='a', ivshmem='/path/socket') as vm:
        vm.start()
        status, text = vm.run('uname -r')
"""
import json
import os
import re
import socket
import subprocess
import threading
import time

AGENT_PORT = 'org.openvgpu.agent'
BOOT_S = 120  # two emulated CPUs' worth of host may be shared by many builds
COMMAND_S = 60

KERNEL_ARGS = ('console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable no_timer_check mitigations=off '
               'nokaslr random.trust_cpu=on rcupdate.rcu_expedited=1 audit=0 8250.nr_uarts=1')


class VMError(Exception):
    pass


class Job:
    """A command running in the guest."""

    def __init__(self, vm, ident, command):
        self.vm, self.id, self.command = vm, ident, command
        self.output = b''
        self.status = None  # exit status; None while running

    @property
    def text(self):
        return self.output.decode(errors='replace')

    def wait(self, timeout=COMMAND_S):
        """Exit status; VMError when the deadline passes or the VM ends."""
        self.vm.wait_for(lambda: self.status is not None, timeout, f'command "{self.command}"', self)
        return self.status

    def wait_text(self, pattern, timeout=COMMAND_S):
        """Until the output matches; the match object."""
        found = []

        def look():
            m = re.search(pattern, self.text, re.M)
            if m:
                found.append(m)
            return bool(m) or self.status is not None
        self.vm.wait_for(look, timeout, f'"{pattern}" from "{self.command}"', self)
        if not found:
            raise VMError(f'{self.vm.name}: "{self.command}" ended with {self.status} without '
                          f'"{pattern}":\n{self.text}')
        return found[-1]

    def kill(self, signal=9):
        self.vm.send(b'kill %d %d\n' % (self.id, signal))


class Stream:
    """Buffered reader over the agent's socket."""

    def __init__(self, sock):
        self.sock, self.buf = sock, b''

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buf += data

    def line(self):
        while b'\n' not in self.buf:
            self.fill()
        line, self.buf = self.buf.split(b'\n', 1)
        return line

    def take(self, n):
        while len(self.buf) < n:
            self.fill()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data


def kvm_works(run_dir, image):
    """Believe only a guest that really ran: /dev/kvm may exist where it cannot work."""
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return False
    vm = VM(image, run_dir, name='kvm-probe', accel='kvm')
    try:
        vm.start(timeout=10)
        return True
    except VMError:
        return False
    finally:
        vm.close()


class VM:
    def __init__(self, image, run_dir, name='vm', ivshmem=None, memory_mib=512, vectors=33,
                 machine='q35', accel='tcg', reboot=False, seabios=False, hotplug=False, append='', extra=()):
        self.image, self.name = image, name
        self.dir = os.path.join(run_dir, name)
        self.ivshmem, self.vectors = ivshmem, vectors
        self.memory_mib, self.machine, self.accel = memory_mib, machine, accel
        self.reboot, self.seabios, self.hotplug = reboot, seabios, hotplug
        self.kernel_args = f'{KERNEL_ARGS} {append}'
        self.extra = list(extra)
        self.proc = None
        self.jobs = {}
        self.hellos = 0
        self.ended = False
        self.qmp_replies, self.events = [], []
        self.cond = threading.Condition()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---- starting ----

    def _listen(self, name):
        path = os.path.join(self.dir, name)
        if os.path.exists(path):
            os.unlink(path)
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(1)
        return s, path

    def device_args(self):
        return f'ivshmem-doorbell,id=vgpu0,vectors={self.vectors},chardev=ivs'

    def command(self, agent, qmp):
        args = ['qemu-system-x86_64', '-accel', self.accel, '-machine', self.machine,
                # One vCPU, but room for two: with a maximum of one, TCG drops memory fences.
                '-smp', '1,maxcpus=2', '-m', str(self.memory_mib),
                '-cpu', 'host' if self.accel == 'kvm' else 'qemu64,+rdrand',
                '-nodefaults', '-display', 'none', '-kernel', self.image.kernel,
                '-initrd', self.image.initrd, '-append', self.kernel_args,
                '-serial', 'file:' + self.console,
                '-chardev', f'socket,id=qmp,path={qmp}', '-mon', 'chardev=qmp,mode=control',
                '-chardev', f'socket,id=agent,path={agent}', '-device', 'virtio-serial-pci',
                '-device', f'virtserialport,chardev=agent,name={AGENT_PORT}']
        if not self.seabios:
            args += ['-bios', 'qboot.rom']  # boots in a fraction of SeaBIOS's time
        if not self.reboot:
            args += ['-no-reboot']
        if self.image.payload:
            args += ['-drive', f'if=none,id=usr,format=raw,readonly=on,file={self.image.payload}',
                     '-device', 'virtio-blk-pci,drive=usr']
        if self.ivshmem:
            args += ['-chardev', f'socket,id=ivs,path={self.ivshmem}']
            if not self.hotplug:
                args += ['-device', self.device_args()]
        return args + self.extra

    def start(self, timeout=BOOT_S, wait=True):
        os.makedirs(self.dir, exist_ok=True)
        self.console = os.path.join(self.dir, 'console.log')
        self.log = os.path.join(self.dir, 'qemu.log')
        for path in (self.console, self.log):
            open(path, 'w').close()
        self.ended, self.jobs, self.hellos = False, {}, 0
        agent_l, agent = self._listen('agent.sock')
        qmp_l, qmp = self._listen('qmp.sock')
        with open(self.log, 'ab') as log:
            self.proc = subprocess.Popen(self.command(agent, qmp), stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log, start_new_session=True)
        self.started = time.monotonic()
        threading.Thread(target=self._reap, daemon=True).start()
        self.qmp_sock = self._accept(qmp_l)
        self.agent_sock = self._accept(agent_l)
        threading.Thread(target=self._read_qmp, daemon=True).start()
        threading.Thread(target=self._read_agent, daemon=True).start()
        self.qmp('qmp_capabilities')
        if wait:
            self.wait_hello(timeout)

    def _accept(self, listener):
        listener.settimeout(0.1)
        deadline = time.monotonic() + 30
        try:
            while time.monotonic() < deadline and not self.ended:
                try:
                    return listener.accept()[0]
                except socket.timeout:
                    continue
        finally:
            listener.close()
        raise VMError(f'{self.name}: QEMU did not start:\n{self.read_log()}')

    def wait_hello(self, timeout=BOOT_S, count=1):
        self.wait_for(lambda: self.hellos >= count, timeout, 'the guest to boot')
        return time.monotonic() - self.started

    # ---- what comes from QEMU ----

    def _change(self, fn):
        with self.cond:
            fn()
            self.cond.notify_all()

    def _reap(self):
        proc = self.proc
        proc.wait()
        if proc is self.proc:
            self._change(lambda: setattr(self, 'ended', True))

    def _read_qmp(self):
        stream = Stream(self.qmp_sock)
        try:
            while True:
                msg = json.loads(stream.line())
                into = self.events if 'event' in msg else self.qmp_replies
                if 'QMP' not in msg:
                    self._change(lambda: into.append(msg))
        except (EOFError, OSError):
            pass

    def _read_agent(self):
        stream = Stream(self.agent_sock)
        try:
            while True:
                self._agent_frame(stream)
        except (EOFError, OSError):
            pass

    def _agent_frame(self, stream):
        word = stream.line().split()
        if word[:1] == [b'hello']:
            self._change(lambda: setattr(self, 'hellos', self.hellos + 1))
        elif word[:1] == [b'out']:
            data = stream.take(int(word[2]))
            job = self.jobs.get(int(word[1]))
            if job:
                self._change(lambda: setattr(job, 'output', job.output + data))
        elif word[:1] == [b'exit']:
            job = self.jobs.pop(int(word[1]), None)
            if job:
                self._change(lambda: setattr(job, 'status', int(word[2])))

    def wait_for(self, test, timeout, what, job=None):
        with self.cond:
            done = self.cond.wait_for(lambda: test() or self.ended, timeout)
            if test():
                return
        why = 'QEMU ended' if done else f'not within {timeout} s'
        text = f'\noutput so far:\n{job.text[-4000:]}' if job else ''
        raise VMError(f'{self.name}: waiting for {what}: {why}{text}\n{self.read_log()}')

    def read_log(self):
        text = ''
        for path in (self.log, self.console):
            with open(path, errors='replace') as f:
                text += f.read()[-3000:]
        return text

    # ---- what goes to it ----

    def qmp(self, command, timeout=30, **arguments):
        self.qmp_replies.clear()
        msg = {'execute': command}
        if arguments:
            msg['arguments'] = arguments
        self.qmp_sock.sendall(json.dumps(msg).encode())
        self.wait_for(lambda: self.qmp_replies, timeout, f'QMP {command}')
        reply = self.qmp_replies.pop(0)
        if 'error' in reply:
            raise VMError(f'{self.name}: QMP {command}: {reply["error"]["desc"]}')
        return reply['return']

    def wait_event(self, name, timeout=60):
        self.wait_for(lambda: any(e['event'] == name for e in self.events), timeout, f'event {name}')

    def send(self, data):
        self.agent_sock.sendall(data)

    def spawn(self, command):
        with self.cond:
            ident = next(i for i in range(64) if i not in self.jobs)
            job = self.jobs[ident] = Job(self, ident, command)
        data = command.encode()
        self.send(b'run %d %d\n' % (ident, len(data)) + data)
        return job

    def run(self, command, timeout=COMMAND_S):
        """(exit status, output)"""
        job = self.spawn(command)
        job.wait(timeout)
        return job.status, job.text

    def check(self, command, timeout=COMMAND_S):
        """Output of a command that must succeed."""
        status, text = self.run(command, timeout)
        if status:
            raise VMError(f'{self.name}: "{command}" ended with {status}:\n{text}')
        return text

    # ---- the VM as a whole ----

    def forget_jobs(self):
        for job in list(self.jobs.values()):
            self.jobs.pop(job.id, None)
            job.status = -1

    def reset(self, timeout=BOOT_S):
        """Hard reset, as the reset button; waits for the next boot. Needs reboot=True."""
        count = self.hellos
        self.qmp('system_reset')
        self.forget_jobs()
        self.wait_hello(timeout, count + 1)

    def panic(self, timeout=BOOT_S):
        """Crash the guest kernel: it reboots (reboot=True) or QEMU ends."""
        count = self.hellos
        self.spawn('echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger')
        if self.reboot:
            self.wait_hello(timeout, count + 1)
            self.forget_jobs()
        else:
            self.wait_end(timeout)

    def poweroff(self, timeout=60):
        self.spawn('poweroff -f')
        self.wait_end(timeout)

    def wait_end(self, timeout=60):
        with self.cond:
            if not self.cond.wait_for(lambda: self.ended, timeout):
                raise VMError(f'{self.name}: QEMU still runs after {timeout} s')

    def unplug(self, ident='vgpu0', timeout=60):
        self.events.clear()
        self.qmp('device_del', id=ident)
        self.wait_event('DEVICE_DELETED', timeout)

    def plug(self):
        self.qmp('device_add', driver='ivshmem-doorbell', id='vgpu0', vectors=self.vectors,
                 chardev='ivs')

    def close(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
