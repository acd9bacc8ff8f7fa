#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks from inside a VM, and kill -9 of QEMU, guest program, executor, broker and keeper beside a VM that computes.

Fails when the other VM's result is wrong, the VM that was hit does not compute again (within a second, where it still
runs), keeper or broker keep anything, a killed keeper goes unnoticed, or the next life of a VM finds a byte of the former.
--moments is 50 in the long version: QEMUs killed; --seconds is how long the hostile programs go on.
"""
import os
import random
import re
import select
import shutil
import signal
import sys
import time

import common
import qemu
import stage
from processes import alive

READY = 'insmod /opt/vgpu/vgpu_stub.ko && test -c /dev/vgpu0'
RECOVERY_S = 1.0  # half of all times at most, beyond what the program takes anyway: the guest is emulated
LONGEST_S = 5.0
BROKER_APART_S = 3  # four deaths in 10 s and the keeper gives up
PATTERN = 0x5ca1ab1e0ddba115


def soon(condition, what, seconds=10):
    """For what only /proc tells: look often, give up loudly."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'not within {seconds} s: {what}'
        select.select([], [], [], 0.01)


class Context:
    def __init__(self, a, st, vgpud, image, rundir):
        self.a, self.stage, self.vgpud, self.image, self.rundir = a, st, vgpud, image, rundir
        self.rng = random.Random(a.seed)

    def boot(self, name, **kw):
        vm = qemu.VM(self.image, self.rundir, name=name, ivshmem=self.vgpud.vm_socket(name), **kw)
        vm.start()
        vm.check(READY)
        return vm

    def children(self, name):
        """Processes of vgpud by their name."""
        out = []
        for pid in open(f'/proc/{self.vgpud.proc.pid}/task/{self.vgpud.proc.pid}/children').read().split():
            with open(f'/proc/{pid}/comm') as f:
                if f.read().strip() == name[:15]:
                    out.append(int(pid))
        return out

    def fds(self):
        return {who: len(os.listdir(f'/proc/{pid}/fd')) for who, pid in
                (('keeper', self.vgpud.proc.pid), ('broker', self.children('vgpu-broker')[0]))}

    def channels(self, name):
        return self.vgpud.control('show-vm', name=name)['channels']

    def wait_free(self, name):
        self.vgpud.wait_for(lambda: not self.channels(name), f'{name} to have no channel in use')

    def moment(self, most=0.3):
        """Somewhere in the next time; not a wait for anything."""
        select.select([], [], [], self.rng.random() * most)


def start_loop(vm):
    job = vm.spawn('exec loop 20000')
    job.wait_text('^ready$')
    job.kill(10)
    job.wait_text(r'^\d+ [\d.]+ [\d.]+$')
    return job


def finish(job):
    """Units of work, each found right by the program itself."""
    job.kill(15)
    assert job.wait() == 0, job.text
    return int(re.search(r'^done (\d+)$', job.text, re.M).group(1))


def recovers(vm):
    """Seconds until a new program has computed."""
    began = time.monotonic()
    vm.check('hostile --attack local --lives 1 --seed 1')
    return time.monotonic() - began


def judge(times, usual):
    times.sort()
    median, longest = times[len(times) // 2] - usual, times[-1] - usual
    assert median <= RECOVERY_S and longest <= LONGEST_S, f'{times}, usually {usual:.2f} s'
    return f'{len(times)} times, back after {median:.2f} s (median), {longest:.2f} s (longest)' + (f' more than the usual {usual:.2f} s' if usual else '')


def case_attack(ctx, hit):
    """The hostile program itself, through /dev/vgpu0."""
    job = hit.spawn(f'hostile --seed {ctx.a.seed} --seconds {ctx.a.seconds} --pattern {PATTERN}')
    assert job.wait(ctx.a.seconds + 300) == 0, job.text
    ctx.wait_free('hit')
    log = hit.check("dmesg | grep -E 'BUG|Oops|WARNING|Call Trace' || true")
    assert not log, log
    return re.search(r'\d+ failed, \d+ refused', job.text).group(0)


def case_former(ctx, hit):
    """One program leaves a pattern in all its memory and is killed; the next looks for it."""
    job = hit.spawn(f'exec hostile --attack leave --lives 1 --pattern {PATTERN}')
    job.wait_text('^left at')
    job.kill(9)
    job.wait()
    ctx.wait_free('hit')
    hit.check(f'hostile --attack look --lives 1 --pattern {PATTERN}', 120)


def case_program(ctx, hit):
    times, usual = [], recovers(hit)
    for _ in range(min(ctx.a.moments, 50)):
        job = start_loop(hit)
        ctx.moment()
        job.kill(9)
        times.append(recovers(hit))
        job.wait()
    return judge(times, usual)


def case_executor(ctx, hit):
    times, usual = [], recovers(hit)
    for _ in range(min(ctx.a.moments, 50)):
        job = start_loop(hit)
        ctx.moment()
        (pid,) = [c['pid'] for c in ctx.channels('hit') if c['state'] == 'run']
        os.kill(pid, signal.SIGKILL)
        times.append(recovers(hit))
        assert job.wait() != 0, 'its program saw nothing'
    return judge(times, usual)


def case_broker(ctx, hit):
    """Neither the programs that run nor the VMs notice."""
    times = []
    for _ in range(min(ctx.a.moments, 50)):
        job = start_loop(hit)
        ctx.moment()
        before, began = ctx.children('vgpu-broker'), time.monotonic()
        os.kill(before[0], signal.SIGKILL)
        soon(lambda: ctx.children('vgpu-broker') not in ([], before), 'a new broker')
        ctx.vgpud.control('status')  # answered once it knows all that runs
        times.append(time.monotonic() - began)
        recovers(hit)
        finish(job)
        select.select([], [], [], max(0, BROKER_APART_S - (time.monotonic() - began)))
    return judge(times, 0)


def case_qemu(ctx, calm):
    """A VM's QEMU at random moments, from its start to full load; then a new one finds everything as new."""
    ctx.vgpud.wait_for(lambda: ctx.vgpud.control('show-vm', name='hit')['connections'] == 0, 'the other VM to be gone')
    soon(lambda: ctx.children('vgpu-executor') == [c['pid'] for c in ctx.channels('calm')], 'only the calm VM to be served')
    before = ctx.fds()
    for n in range(ctx.a.moments):
        vm = qemu.VM(ctx.image, ctx.rundir, name='qemu', ivshmem=ctx.vgpud.vm_socket('qemu'))
        vm.start(wait=n % 2)
        if n % 2:
            vm.check(READY)
            start_loop(vm)
            vm.spawn(f'hostile --attack leave --lives 1 --pattern {PATTERN}').wait_text('^left at')
        ctx.moment(1.0 if n % 2 else 3.0)
        vm.close()  # SIGKILL
        ctx.vgpud.wait_for(lambda: ctx.vgpud.control('show-vm', name='qemu')['connections'] == 0, 'the connection to end')
        ctx.wait_free('qemu')
    soon(lambda: ctx.fds() == before, f'descriptors as before: {before}')
    with ctx.boot('qemu') as vm:
        vm.check(f'hostile --attack look --lives 1 --pattern {PATTERN}', 120)
        return f'{ctx.a.moments} QEMUs killed'


def hit_cases(tap, ctx, calm):
    with ctx.boot('hit') as hit:
        loop = start_loop(calm)
        for fn in (case_attack, case_former, case_program, case_executor, case_broker):
            tap.case(fn.__name__[5:], fn, ctx, hit)
        tap.case('results-beside-it', lambda: f'{finish(loop)} units of work, all right')


def case_keeper(ctx, calm):
    """Both VMs see the end with an error; a new start finds nothing in its way."""
    job = start_loop(calm)
    pids = ctx.children('vgpu-executor') + ctx.children('vgpu-broker')
    ctx.vgpud.proc.kill()
    ctx.vgpud.proc.wait()
    assert job.wait() != 0, 'the program saw nothing'
    soon(lambda: not any(map(alive, pids)), 'nothing to outlive the keeper')
    status, text = calm.run('hostile --attack local --lives 1')
    assert status != 0, 'a new program starts without a host'
    calm.close()
    ctx.vgpud.start()
    with ctx.boot('calm') as vm:
        finish(start_loop(vm))
    return job.text.strip().split('\n')[-1]


def main():
    a = common.arguments(__doc__, stage=True, seed=random.SystemRandom().randrange(1 << 32), seconds=8, moments=3)
    tap = common.Tap()
    try:
        st = stage.Stage(a.stage)
    except stage.StageError as e:
        common.skip(str(e))
    print(f'# seed {a.seed}', flush=True)
    a.program.append(st.loop)
    image = common.image(a, dynamic=True, add=[(st.guest_libcuda, '/opt/vgpu/lib/libcuda.so.1')])
    rundir = common.run_dir()
    try:
        with stage.Vgpud(st, rundir, 'spawn-burst=1000', 'spawn-rate=1000', 'fault-limit=1000', 'fault-window=1s',
                         'spare=off', 'log-level=debug') as vgpud:
            ctx = Context(a, st, vgpud, image, rundir)
            for name in ('hit', 'calm', 'qemu'):
                vgpud.register(name, '--priority', 'medium', '--quota', '512M')
            with ctx.boot('calm') as calm:
                hit_cases(tap, ctx, calm)
                loop = start_loop(calm)
                tap.case('qemu', case_qemu, ctx, calm)
                tap.case('results-beside-qemu', lambda: f'{finish(loop)} units of work, all right')
                tap.case('keeper', case_keeper, ctx, calm)
    finally:
        shutil.rmtree(rundir, ignore_errors=True)
    return tap.finish()


if __name__ == '__main__':
    sys.exit(main())
