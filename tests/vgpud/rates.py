#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits that delay: nothing fails, nobody else waits, and a change holds at once. Times are only compared with
the least that a limit allows, so a busy machine changes no verdict."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import BUILD, RUN, SPINNER, Vgpud, main, wait_for  # noqa: E402

MOVER = BUILD / 'tests/vgpud/mover'
MIB = 1 << 20


def program(v, tenant, *command):
    return subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', tenant, '--', *map(str, command)],
                            stdout=subprocess.PIPE, text=True)


def result(p):
    out, _ = p.communicate(timeout=100)
    assert p.returncode == 0, out
    return out.splitlines()[-1]


def test_launches():
    """Both programs of a VM together stay below its rate; the limit of one VM is not another's."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, max_launches_per_second=100)
        v.ok('register-vm', name='b', quota=1 << 28)
        begun = time.monotonic()
        two = [program(v, 'a', SPINNER, 10, 40) for _ in range(2)]
        assert result(program(v, 'b', SPINNER, 10, 5000)) == 'launches 5000'
        assert [result(p) for p in two] == ['launches 40'] * 2
        spent = time.monotonic() - begun
        assert spent >= (80 - 10 - 2) / 100, f'80 launches in {spent:.2f} s at 100 per second'
        assert v.ok('show-vm', name='a')['launches'] == 80


def test_concurrent_keeps_rates_and_quota():
    """The policy without shares is not one without limits."""
    with Vgpud('policy=concurrent') as v:
        v.ok('register-vm', name='a', quota=1 << 28, max_launches_per_second=100)
        v.ok('register-vm', name='b', quota=MIB)
        begun = time.monotonic()
        limited = program(v, 'a', SPINNER, 10, 60)
        out, _ = program(v, 'b', MOVER, 4096, 1).communicate(timeout=100)
        assert 'cuMemAlloc_v2 2' in out, out # CUDA_ERROR_OUT_OF_MEMORY
        assert result(limited) == 'launches 60'
        spent = time.monotonic() - begun
        assert spent >= (60 - 10 - 2) / 100, f'60 launches in {spent:.2f} s at 100 per second'


def test_launches_change_live():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28)
        p = program(v, 'a', SPINNER, 10)
        assert p.stdout.readline() == 'started\n' and p.stdout.readline() == 'ready\n'
        v.ok('set-vm', name='a', max_launches_per_second=1)

        def stands():
            counts = [v.ok('show-vm', name='a')['launches'] for _ in range(100)]
            return counts[-1] - counts[0] <= 1
        wait_for('one launch per second', stands)
        n = v.ok('show-vm', name='a')['launches']
        v.ok('set-vm', name='a', max_launches_per_second=0)
        wait_for('no limit', lambda: v.ok('show-vm', name='a')['launches'] > n + 1000)
        p.terminate()
        assert result(p).startswith('launches')


def test_bytes():
    """Copies wait; allocations of the same program do not, nor does anything of others."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, max_bytes_per_second=MIB)
        v.ok('register-vm', name='b', quota=1 << 28)
        a = program(v, 'a', MOVER, 1024, 100)
        assert [a.stdout.readline() for _ in range(2)] == ['copying\n', 'answered\n']
        assert result(program(v, 'b', MOVER, 1024, 100)) == 'copied 100'
        assert v.ok('show-vm', name='a')['bytes'] < 100 * MIB and a.poll() is None
        assert v.ok('show-vm', name='a')['device_seconds'] == 0, 'no lease is held meanwhile'
        v.ok('set-vm', name='a', max_bytes_per_second=1 << 40)
        assert result(a) == 'copied 100'


def test_debt_outlives_a_program():
    """A program per copy is no way around the limit."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, max_bytes_per_second=4 * MIB)
        begun = time.monotonic()
        for _ in range(2):
            assert result(program(v, 'a', MOVER, 2048, 1)) == 'copied 1'
        spent = time.monotonic() - begun
        assert spent >= (8 - 0.5 - 2) / 4 - 0.1, f'8 MiB in {spent:.2f} s at 4 MiB per second'


def test_queue_depth():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, queue_depth=1)
        assert result(program(v, 'a', SPINNER, 10, 500)) == 'launches 500'
        assert v.ok('show-vm', name='a')['queue_depth'] == 1


def test_survives_the_broker():
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=1 << 28, max_launches_per_second=1)
        p = program(v, 'a', SPINNER, 10, 200)
        assert p.stdout.readline() == 'started\n'
        wait_for('its first launch', lambda: v.ok('show-vm', name='a')['launches'] > 0)
        broker = v.children('vgpu-broker')
        os.kill(broker[0], 9)
        wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], broker))
        wait_for('its control socket', lambda: v.ask('status')['ok'])
        assert v.ok('show-vm', name='a')['max_launches_per_second'] == 1
        v.ok('set-vm', name='a', max_launches_per_second=0)
        assert result(p) == 'launches 200'


if __name__ == '__main__':
    sys.exit(main(globals()))
