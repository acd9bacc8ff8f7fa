# SPDX-License-Identifier: Apache-2.0
"""A Debian with systemd as process 1 in namespaces of its own, root and all capabilities but few kept.

What it shows: packages, units, their filters, namespaces and device rules by the running kernel, journald, processes.
What it does not: another kernel than this machine's, and limits of cgroup controllers that this machine keeps in
hierarchies of version 1 (Machine.controllers says which there are).

The file system is made once from the machine's own package sources and kept as an archive in the build directory; each
Machine unpacks it into a tmpfs. There is no network: what the packages depend on lies in its package cache.
"""
import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

PACKAGES = 'systemd-sysv,dbus'
# Clock, modules and the audit are the machine's own: out of reach.
CAPABILITIES = '-sys_time,-sys_module,-audit_control,-audit_read,-audit_write'
BOOT_S = 120

# Arguments: the new root, a file for the console. /proc/sys and /sys are read-only as in any container: they are the
# machine's, not ours.
BOOT = r'''
root=$1
mount -t proc -o nosuid,nodev,noexec proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,bind,ro $root/proc/sys
test ! -e $root/proc/sysrq-trigger || mount --bind /dev/null $root/proc/sysrq-trigger
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs $root/sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 $root/sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid dev $root/dev
for n in null zero full random urandom tty; do touch $root/dev/$n; mount --bind /dev/$n $root/dev/$n; done
mkdir $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
touch $root/dev/console
mount --bind $2 $root/dev/console
cd $root
pivot_root . mnt
cd /
umount -l /mnt
exec setpriv --bounding-set=$3 env -i container=openvgpu-test NOTIFY_SOCKET=/test/notify PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /sbin/init systemd.unified_cgroup_hierarchy=1
'''


class Lacking(Exception):
    """Why there can be no such machine here."""


def run(*words, **more):
    r = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=900, **more)
    assert r.returncode == 0, (words, r.returncode, r.stdout[-3000:], r.stderr[-3000:])
    return r.stdout


def codename():
    return re.search(r'^VERSION_CODENAME=(\w+)', pathlib.Path('/etc/os-release').read_text(), re.M)[1]


def sources(suite):
    """This machine's own Debian package sources, for suite."""
    own = codename()
    form = 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)'
    lines = run('apt-get', 'indextargets', '--format', form, 'Created-By: Packages', 'Origin: Debian').splitlines()
    if not lines:
        raise Lacking('no Debian among the package sources of this machine')
    return '\n'.join(line.replace(f' {own}', f' {suite}') for line in lines) + '\n'


def depends(debs):
    """Names of the packages that debs depend on."""
    names = set()
    for deb in debs:
        for word in run('dpkg-deb', '-f', deb, 'Depends').strip().split(','):
            names.add(re.match(r'[^\s(|]*', word.strip())[0])
    return sorted(names - {''})


def archive(folder, suite, debs):
    """The root file system, with what debs need in its package cache."""
    if not shutil.which('mmdebstrap'):
        raise Lacking('no mmdebstrap: apt-get install mmdebstrap')
    needs = depends(debs)
    key = hashlib.sha256((BOOT + PACKAGES + ' '.join(needs)).encode()).hexdigest()[:8]
    path = pathlib.Path(folder) / f'{suite}-{key}.tar.zst'
    if path.exists():
        return path
    path.parent.mkdir(exist_ok=True)
    for old in path.parent.glob(f'{suite}-*.tar.zst'):
        old.unlink()
    new = path.with_name(path.name.replace('.tar', '.new.tar'))
    lists = path.with_name(f'{suite}.list')
    lists.write_text(sources(suite))
    fetch = ('rm -f "$1"/var/cache/apt/archives/*.deb; APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq install --yes --download-only '
             '--no-install-recommends ' + ' '.join(needs) + '; rm -f "$1"/var/cache/apt/*.bin')
    try:
        # In memory: dpkg waits for the disk after every file.
        run('mmdebstrap', '--variant=minbase', '--mode=root', f'--include={PACKAGES}', '--skip=cleanup/apt', f'--customize-hook={fetch}',
            suite, new, lists, env=dict(os.environ, TMPDIR='/dev/shm'))
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
    return path


class Machine:
    """Needs a mount namespace of its own (unshare -m) and a folder, which it covers with a tmpfs."""

    def __init__(self, folder, tar):
        self.folder, self.tar = pathlib.Path(folder), tar
        self.root, self.group = self.folder / 'root', None
        self.process = self.init = None
        self.controllers = []

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self.make()
            self.boot()
            undo.pop_all()
        return self

    def __exit__(self, *exc):
        self.close()

    def make(self):
        run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', self.folder)
        self.root.mkdir()
        run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', self.root)
        run('tar', '-C', self.root, '--zstd', '-xf', self.tar)
        (self.root / 'test').mkdir()
        (self.root / 'etc/hostname').write_text('openvgpu-test\n')
        (self.root / 'etc/apt/apt.conf.d/test').write_text('APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n')
        # There is no terminal behind the console.
        (self.root / 'etc/systemd/system/console-getty.service').symlink_to('/dev/null')
        tree = self.folder / 'cgroup'
        tree.mkdir()
        r = subprocess.run(['mount', '-t', 'cgroup2', 'none', tree], capture_output=True, text=True)
        if r.returncode:
            raise Lacking('no cgroup2: ' + r.stderr.strip())
        self.group = tree / f'openvgpu-test-{os.getpid()}'
        try:
            self.group.mkdir()
        except OSError as e:
            raise Lacking(f'no control group of our own: {e}') from None
        self.controllers = (self.group / 'cgroup.controllers').read_text().split()

    def boot(self):
        console = self.folder / 'console'
        console.touch()
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(str(self.root / 'test/notify'))
        words = ['unshare', '--pid', '--uts', '--ipc', '--net', '--cgroup', '--mount', '--fork', '--kill-child', 'sh', '-ec', BOOT, 'boot',
                 str(self.root), str(console), CAPABILITIES]
        # The group first: the cgroup namespace has the group of who makes it as its root.
        enter = f'echo $$ >{self.group}/cgroup.procs; exec "$@"'
        with ready, open(console, 'ab') as log:
            self.process = subprocess.Popen(['sh', '-ec', enter, 'enter'] + words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            ready.settimeout(0.5)
            deadline = time.monotonic() + BOOT_S
            while True:
                if self.process.poll() is not None:
                    raise Lacking('systemd does not start in namespaces here: ' + console.read_text(errors='replace')[-500:])
                try:
                    if b'READY=1' in ready.recv(4096):
                        break
                except socket.timeout:
                    assert time.monotonic() < deadline, f'no boot within {BOOT_S} s: ' + console.read_text(errors='replace')[-3000:]
        self.init = int(pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()[0])

    def words(self, script):
        """The command that runs script in the machine, as root in its home."""
        return ['nsenter', '-t', str(self.init), '-m', '-p', '-u', '-i', '-n', '-C', '-r', '-w', 'env', '-i',
                'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'LC_ALL=C', 'DEBIAN_FRONTEND=noninteractive', 'bash', '-c', script]

    def sh(self, script, status=(0,), timeout=180):
        r = subprocess.run(self.words(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           errors='replace', timeout=timeout)
        assert r.returncode in status, f'{script}\nended with {r.returncode}:\n{r.stdout[-4000:]}'
        return r.stdout

    def spawn(self, script):
        return subprocess.Popen(self.words(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def path(self, name):
        """A file of the machine, seen from here. /run and /dev are mounted in there only."""
        return pathlib.Path(f'/proc/{self.init}/root') / name.lstrip('/')

    def close(self):
        if self.process and self.process.poll() is None:
            if self.init:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.init, signal.SIGRTMIN + 4)  # systemd(1): power off
            try:
                self.process.wait(60 if self.init else 0)
            except subprocess.TimeoutExpired:
                self.process.kill()  # and, by --kill-child, all of it
                self.process.wait()
        if self.group and self.group.exists():
            for d, _, _ in os.walk(self.group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(d)
        subprocess.run(['umount', '-R', '-l', str(self.folder)], stderr=subprocess.DEVNULL)
