#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Make a small Linux guest from installed Debian packages: kernel, initrd, optional program payload.

usage: guest_image.py --out DIR --agent FILE [--ko FILE] [--program PATH]... [--add SOURCE:TARGET]...

The kernel is the one --ko was built for, else the newest cloud kernel. The initrd holds busybox, the
modules needed to reach the payload, the agent as PID 1 and whatever --add names; the payload is a
squashfs with the programs and the closure of their shared libraries, mounted at /usr. Everything is
cached in DIR under a hash of its contents. Prints the three paths as JSON.
"""
import argparse
import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys

MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'squashfs']

# What the kernel cannot do for itself; the agent takes over as PID 1.
INIT = r'''#!/bb/busybox sh
b=/bb/busybox
$b mkdir -p /proc /sys /dev /tmp /run /root /usr /var/tmp
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/shm
$b mount -t tmpfs shm /dev/shm
for m in $($b cat /bb/modules); do $b insmod /bb/$m || echo "init: insmod $m failed"; done
for d in bin lib lib64 sbin; do $b ln -s usr/$d /$d; done
n=0
while ! [ -c /dev/vport0p1 ] && [ $n -lt 500 ]; do $b usleep 10000; n=$((n+1)); done
if ! [ -b /dev/vda ] || ! $b mount -t squashfs -o ro /dev/vda /usr 2>/dev/null; then
	$b mkdir -p /usr/bin
	for a in $($b --list); do $b ln -s $b /usr/bin/$a; done
fi
export PATH=/opt/vgpu/bin:/usr/bin:/bin HOME=/root LD_LIBRARY_PATH=/opt/vgpu/lib LC_ALL=C
$b dmesg -n 4
exec /bb/agent /dev/vport0p1
'''


@dataclasses.dataclass
class Image:
    kernel: str
    initrd: str
    payload: str | None


class ImageError(Exception):
    """What is missing and how to get it."""


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def hash_of(parts):
    """parts: (name, mode, bytes or path)."""
    h = hashlib.sha256()
    for name, mode, data in parts:
        h.update(f'{name}\0{mode:o}\0'.encode())
        if isinstance(data, bytes):
            h.update(data)
        else:
            with open(data, 'rb') as f:
                h.update(hashlib.file_digest(f, 'sha256').digest())
    return h.hexdigest()[:16]


def kernel_release(ko):
    if ko:
        return output_of('/usr/sbin/modinfo', '-F', 'vermagic', ko).split()[0]
    found = sorted((d for d in os.listdir('/lib/modules') if '-cloud-' in d),
                   key=lambda d: [int(n) for n in re.findall(r'\d+', d)])
    if not found:
        raise ImageError('no cloud kernel under /lib/modules: apt-get install linux-image-cloud-amd64')
    return found[-1]


def kernel_tree(release, cache):
    """(vmlinuz, directory with lib/modules): installed, else unpacked from the package."""
    vmlinuz = f'/boot/vmlinuz-{release}'
    if os.path.exists(vmlinuz) and os.path.isdir(f'/lib/modules/{release}/kernel'):
        return vmlinuz, '/'
    tree = os.path.join(cache, f'kernel-{release}')
    if not os.path.exists(f'{tree}/boot/vmlinuz-{release}'):
        os.makedirs(tree, exist_ok=True)
        for package in (f'linux-image-{release}', f'linux-image-{release}-unsigned'):
            if subprocess.run(['apt-get', 'download', '-q', package], cwd=tree,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                break
        else:
            raise ImageError(f'no kernel {release}: apt-get install linux-image-{release}')
        for deb in [f for f in os.listdir(tree) if f.endswith('.deb')]:
            subprocess.run(['dpkg', '-x', deb, '.'], cwd=tree, check=True)
        subprocess.run(['/usr/sbin/depmod', '-b', tree, release], check=True)
    return f'{tree}/boot/vmlinuz-{release}', tree


def module_files(release, tree):
    """Paths of MODULES and what they depend on, in loading order."""
    files = []
    for name in MODULES:
        text = output_of('/usr/sbin/modprobe', '-d', tree, '-S', release, '--show-depends', name)
        for line in text.splitlines():
            word = line.split()
            if word[0] == 'insmod' and word[1] not in files:
                files.append(word[1])
    return files


def cpio_entry(ino, name, mode, data):
    name = name.encode() + b'\0'
    fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b'070701' + b''.join(b'%08x' % f for f in fields) + name
    return head + b'\0' * (-len(head) % 4) + data + b'\0' * (-len(data) % 4)


def write_cpio(path, parts):
    """A newc archive: directories are made as needed; parts as for hash_of, mode with file type."""
    seen = set()
    part = f'{path}.{os.getpid()}'  # several tests may build the same image at once
    with open(part, 'wb') as out:
        ino = 1
        for name, mode, data in parts:
            for up in [name[:i] for i, c in enumerate(name) if c == '/']:
                if up not in seen:
                    seen.add(up)
                    out.write(cpio_entry(ino, up, stat.S_IFDIR | 0o755, b''))
                    ino += 1
            if not isinstance(data, bytes):
                with open(data, 'rb') as f:
                    data = f.read()
            out.write(cpio_entry(ino, name, mode, data))
            ino += 1
        out.write(cpio_entry(0, 'TRAILER!!!', 0, b''))
    os.rename(part, path)


def file_part(target, source):
    mode = 0o755 if os.access(source, os.X_OK) else 0o644
    return (target.lstrip('/'), stat.S_IFREG | mode, source)


def added_parts(add):
    """add: (source, target); a directory source contributes everything below it."""
    parts = []
    for source, target in add:
        if not os.path.isdir(source):
            parts.append(file_part(target, source))
            continue
        for at, dirs, names in sorted(os.walk(source)):
            dirs.sort()
            for n in sorted(names):
                full = os.path.join(at, n)
                parts.append(file_part(os.path.join(target, os.path.relpath(full, source)), full))
    return parts


def build_initrd(out, release, tree, agent, ko, add):
    modules = module_files(release, tree)
    parts = [('init', stat.S_IFREG | 0o755, INIT.encode()),
             ('bb/modules', stat.S_IFREG | 0o644,
              '\n'.join(os.path.basename(m) for m in modules).encode()),
             file_part('bb/busybox', '/usr/bin/busybox'), file_part('bb/agent', agent)]
    parts += [file_part('bb/' + os.path.basename(m), m) for m in modules]
    if ko:
        parts.append(file_part('opt/vgpu/vgpu_stub.ko', ko))
    parts += added_parts(add)
    path = os.path.join(out, f'initrd-{hash_of(parts)}.img')
    if not os.path.exists(path):
        write_cpio(path, parts)
    return path


def library_closure(programs):
    files = set()
    for p in programs:
        text = subprocess.run(['/usr/bin/ldd', p], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env=dict(os.environ, LC_ALL='C')).stdout
        for line in text.splitlines():  # a static program has none
            m = re.search(r'(?:=> )?(/\S+) \(0x', line)
            if m:
                files.add(m.group(1))
            elif 'not found' in line and 'libcuda.so.1' not in line:  # the guest's own, by --add
                raise ImageError(f'{p}: {line.strip()}')
    return files


def build_payload(out, programs):
    """Under usr: programs in bin, their libraries where the loader looks, busybox for the rest."""
    names = {}
    for lib in library_closure(programs):
        # /lib is a link to usr/lib in Debian; the payload is mounted at /usr.
        names[re.sub(r'^/usr/', '', lib).lstrip('/')] = os.path.realpath(lib)
    for p in programs:
        names['bin/' + os.path.basename(p)] = os.path.realpath(p)
    names['bin/busybox'] = '/usr/bin/busybox'
    ident = hashlib.sha256(json.dumps(
        [(n, f, os.path.getsize(f), int(os.path.getmtime(f))) for n, f in sorted(names.items())]
    ).encode()).hexdigest()[:16]
    path = os.path.join(out, f'payload-{ident}.sqfs')
    if os.path.exists(path):
        return path
    part, root = f'{path}.{os.getpid()}', f'{path}.{os.getpid()}.root'
    for name, source in names.items():
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        shutil.copyfile(source, os.path.join(root, name))
        os.chmod(os.path.join(root, name), 0o755)
    for applet in output_of('/usr/bin/busybox', '--list').split():
        link = os.path.join(root, 'bin', applet)
        if not os.path.lexists(link):
            os.symlink('busybox', link)
    # Not compressed: an emulated CPU unpacks slowly, and the host's page cache holds it anyway.
    subprocess.run(['mksquashfs', root, part, '-noI', '-noD', '-noF', '-noX', '-all-root',
                    '-no-progress', '-quiet', '-noappend'], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
    os.rename(part, path)
    return path


def build(out, agent, ko=None, programs=(), add=()):
    os.makedirs(out, exist_ok=True)
    release = kernel_release(ko)
    vmlinuz, tree = kernel_tree(release, out)
    initrd = build_initrd(out, release, tree, agent, ko, add)
    return Image(vmlinuz, initrd, build_payload(out, programs) if programs else None)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--out', required=True)
    ap.add_argument('--agent', required=True, help='static program that becomes PID 1')
    ap.add_argument('--ko', help='vgpu_stub.ko, also chooses the kernel')
    ap.add_argument('--program', action='append', default=[], help='goes into the payload with its libraries')
    ap.add_argument('--add', action='append', default=[], metavar='SOURCE:TARGET')
    a = ap.parse_args()
    try:
        image = build(a.out, a.agent, a.ko, a.program, [s.split(':', 1) for s in a.add])
    except ImageError as e:
        sys.exit(f'guest_image: {e}')
    print(json.dumps(dataclasses.asdict(image), indent=1))


if __name__ == '__main__':
    main()
