#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu_stub.ko in a real guest kernel, against a host played by ivshmem.py.

Fails when one process can reach another's channel or extents, when memory of a closed channel is
given out uncleaned, when an unplug or a guest reset leaves anything behind.
"""
import os
import re
import shutil
import struct
import sys
import threading

import common
import ivshmem
import qemu

INSMOD = 'insmod /opt/vgpu/vgpu_stub.ko && test -c /dev/vgpu0'
# Words no healthy kernel log has.
BAD_LOG = r'BUG|Oops|WARNING|Call Trace|general protection|refcount'


class Echo:
    """Answers case_interrupt: copies the word and interrupts; looks on a bell and every 10 ms."""

    def __init__(self, host):
        self.host, self.stop = host, threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()

    def _loop(self):
        h = self.host
        while not self.stop.is_set():
            with h.cond:
                seen = list(h.bells)
                h.cond.wait_for(lambda: h.bells[1:] != seen[1:], 0.01)
            for k in h.run_channels():
                at = ivshmem.bounce(k)
                if h.mem[at + 64:at + 72] != h.mem[at:at + 8]:
                    h.mem[at + 64:at + 72] = h.mem[at:at + 8]
                    h.ring(1 + k)


def server(rundir):
    return ivshmem.Server(os.path.join(rundir, 'i.sock'))


def boot(image, rundir, host, **kw):
    vm = qemu.VM(image, rundir, ivshmem=host.path, memory_mib=256, **kw)
    vm.start()
    return vm


def clean_log(vm):
    log = vm.check('dmesg')
    status, bad = vm.run(f"dmesg | grep -E '{BAD_LOG}'")
    if status == 0:
        raise AssertionError(f'the kernel complains:\n{bad}')
    return log


def idle(host):
    host.wait_for(lambda: not host.run_channels() and not any(map(host.wanted, range(32))),
                  what='all channels to be closed')


def simple(vm, host, case, arg=''):
    text = vm.check(f'driver_test {case} {arg}')
    idle(host)
    return ' | '.join(text.split('\n')[:-2])


def case_load(vm, host):
    vm.check(INSMOD)
    mode = vm.check('stat -c %a /dev/vgpu0').strip()
    assert mode == '666', mode
    log = vm.check('dmesg | grep vgpu')
    assert 'BAR2 256 MiB at 0x' in log, log
    return log.strip().split('] ')[-1]


def case_all(vm, host):
    simple(vm, host, 'all')
    lines = vm.check('dmesg | grep -c "all 32 channels are open"')
    assert 1 <= int(lines) <= 10, f'one rate-limited line, got {lines} for 100 refusals'


def case_interrupt(vm, host):
    with Echo(host):
        return simple(vm, host, 'interrupt')


def case_killed(vm, host):
    """A killed program's channels close by themselves, memory cleaned."""
    job = vm.spawn('exec driver_test hold 3')
    job.wait_text('holding')
    assert len(host.run_channels()) == 3
    k = host.run_channels()[0]
    assert host.mem[ivshmem.bounce(k)] == 0x77
    job.kill()
    job.wait()
    idle(host)
    assert host.mem[ivshmem.bounce(k)] == 0


def case_inflight(vm, host):
    """Memory that I/O still uses is not given up when its file is closed, and is afterwards."""
    job = vm.spawn('mkfifo /tmp/io; exec driver_test inflight 0<>/tmp/io')
    job.wait_text('closed')
    a, b = map(int, re.search(r'closed (\d+) (\d+)', job.text).groups())
    host.wait_for(lambda: host.wanted(b) == 0, what='the channel closed after it')
    assert host.wanted(a) != 0, 'given up with I/O in flight'
    vm.check('echo >/tmp/io')
    job.wait_text('read')
    host.wait_for(lambda: host.wanted(a) == 0, what='the channel whose I/O has ended')
    vm.check('echo >/tmp/io; rm /tmp/io')
    assert job.wait() == 0, job.text
    idle(host)


def case_dirty(vm, host):
    """A host that does not clean: nothing dirty is given out."""
    job = vm.spawn('mkfifo /tmp/go; exec driver_test dirty 0<>/tmp/go')
    job.wait_text('started')
    host.obey = False
    try:
        vm.check('echo >/tmp/go')
        job.wait_text('interrupted')
        assert job.status is None
    finally:
        host.obey = True
    assert job.wait() == 0, job.text
    idle(host)


def case_rmmod(vm, host):
    vm.check('rmmod vgpu_stub && ! test -e /dev/vgpu0')
    vm.check(INSMOD)
    simple(vm, host, 'exclusive')


def case_reset(vm, host):
    """Guest reset: the next boot's driver withdraws what the former life wanted."""
    vm.spawn('exec driver_test hold 2').wait_text('holding')
    assert len(host.run_channels()) == 2
    connections = host.connections
    vm.reset()
    assert host.connections == connections, 'a reset keeps the connection'
    assert len(host.run_channels()) == 2, 'the host cannot see a reset'
    vm.check(INSMOD)
    idle(host)
    simple(vm, host, 'exclusive')


def case_panic(vm, host):
    vm.spawn('exec driver_test hold 2').wait_text('holding')
    vm.panic()
    vm.check(INSMOD)
    idle(host)
    simple(vm, host, 'extents')


def case_poweroff(vm, host):
    vm.spawn('exec driver_test hold 1').wait_text('holding')
    vm.poweroff()
    host.wait_for(lambda: host.conn is None, what='the connection to end')


def reboot_cases(tap, image, rundir):
    with server(rundir) as host, boot(image, rundir, host, reboot=True) as vm:
        vm.check(INSMOD)
        for fn in (case_reset, case_panic, case_poweroff):
            tap.case(fn.__name__[5:], fn, vm, host)


def unplug_while_open(vm, host):
    vm.plug()
    vm.check('driver_test appear')
    job = vm.spawn('driver_test unplug')
    job.wait_text('ready')
    vm.unplug()
    assert job.wait() == 0, job.text
    vm.check('! test -e /dev/vgpu0')
    clean_log(vm)


def hotplug_cases(tap, image, rundir):
    with server(rundir) as host, boot(image, rundir, host, machine='pc', hotplug=True) as vm:
        vm.check('insmod /opt/vgpu/vgpu_stub.ko')
        tap.case('unplug-while-open', unplug_while_open, vm, host)


def case_few_vectors(image, rundir):
    with server(rundir) as host, boot(image, rundir, host, vectors=2, seabios=True) as vm:
        vm.check(INSMOD)
        log = vm.check('dmesg | grep vgpu')
        assert '2 of 33 interrupt vectors' in log, log
        at = int(log.split('MiB at ')[1].split()[0], 16)
        assert at >= 1 << 32, f'SeaBIOS leaves BAR2 uncached at {at:x} and the driver did not move it'
        vm.spawn('exec driver_test hold 3').wait_text('holding')
        with Echo(host):
            note = vm.check('driver_test interrupt').split('\n')[0]
        clean_log(vm)
        return note


def case_foreign(image, rundir):
    """Somebody else's ivshmem device is left alone."""
    with ivshmem.Server(os.path.join(rundir, 'f.sock'), magic=0) as host:
        with boot(image, rundir, host) as vm:
            vm.check('insmod /opt/vgpu/vgpu_stub.ko && ! test -e /dev/vgpu0')
            vm.check("! dmesg | grep -q 'probe.*failed'")
            host.header.version = 99
            struct.pack_into('<I', host.mem, 0, ivshmem.MAGIC)
            vm.check('rmmod vgpu_stub; insmod /opt/vgpu/vgpu_stub.ko && ! test -e /dev/vgpu0')
            assert 'install the matching vgpu_stub' in vm.check('dmesg')


def vector_cases(tap, image, rundir):
    tap.case('few-vectors-seabios', case_few_vectors, image, rundir)


def foreign_cases(tap, image, rundir):
    tap.case('foreign', case_foreign, image, rundir)


def main_cases(tap, image, rundir):
    disk = os.path.join(rundir, 'disk')
    with open(disk, 'wb') as f:
        f.write(os.urandom(2 << 20))
    extra = ['-drive', f'if=none,id=d,format=raw,readonly=on,file={disk}',
             '-device', 'virtio-blk-pci,drive=d']
    with server(rundir) as host, boot(image, rundir, host, extra=extra) as vm:
        tap.case('load', case_load, vm, host)
        for name in ('header', 'exclusive', 'reopen', 'extents', 'zero', 'hugepages', 'fork'):
            tap.case(name, simple, vm, host, name)
        tap.case('direct-io', simple, vm, host, 'direct', '/dev/vda')
        for fn in (case_all, case_interrupt, case_killed, case_inflight, case_dirty, case_rmmod):
            tap.case(fn.__name__[5:], fn, vm, host)
        tap.case('kernel-log', lambda: clean_log(vm) and None)


def main():
    a = common.arguments(__doc__)
    tap = common.Tap()
    image = common.image(a)
    rundir = common.run_dir()
    groups = {'main': main_cases, 'reboot': reboot_cases, 'hotplug': hotplug_cases,
              'vectors': vector_cases, 'foreign': foreign_cases}
    try:
        for name, group in groups.items():
            if a.only in (None, name):
                group(tap, image, rundir)
    finally:
        shutil.rmtree(rundir, ignore_errors=True)
    return tap.finish()


if __name__ == '__main__':
    sys.exit(main())
