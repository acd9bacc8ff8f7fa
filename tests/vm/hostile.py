#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks from inside a VM, by its programs and by its kernel, beside a VM that computes.

Fails when the other VM's result is wrong, keeper or broker end, complain or keep anything, the next program finds a byte
of the former, or the VM does not compute again: after its programs at once, after its kernel once the driver is bound
anew, and once it was reset. --seconds is how long each attack goes on.
"""
import re
import sys

from tenants import READY, finish, recovers, run, soon, start_loop, unscathed

PATTERN = 0x5ca1ab1e0ddba115
# Of the host the tests run on, and of what the VM that was hit did.
HARMLESS = r'user openvgpu does not exist|group openvgpu does not exist|landlock|namespaces|VM hit '


def case_programs(ctx, hit):
    """The hostile program itself, through /dev/vgpu0."""
    before = ctx.settled()
    job = hit.spawn(f'hostile --seed {ctx.a.seed} --seconds {ctx.a.seconds} --pattern {PATTERN}')
    assert job.wait(ctx.a.seconds + 300) == 0, job.text
    ctx.wait_as_before(before)
    unscathed(hit)
    return re.search(r'\d+ failed, \d+ refused', job.text).group(0)


def case_former(ctx, hit):
    """One program leaves a pattern in all its memory and is killed; the next looks for it."""
    job = hit.spawn(f'exec hostile --attack leave --lives 1 --pattern {PATTERN}')
    job.wait_text('^left at')
    job.kill(9)
    job.wait()
    ctx.wait_free('hit')
    hit.check(f'hostile --attack look --lives 1 --pattern {PATTERN}', 120)


def endure(ctx, vm, job, beside):
    """Until the job has ended, or the guest has: it is its own victim. What ran beside it may hang, but can be killed."""
    boots = vm.hellos
    vm.wait_for(lambda: vm.hellos > boots or job.status is not None, ctx.a.seconds + 120, 'the attack to end')
    if vm.hellos > boots:
        vm.forget_jobs()
        vm.check(READY)
        return 'the guest has crashed itself'
    vm.run('killall -9 hostile')
    for j in beside:
        j.wait()
    return job.text.strip().split('\n')[-1]


def bound_again(vm, device):
    """The header it has overwritten is the host's, which writes it anew once a second."""
    vm.run(f'echo {device} >/sys/bus/pci/drivers/vgpu_stub/unbind')
    soon(lambda: vm.run(f'echo {device} >/sys/bus/pci/drivers/vgpu_stub/bind')[0] == 0, 'the driver to bind again')
    vm.check('test -c /dev/vgpu0')


def case_kernel(ctx, hit, beside):
    """All of BAR2 and the bells, beside the driver and the programs it serves; or instead of it."""
    before = ctx.settled()
    device = hit.check('basename $(dirname $(grep -l 0x1110 /sys/bus/pci/devices/*/device))').strip()
    if not beside:
        hit.check(f'echo {device} >/sys/bus/pci/drivers/vgpu_stub/unbind; echo 1 >/sys/bus/pci/devices/{device}/enable')
    job = hit.spawn(f'exec hostile-kernel /sys/bus/pci/devices/{device} {ctx.a.seconds} {ctx.a.seed}')
    programs = [hit.spawn(f'while hostile --seed {ctx.a.seed} --seconds {ctx.a.seconds}; [ $? -lt 128 ]; do :; done')] if beside else []
    note = endure(ctx, hit, job, programs)
    bound_again(hit, device)
    ctx.wait_as_before(before)
    recovers(hit)
    started = ctx.vgpud.control('show-vm', name='hit')['executors_started']
    return f'{note}; {started} executors started so far'


def case_reset(ctx, hit):
    """In the midst of it."""
    before = ctx.settled()
    device = hit.check('basename $(dirname $(grep -l 0x1110 /sys/bus/pci/devices/*/device))').strip()
    job = hit.spawn(f'exec hostile-kernel /sys/bus/pci/devices/{device} 1000 {ctx.a.seed + 1}')
    job.wait_text('^seed')
    ctx.moment(2.0)
    hit.reset(300)  # its former executors run on beside the boot
    hit.check(READY)
    recovers(hit)
    ctx.wait_as_before(before)


def alone_as_before(ctx, pids):
    assert [ctx.vgpud.proc.pid] + ctx.children('vgpu-broker') == pids and ctx.vgpud.proc.poll() is None, 'another broker'
    with open(ctx.vgpud.log_path) as f:
        lines = [ln for ln in f if re.match('(vgpud|vgpu-broker): (warning|error): ', ln) and not re.search(HARMLESS, ln)]
    assert not lines, f'keeper or broker complain: {lines[:20]}'


def cases(tap, ctx):
    pids = [ctx.vgpud.proc.pid] + ctx.children('vgpu-broker')
    with ctx.boot('calm') as calm, ctx.boot('hit', reboot=True, append='iomem=relaxed') as hit:
        loop = start_loop(calm)
        tap.case('programs', case_programs, ctx, hit)
        tap.case('former', case_former, ctx, hit)
        tap.case('kernel-beside-driver', case_kernel, ctx, hit, True)
        tap.case('kernel-instead-of-driver', case_kernel, ctx, hit, False)
        tap.case('reset', case_reset, ctx, hit)
        tap.case('results-beside', lambda: f'{finish(loop)} units of work, all right')
        tap.case('keeper-and-broker', alone_as_before, ctx, pids)


if __name__ == '__main__':
    sys.exit(run(__doc__, cases, ('hit', 'calm'), seconds=8))
