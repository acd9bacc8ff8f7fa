#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The packages of "make deb" in a test root: installed, used, removed, purged.

The root is this machine's own under an overlay, in a mount namespace: nothing of it is changed, and what the
packages depend on is there already. The module's package is built against every kernel whose headers are here.
Skipped without packages, without root, or where overlays do not work.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

DEBS = pathlib.Path(os.environ['VGPU_BUILD']) / 'deb'
PACKAGES = ['openvgpu-host', 'openvgpu-guest', 'openvgpu-doctor']
MODULE = 'openvgpu-guest-dkms'  # needs dkms
# What dpkg and the loader write about any package.
FOREIGN = ('var/lib/dpkg', 'var/lib/dkms', 'var/cache', 'var/log', 'etc/ld.so.cache', 'var/lib/systemd', 'tmp', 'run', 'root', 'test', 'proc', 'dev')


def skip(why):
    print('skipped:', why)
    sys.exit(77)


def run(*words, **more):
    r = subprocess.run(words, capture_output=True, text=True, timeout=600, **more)
    assert r.returncode == 0, (words, r.returncode, r.stdout, r.stderr)
    return r.stdout


def inside(root, script):
    return run('chroot', root, '/bin/sh', '-ec', 'unset TMPDIR; export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C; ' + script)


def left(upper):
    """Files the packages have left: paths in the overlay's upper layer that are not others' bookkeeping."""
    out = []
    for p in pathlib.Path(upper).rglob('*'):
        name = str(p.relative_to(upper))
        if name.startswith('usr/lib/modules/') and p.name.startswith('modules.'):
            continue  # depmod's
        # A character device 0:0 is the overlay's mark of a removed file.
        if not name.startswith(FOREIGN) and not p.is_dir() and not (p.is_char_device() and p.lstat().st_rdev == 0):
            out.append(name)
    return sorted(out)


USE = '''
vgpud -n
NOTIFY_SOCKET= vgpud &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
tries=0
until vgpu-admin status >/test/status 2>&1; do tries=$((tries + 1)); test $tries -lt 2000; done
vgpu-admin register-vm vm1 --quota 64M >/dev/null
vgpu-admin list-vms
cat /test/status
vgpu-doctor --mode share --format json >/test/doctor || true
test -s /test/doctor
'''


def kernels():
    """Versions whose headers are installed."""
    return sorted(p.parent.name for p in pathlib.Path('/lib/modules').glob('*/build') if (p / 'Makefile').exists())


def check_module(root, upper):
    """DKMS builds the module from the package's source, and nothing of it is left after the removal."""
    if not shutil.which('dkms') or not kernels():
        print('skipped the module:', 'no dkms' if not shutil.which('dkms') else 'no kernel headers', flush=True)
        return
    inside(root, f'dpkg -i /test/{MODULE}_*.deb')
    version = inside(root, "dpkg-query -W -f '${Version}' " + MODULE)
    for k in kernels():
        inside(root, f'dkms install -m openvgpu -v {version} -k {k}')
        built = [p for p in left(upper) if k in p and p.split('/')[-1].startswith('vgpu_stub.ko')]
        assert built, left(upper)
        print('ok module', built[0], flush=True)
    inside(root, f'dpkg -P {MODULE}')
    rest = [p for p in left(upper) if 'vgpu_stub' in p or p.startswith('usr/src')]
    assert rest == [], rest
    print('ok module removed', flush=True)


def check(root, upper):
    inside(root, 'dpkg -i ' + ' '.join(f'/test/{p.name}' for p in sorted(DEBS.glob('*.deb')) if p.name.split('_')[0] in PACKAGES))
    assert 'usr/sbin/vgpud' in left(upper)
    assert 'usr/share/doc/openvgpu-host/alerts.md' in left(upper), 'what every alert names'
    for unit in ('multi-user.target.wants/vgpud.service', 'multi-user.target.wants/vgpu-agent.service', 'timers.target.wants/vgpu-doctor.timer'):
        assert os.path.islink(f'{root}/etc/systemd/system/{unit}'), f'{unit} is not enabled'
    scripts = {s: pathlib.Path(f'{root}/var/lib/dpkg/info/openvgpu-host.{s}').read_text() for s in ('postinst', 'prerm')}
    assert re.search(r"deb-systemd-invoke start .*vgpud.service", scripts['postinst']), scripts['postinst']
    # An upgrade that stopped it would end what every VM computes.
    assert re.search(r'"\$1" = remove.*\n.*deb-systemd-invoke stop .*vgpud.service', scripts['prerm']), scripts['prerm']
    shown = inside(root, USE)
    assert 'softcuda' in shown and 'vm1' in shown, shown
    print('ok installed and used', flush=True)
    inside(root, 'dpkg -r ' + ' '.join(PACKAGES))
    rest = left(upper)
    assert [p for p in rest if p.startswith('var/lib/openvgpu')] and 'etc/openvgpu/vgpud.conf' in rest, rest
    assert not [p for p in rest if p.startswith('usr/')], rest
    print('ok removed: configuration and state are left, nothing else', flush=True)
    inside(root, 'dpkg -P ' + ' '.join(PACKAGES))
    # The user came and went: these were written, and are as before.
    users = [f'etc/{n}{old}' for n in ('passwd', 'shadow', 'group', 'gshadow', 'subuid', 'subgid') for old in ('', '-')]
    rest = [p for p in left(upper) if p not in users + ['etc/.pwd.lock']]
    assert rest == [], rest
    for name in ('passwd', 'group'):
        assert 'openvgpu' not in pathlib.Path(f'{root}/etc/{name}').read_text(), name
    print('ok purged: nothing is left', flush=True)


def main():
    if not list(DEBS.glob('openvgpu-host_*.deb')):
        skip('no packages: make deb')
    if os.geteuid() != 0:
        skip('a test root needs root')
    if os.environ.get('DEB_TEST_INNER') != '1':
        os.execvpe('unshare', ['unshare', '-m', '--propagation', 'private', sys.executable, __file__], dict(os.environ, DEB_TEST_INNER='1'))
    with tempfile.TemporaryDirectory(prefix='vgpu-deb.') as tmp:
        run('mount', '-t', 'tmpfs', 'none', tmp)
        upper, root = f'{tmp}/upper', f'{tmp}/root'
        for d in (upper, f'{tmp}/work', root):
            os.mkdir(d)
        r = subprocess.run(['mount', '-t', 'overlay', 'none', '-o', f'lowerdir=/,upperdir={upper},workdir={tmp}/work', root],
                           capture_output=True, text=True)
        if r.returncode:
            run('umount', tmp)
            skip('no overlay: ' + r.stderr.strip())
        try:
            for kind, where in (('proc', 'proc'), ('tmpfs', 'run'), ('tmpfs', 'tmp')):
                run('mount', '-t', kind, 'none', f'{root}/{where}')
            run('mount', '--rbind', '/dev', f'{root}/dev')
            os.mkdir(f'{root}/test')
            for p in DEBS.glob('*.deb'):
                shutil.copy(p, f'{root}/test')
            check_module(root, upper)
            check(root, upper)
        finally:
            run('umount', '-R', '-l', root)
            run('umount', '-l', tmp)


if __name__ == '__main__':
    main()
