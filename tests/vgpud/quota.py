#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The memory quota over every call that takes device memory: a small one is hit by each of them, with
CUDA_ERROR_OUT_OF_MEMORY, and everything comes back."""
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
from harness import BUILD, RUN, Vgpud, main, wait_for  # noqa: E402

HOARDER = BUILD / 'tests/vgpud/hoarder'
API = pathlib.Path(__file__).parents[2] / 'src/wire/cuda_api.txt'
MIB = 1 << 20

# What each call costs of the device's memory. A call that is new to the wire must be put here, and into hoarder.c
# if it is charged.
CHARGED = {'ctx_create', 'ctx_set_limit', 'module_load', 'mem_alloc', 'mem_alloc_pitch', 'array_create', 'launch'}
FREE = {
    'ctx_primary': 'the first context is in the reservation of the VM, others are charged when their executor starts',
    'image_new': 'memory of the executor, bounded by EXEC_IMAGES_BYTES',
    'image_write': 'as image_new', 'image_drop': 'gives back',
    'link_create': 'memory of the executor, bounded by EXEC_LINKS', 'link_add': 'as image_new',
    'link_complete': 'as image_new', 'link_destroy': 'gives back',
    'host_map': 'BAR2, which bar-budget bounds', 'host_unmap': 'gives back',
    'texref_bind': 'a descriptor', 'stream_create': 'at most OBJ_MAX', 'event_create': 'at most OBJ_MAX', 'texture_create': 'a descriptor; at most OBJ_MAX',
}
TAKES = re.compile('alloc|create|load|new|map|limit|launch|add|primary|write|import|open|bind')
GIVES = re.compile('free|destroy|unload|release|get_limit|drop')


def hoard(v, call):
    r = subprocess.run([str(RUN), '--run-dir', str(v.run), '--tenant', 'a', '--', str(HOARDER), call],
                       stdout=subprocess.PIPE, text=True, timeout=100)
    return r.stdout.strip()


def test_every_call_is_known():
    ops = re.findall(r'^op \d+ (\w+)', API.read_text(), re.M)
    assert len(ops) > 40
    unknown = [op for op in ops if TAKES.search(op) and not GIVES.search(op) and op not in CHARGED and op not in FREE]
    assert not unknown, f'do these take device memory? {unknown}'
    assert not [op for op in CHARGED | set(FREE) if op not in ops], 'a call that is no more'


def test_each_is_refused_and_comes_back():
    calls = subprocess.run([str(HOARDER), 'list'], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert len(calls) == 12
    with Vgpud('context-overhead=64K') as v:
        v.ok('register-vm', name='a', quota=MIB)
        for call in calls:
            said = hoard(v, call)
            most = {'variable': 16, 'expression': 16, 'constant': 63, 'context': 16}.get(call, MIB // 256)
            assert said.startswith('refused ') and int(said.split()[1]) <= most, f'{call}: {said}'
            if call not in ('heap', 'printing', 'stack'):
                assert int(said.split()[1]) > 0, f'{call}: nothing was granted'
            wait_for(f'all of {call} is given back', lambda: v.ok('show-vm', name='a')['quota_used'] == 0)


def test_local_memory_of_a_launch():
    """4 KiB of local memory for every thread the device could hold are more than 1 MiB, and less than 4 GiB."""
    with Vgpud() as v:
        v.ok('register-vm', name='a', quota=MIB)
        assert hoard(v, 'launch') == 'launch 2'
        v.ok('set-vm', name='a', quota=4 << 30)
        assert hoard(v, 'launch') == 'launch 0'


if __name__ == '__main__':
    sys.exit(main(globals()))
