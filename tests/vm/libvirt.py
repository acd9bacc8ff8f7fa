#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A virtual machine of a real libvirtd, its <shmem> device our vgpud's: a conformance program runs in it.

Fails when the XML of docs/operating.md is not what libvirt takes, when libvirt's QEMU arguments are not what our server
and driver need, or when the end of the domain leaves an executor behind. The libvirtd is an unprivileged one of our own
with its own folders; the machine's, if there is one, is not asked.
"""
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import threading
import time
from xml.sax.saxutils import escape

import common
import qemu
import stage

USER = 'nobody'  # as root: whom libvirtd and QEMU run as
DOC = pathlib.Path(__file__).resolve().parents[2] / 'docs/operating.md'

DOMAIN = '''<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>512</memory>
  <vcpu current='1'>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model>qemu64</model><feature policy='require' name='rdrand'/></cpu>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>{emulator}</emulator>
    {disk}
    <serial type='file'><source path='{console}'/></serial>
    <channel type='unix'><source mode='connect' path='{agent}'/><target type='virtio' name='org.openvgpu.agent'/></channel>
    <memballoon model='none'/>
    {shmem}
  </devices>
</domain>
'''


def documented_shmem(socket):
    """The <shmem> element the guide tells operators to write, with our socket."""
    found = re.search(r"<shmem\b.*?</shmem>", DOC.read_text(), re.S)
    assert found, f'{DOC} shows no <shmem>'
    text, n = re.subn(r"<server path='[^']*'/>", f"<server path='{socket}'/>", found[0])
    assert n == 1, found[0]
    return text


class Libvirt:
    """A libvirtd of the user's session, in the foreground, below a folder of its own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.env = dict(os.environ, HOME=folder, XDG_RUNTIME_DIR=f'{folder}/run', XDG_CONFIG_HOME=f'{folder}/config',
                        XDG_CACHE_HOME=f'{folder}/cache', XDG_DATA_HOME=f'{folder}/data', LC_ALL='C')
        for d in ('run', 'config', 'cache', 'data'):
            (self.folder / d).mkdir()
        conf = self.folder / 'config/libvirt'
        conf.mkdir()
        (conf / 'qemu.conf').write_text('stdio_handler = "file"\nsecurity_driver = "none"\n')  # no virtlogd
        (conf / 'libvirtd.conf').write_text('log_outputs = "2:stderr"\n')
        if os.geteuid() == 0:
            subprocess.run(['chown', '-R', USER, folder], check=True)
        self.proc = None

    def as_user(self, words):
        if os.geteuid():
            return words
        p = pwd.getpwnam(USER)
        return ['setpriv', f'--reuid={p.pw_uid}', f'--regid={p.pw_gid}', '--clear-groups'] + words

    def __enter__(self):
        daemon = shutil.which('libvirtd', path='/usr/sbin:/usr/bin:/sbin')
        self.log = open(self.folder / 'libvirtd.log', 'wb')
        self.proc = subprocess.Popen(self.as_user([daemon]), env=self.env, stdin=subprocess.DEVNULL, stdout=self.log,
                                     stderr=self.log, cwd=self.folder)
        try:
            self.wait_socket()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_socket(self):
        """Made by bind(); that somebody listens is tried by the caller, with virsh's own patience."""
        for _ in range(600):
            if list((self.folder / 'run').rglob('libvirt-sock')):
                return
            try:
                self.proc.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        raise qemu.VMError('libvirtd has no socket:\n' + self.read_log())

    def read_log(self):
        logs = [self.folder / 'libvirtd.log'] + sorted((self.folder / 'cache').rglob('*.log'))
        return '\n'.join(p.read_text(errors='replace')[-3000:] for p in logs if p.exists())

    def virsh(self, *words, check=True):
        r = subprocess.run(self.as_user(['virsh', '-c', 'qemu:///session'] + list(words)), env=self.env, capture_output=True,
                           text=True, timeout=120, cwd=self.folder)
        if check and r.returncode:
            raise qemu.VMError(f'virsh {" ".join(words)}: {r.stderr.strip()}\n{self.read_log()}')
        return r.stdout

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.log.close()


class Domain(qemu.VM):
    """The same guest, started by libvirt instead of by us."""

    def __init__(self, libvirt, image, run_dir, name, shmem):
        super().__init__(image, run_dir, name)
        self.libvirt, self.shmem = libvirt, shmem

    def copy(self, path):
        """Where libvirt's QEMU may read it."""
        to = os.path.join(self.dir, os.path.basename(path))
        shutil.copy(path, to)
        os.chmod(to, 0o644)
        return to

    def start(self, timeout=qemu.BOOT_S):
        os.makedirs(self.dir, exist_ok=True)
        self.console, self.log = os.path.join(self.dir, 'console.log'), os.path.join(self.dir, 'qemu.log')
        open(self.log, 'w').close()
        open(self.console, 'w').close()
        listener, agent = self._listen('agent.sock')
        disk = ''
        if self.image.payload:
            disk = (f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{self.copy(self.image.payload)}'/>"
                    "<target dev='vda' bus='virtio'/><readonly/></disk>")
        xml = os.path.join(self.dir, 'domain.xml')
        with open(xml, 'w') as f:
            f.write(DOMAIN.format(name=self.name, kernel=self.copy(self.image.kernel), initrd=self.copy(self.image.initrd),
                                  cmdline=escape(qemu.KERNEL_ARGS), emulator=shutil.which('qemu-system-x86_64'), disk=disk,
                                  console=self.console, agent=agent, shmem=self.shmem))
        if os.geteuid() == 0:
            subprocess.run(['chown', '-R', USER, self.dir], check=True)
        self.libvirt.virsh('define', '--validate', xml)
        self.libvirt.virsh('start', self.name)
        self.started = time.monotonic()
        self.agent_sock = self._accept(listener)
        threading.Thread(target=self._read_agent, daemon=True).start()
        try:
            self.wait_hello(timeout)
        except qemu.VMError as e:
            raise qemu.VMError(f'{e}\n{self.libvirt.read_log()}') from None

    def close(self):
        self.libvirt.virsh('destroy', self.name, check=False)
        self.libvirt.virsh('undefine', self.name, check=False)


def case_conformance(vm, program):
    status, text = vm.run(program, 300)
    assert status == 0, f'{program} ended with {status}:\n{text}'
    return f'{text.count("ok ")} cases'


def case_end(vm, vgpud):
    """libvirt takes the machine away while a program has its channel."""
    job = vm.spawn('exec loop 2000')
    job.wait_text('^ready$')
    vgpud.wait_for(lambda: len(vgpud.control('show-vm', name=vm.name)['channels']) == 1, 'a channel in use')
    vm.libvirt.virsh('destroy', vm.name)
    vgpud.wait_for(lambda: not vgpud.control('show-vm', name=vm.name)['channels'], 'no channel in use')


def main():
    a = common.arguments(__doc__, stage=True)
    if not shutil.which('libvirtd', path='/usr/sbin:/usr/bin:/sbin') or not shutil.which('virsh'):
        common.skip('no libvirtd: apt-get install libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients')
    try:
        st = stage.Stage(a.stage)
    except stage.StageError as e:
        common.skip(str(e))
    add = [(st.guest_libcuda, '/opt/vgpu/lib/libcuda.so.1'), (st.loop, '/opt/vgpu/bin/loop')]
    image = common.image(a, dynamic=True, add=add)
    folder = common.run_dir()
    tap = common.Tap()
    try:
        os.mkdir(f'{folder}/lv')
        os.mkdir(f'{folder}/v')
        os.chmod(folder, 0o755)
        options = [f'qemu-user={USER}'] if os.geteuid() == 0 else []
        with stage.Vgpud(st, f'{folder}/v', 'log-level=debug', *options) as vgpud, Libvirt(f'{folder}/lv') as libvirt:
            vgpud.register('lv', '--quota', '256M')
            with Domain(libvirt, image, f'{folder}', 'lv', documented_shmem(vgpud.vm_socket('lv'))) as vm:
                tap.case('boots', vm.start)
                tap.case('driver', vm.check, 'insmod /opt/vgpu/vgpu_stub.ko && test -c /dev/vgpu0')
                for program in a.program:
                    tap.case('conformance', case_conformance, vm, os.path.basename(program))
                tap.case('end', case_end, vm, vgpud)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tap.finish()


if __name__ == '__main__':
    sys.exit(main())
