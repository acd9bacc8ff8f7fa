#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A virtual machine on a real vgpud: conformance programs in the guest, and every way a guest can end.

Fails when a guest that is reset, crashes, powers off or loses the device leaves an executor behind,
when the next guest sees old memory, or when a limit is not refused with its numbers.
"""
import os
import shutil
import sys

import common
import qemu
import stage

READY = 'insmod /opt/vgpu/vgpu_stub.ko && test -c /dev/vgpu0'


def boot(ctx, name, **kw):
    vm = qemu.VM(ctx.image, ctx.rundir, name=name, ivshmem=ctx.vgpud.vm_socket(name), **kw)
    vm.start()
    if not kw.get('hotplug'):
        vm.check(READY)
    return vm


class Context:
    def __init__(self, st, vgpud, image, rundir, programs):
        self.stage, self.vgpud, self.image, self.rundir = st, vgpud, image, rundir
        self.programs = programs

    def channels(self, name):
        return self.vgpud.control('show-vm', name=name)['channels']

    def wait_channels(self, name, count):
        self.vgpud.wait_for(lambda: len(self.channels(name)) == count, f'{name} to have {count} channels in use')


def conformance(ctx, vm, program):
    status, text = vm.run(program, 300)
    if status == 77:
        return 'SKIP ' + text.strip().split('\n')[-1]
    assert status == 0, f'{program} ended with {status}:\n{text}'
    return f'{text.count("ok ")} cases'


def conformance_cases(tap, ctx):
    ctx.vgpud.register('conf', '--priority', 'medium', '--quota', '1G')
    with boot(ctx, 'conf') as vm:
        for program in ctx.programs:
            tap.case('conformance-' + program, conformance, ctx, vm, program)


def loop_runs(ctx, vm, name):
    """A GPU program at work: its channel is in use and device time is charged."""
    job = vm.spawn('exec loop 2000')
    job.wait_text('^ready$')
    job.kill(10)
    job.wait_text(r'^\d+ [\d.]+ [\d.]+$')
    return job


def works(ctx, vm, name):
    job = loop_runs(ctx, vm, name)
    job.kill(15)
    assert job.wait() == 0, job.text
    ctx.wait_channels(name, 0)


def case_reset(ctx, vm):
    loop_runs(ctx, vm, 'life')
    assert len(ctx.channels('life')) == 1
    vm.reset()
    vm.check(READY)
    ctx.wait_channels('life', 0)
    works(ctx, vm, 'life')


def case_panic(ctx, vm):
    loop_runs(ctx, vm, 'life')
    vm.panic()
    vm.check(READY)
    ctx.wait_channels('life', 0)
    works(ctx, vm, 'life')


def case_channels(ctx, vm):
    """All 32 channels taken: the 33rd open is refused, and one line in the log says so."""
    vm.check('driver_test all')
    assert int(vm.check('dmesg | grep -c "all 32 channels are open"')) >= 1
    works(ctx, vm, 'life')


def case_poweroff(ctx, vm):
    vm.spawn('exec driver_test hold 3').wait_text('holding')
    vm.poweroff()
    ctx.vgpud.wait_for(lambda: ctx.vgpud.control('show-vm', name='life')['connections'] == 0, 'the VM to be gone')
    assert not ctx.channels('life')
    ctx.vgpud.wait_for(lambda: ctx.vgpud.control('status')['executors'] <= 1, 'its executors to be reaped')


def case_zeroed(ctx):
    """Started again, a VM gets zero memory; and so does the next program in it."""
    with boot(ctx, 'life') as vm:
        vm.check('driver_test zero')
        ctx.wait_channels('life', 0)
        vm.check('driver_test zero')


def life_cases(tap, ctx):
    ctx.vgpud.register('life', '--priority', 'medium', '--quota', '1G')
    with boot(ctx, 'life', reboot=True) as vm:
        for fn in (case_reset, case_panic, case_channels, case_poweroff):
            tap.case(fn.__name__[5:], fn, ctx, vm)
    tap.case('zeroed', case_zeroed, ctx)


def case_unplug(ctx, vm):
    """The device goes while a program uses it: its calls fail, it ends by itself; kernel and vgpud stay well."""
    vm.check('insmod /opt/vgpu/vgpu_stub.ko')
    vm.plug()
    vm.check('driver_test appear')
    job = loop_runs(ctx, vm, 'plug')
    vm.unplug()
    status = job.wait()
    assert status == 1, f'the program ended with {status}, not by its own error path: {job.text}'
    assert 'the device is gone' in job.text and 'DEVICE_UNAVAILABLE' in job.text, job.text
    ctx.wait_channels('plug', 0)
    log = vm.check("dmesg | grep -E 'BUG|Oops|WARNING|Call Trace' || true")
    assert not log, log
    return job.text.strip().split('\n')[-1]


def unplug_cases(tap, ctx):
    ctx.vgpud.register('plug', '--priority', 'low', '--quota', '1G')
    with boot(ctx, 'plug', machine='pc', hotplug=True) as vm:
        tap.case('unplug-under-load', case_unplug, ctx, vm)


def case_memory(ctx):
    """More VMs than the device has memory for: refused with the numbers."""
    st = ctx.vgpud.control('status')
    free = st['device_memory'] - st['device_memory_reserved']
    try:
        ctx.vgpud.register('big', '--quota', str(st['device_memory'] + (1 << 20)))
    except stage.StageError as e:
        text = str(e)
    else:
        raise AssertionError('a quota larger than the device was accepted')
    assert any(c.isdigit() for c in text), f'no numbers in: {text}'
    assert all(v['name'] != 'big' for v in ctx.vgpud.control('list-vms')), 'half registered'
    return f'{free >> 20} MiB were free; {text.strip()}'


def memory_cases(tap, ctx):
    tap.case('more-than-memory', case_memory, ctx)


def main():
    a = common.arguments(__doc__, stage=True)
    tap = common.Tap()
    try:
        st = stage.Stage(a.stage)
    except stage.StageError as e:
        common.skip(str(e))
    add = [(st.guest_libcuda, '/opt/vgpu/lib/libcuda.so.1'), (st.loop, '/opt/vgpu/bin/loop')]
    image = common.image(a, dynamic=True, add=add)
    rundir = common.run_dir()
    programs = [os.path.basename(p) for p in a.program if os.path.basename(p).startswith('conf-')]
    groups = {'conformance': conformance_cases, 'life': life_cases, 'unplug': unplug_cases,
              'memory': memory_cases}
    try:
        with stage.Vgpud(st, rundir, 'spawn-burst=100', 'spawn-rate=100', 'log-level=debug') as vgpud:
            ctx = Context(st, vgpud, image, rundir, programs)
            for name, group in groups.items():
                if a.only in (None, name):
                    group(tap, ctx)
    finally:
        shutil.rmtree(rundir, ignore_errors=True)
    return tap.finish()


if __name__ == '__main__':
    sys.exit(main())
