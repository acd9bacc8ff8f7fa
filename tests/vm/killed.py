#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of guest program, executor, broker, QEMU and keeper at random moments, beside a VM that computes.

Fails when the other VM's result is wrong, the VM that was hit does not compute again (within a second, where it still
runs) or boots again, keeper or broker keep a descriptor, memfd, process or byte, an extent is lost, the next life of a
VM finds a byte of the former, or a killed keeper goes unnoticed.
"""
import os
import select
import signal
import sys
import time

import qemu
from tenants import READY, alive, finish, no_more, recovers, run, soon, start_loop, unscathed

RECOVERY_S = 1.0  # half of all times at most, beyond what the program takes anyway: the guest is emulated
LONGEST_S = 5.0
BROKER_APART_S = 3  # four deaths in 10 s and the keeper gives up
PATTERN = 0x5ca1ab1e0ddba115


def judge(times, usual):
    times.sort()
    median, longest = times[len(times) // 2] - usual, times[-1] - usual
    assert median <= RECOVERY_S and longest <= LONGEST_S, f'{times}, usually {usual:.2f} s'
    return f'{len(times)} times, back after {median:.2f} s (median), {longest:.2f} s (longest)' + (f' more than the usual {usual:.2f} s' if usual else '')


def kill_program(ctx, hit):
    job = start_loop(hit)
    ctx.moment()
    job.kill(9)
    took = recovers(hit)
    job.wait()
    return took


def kill_executor(ctx, hit):
    job = start_loop(hit)
    ctx.moment()
    (pid,) = [c['pid'] for c in ctx.channels('hit') if c['state'] == 'run']
    os.kill(pid, signal.SIGKILL)
    took = recovers(hit)
    assert job.wait() != 0, 'its program saw nothing'
    return took


def kill_broker(ctx, hit):
    """Neither the programs that run nor the VMs notice."""
    job = start_loop(hit)
    ctx.moment()
    before, began = ctx.children('vgpu-broker'), time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    soon(lambda: ctx.children('vgpu-broker') not in ([], before), 'a new broker')
    ctx.vgpud.control('status')  # answered once it knows all that runs
    took = time.monotonic() - began
    recovers(hit)
    finish(job)
    select.select([], [], [], max(0, BROKER_APART_S - (time.monotonic() - began)))
    return took


def case_moments(ctx, hit, kill):
    usual = recovers(hit)
    before = ctx.settled()
    times = [kill(ctx, hit) for _ in range(ctx.a.moments)]
    ctx.wait_as_before(before)
    hit.check('driver_test extents', 120)  # all of them can be had
    ctx.wait_as_before(before)
    unscathed(hit)
    return judge(times, 0 if kill is kill_broker else usual)


def hit_cases(tap, ctx, calm):
    loop = start_loop(calm)
    with ctx.boot('hit') as hit:
        for kill in (kill_program, kill_executor, kill_broker):
            tap.case(kill.__name__[5:], case_moments, ctx, hit, kill)
    tap.case('results-beside', lambda: f'{finish(loop)} units of work, all right')


def kill_qemu(ctx, loaded):
    """In the midst of its start, or under full load."""
    vm = qemu.VM(ctx.image, ctx.rundir, name='qemu', ivshmem=ctx.vgpud.vm_socket('qemu'))
    vm.start(wait=loaded)
    if loaded:
        vm.check(READY)
        start_loop(vm)
        vm.spawn(f'hostile --attack leave --lives 1 --pattern {PATTERN}').wait_text('^left at')
    ctx.moment(1.0 if loaded else 3.0)
    began = time.monotonic()
    vm.close()  # SIGKILL
    ctx.vgpud.wait_for(lambda: ctx.vgpud.control('show-vm', name='qemu')['connections'] == 0, 'the connection to end')
    ctx.wait_free('qemu')
    return time.monotonic() - began


def case_qemu(ctx, calm):
    """A new QEMU finds everything as new."""
    ctx.vgpud.wait_for(lambda: ctx.vgpud.control('show-vm', name='hit')['connections'] == 0, 'the other VM to be gone')
    soon(ctx.only_calm, 'only the calm VM to be served')
    before = ctx.held()
    times = sorted(kill_qemu(ctx, n % 2) for n in range(ctx.a.qemus))
    soon(ctx.only_calm, 'only the calm VM to be served')
    soon(lambda: no_more(ctx.held(), before), f'descriptors and memfds as before: {before}')
    with ctx.boot('qemu') as vm:
        vm.check(f'hostile --attack look --lives 1 --pattern {PATTERN}', 120)
    return f'{ctx.a.qemus} QEMUs killed, given back after {times[len(times) // 2]:.2f} s (median), {times[-1]:.2f} s (longest)'


def qemu_cases(tap, ctx, calm):
    loop = start_loop(calm)
    tap.case('qemu', case_qemu, ctx, calm)
    tap.case('results-beside-qemu', lambda: f'{finish(loop)} units of work, all right')


def kill_keeper(ctx, vm):
    job = start_loop(vm)
    ctx.moment()
    pids = ctx.children('vgpu-executor') + ctx.children('vgpu-broker')
    began = time.monotonic()
    ctx.vgpud.proc.kill()
    ctx.vgpud.proc.wait()
    assert job.wait() != 0, 'the program saw nothing'
    took = time.monotonic() - began
    soon(lambda: not any(map(alive, pids)), 'nothing to outlive the keeper')
    status, text = vm.run('hostile --attack local --lives 1')
    assert status != 0, 'a new program starts without a host'
    ctx.vgpud.start()
    return took


def case_keeper(ctx, calm):
    """The VM sees the end with an error; a new start finds nothing in its way."""
    times = [kill_keeper(ctx, calm)]
    calm.close()
    for _ in range(ctx.a.keepers - 1):
        with ctx.boot('calm') as vm:
            times.append(kill_keeper(ctx, vm))
    with ctx.boot('calm') as vm:
        finish(start_loop(vm))
    times.sort()
    return f'{len(times)} keepers killed, the program knew after {times[len(times) // 2]:.2f} s (median), {times[-1]:.2f} s (longest)'


def cases(tap, ctx):
    with ctx.boot('calm') as calm:
        for name, group in (('hit', hit_cases), ('qemu', qemu_cases)):
            if ctx.a.only in (None, name):
                group(tap, ctx, calm)
        if ctx.a.only in (None, 'keeper'):
            tap.case('keeper', case_keeper, ctx, calm)


if __name__ == '__main__':
    sys.exit(run(__doc__, cases, ('hit', 'calm', 'qemu'), moments=3, qemus=2, keepers=1))
