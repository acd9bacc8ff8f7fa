# SPDX-License-Identifier: Apache-2.0
"""Two VMs on one vgpud, for attacks and kills: one is hit, the other computes and checks all it computes; what keeper and
broker hold before and after."""
import os
import random
import re
import select
import shutil
import time

import common
import qemu
import stage
from processes import alive  # noqa: F401

READY = 'insmod /opt/vgpu/vgpu_stub.ko && test -c /dev/vgpu0'
TIRELESS = ('spawn-burst=1000', 'spawn-rate=1000', 'fault-limit=1000', 'fault-window=1s', 'spare=off', 'log-level=debug')


def soon(condition, what, seconds=10):
    """For what only /proc tells: look often, give up loudly."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'not within {seconds} s: {what}'
        select.select([], [], [], 0.01)


class Tenants:
    def __init__(self, a, vgpud, image, rundir):
        self.a, self.vgpud, self.image, self.rundir = a, vgpud, image, rundir
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
            try:
                with open(f'/proc/{pid}/comm') as f:
                    if f.read().strip() == name[:15]:
                        out.append(int(pid))
            except (FileNotFoundError, ProcessLookupError):
                pass  # has just ended
        return out

    def channels(self, name):
        return self.vgpud.control('show-vm', name=name)['channels']

    def wait_free(self, name):
        self.vgpud.wait_for(lambda: not self.channels(name), f'{name} to have no channel in use')

    def moment(self, most=0.3):
        """Somewhere in the next time; not a wait for anything."""
        select.select([], [], [], self.rng.random() * most)

    def only_calm(self):
        """No executor but those of the VM that computes."""
        return sorted(self.children('vgpu-executor')) == sorted(c['pid'] for c in self.channels('calm'))

    def held(self):
        """{process of vgpud: (descriptors, memfds among them)}: the least of several looks, as who asked last for
        something is not gone at once."""
        looks = [self.look() for _ in range(20)]
        return {who: tuple(map(min, zip(*(x[who] for x in looks)))) for who in looks[0]}

    def look(self):
        out = {}
        for who, pid in (('keeper', self.vgpud.proc.pid), ('broker', self.children('vgpu-broker')[0])):
            links = []
            for fd in os.listdir(f'/proc/{pid}/fd'):
                try:
                    links.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
                except FileNotFoundError:
                    pass
            out[who] = (len(links), sum('memfd:' in link for link in links))
        return out

    def settled(self):
        """What is held with nothing running in the VM that is to be hit."""
        self.wait_free('hit')
        soon(self.only_calm, 'only the calm VM to be served')
        return self.held()

    def wait_as_before(self, before):
        """Nothing is left of the VM that was hit: descriptors, memfds, processes, device memory."""
        self.settled()
        try:
            soon(lambda: no_more(self.held(), before), 'descriptors and memfds as before')
        except AssertionError as e:
            raise AssertionError(f'{e}: {before}, now {self.held()}') from e
        used = self.vgpud.control('show-vm', name='hit')['quota_used']
        assert used == 0, f'{used} bytes of device memory are still charged'


def no_more(now, before):
    return all(n <= b for who in before for n, b in zip(now[who], before[who]))


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


def unscathed(vm):
    """The guest's kernel has nothing to say, and it never booted again."""
    log = vm.check("dmesg | grep -E 'BUG|Oops|WARNING|Call Trace' || true")
    assert not log, log
    assert vm.hellos == 1, f'{vm.name} booted {vm.hellos} times'


def run(doc, cases, vms, **numbers):
    """main() of a test: cases(tap, tenants) with a vgpud of their own where the vms are registered; the exit status."""
    a = common.arguments(doc, stage=True, seed=random.SystemRandom().randrange(1 << 32), **numbers)
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
        with stage.Vgpud(st, rundir, *TIRELESS) as vgpud:
            for name in vms:
                vgpud.register(name, '--priority', 'medium', '--quota', '512M')
            cases(tap, Tenants(a, vgpud, image, rundir))
    finally:
        shutil.rmtree(rundir, ignore_errors=True)
    return tap.finish()
