#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/cuda_calls.md: which calls of the driver API work, made from what the libraries are made of.

usage: calls_doc.py [--check] names.txt guest_stubs.c softcuda_stubs.c cuda_api.txt docs/cuda_calls.md

The stubs say what is answered CUDA_ERROR_NOT_SUPPORTED, cuda_api.txt what crosses the wire; a call that
is neither is answered inside the guest's library. --check writes nothing and fails if the file differs.
"""
import re
import sys

GROUPS = [  # the first that matches
    ('Graphs, capture into graphs, user objects', r'cuGraph(?!ics)|cuUserObject|cuStreamBeginCapture|cuStreamEndCapture|'
     r'cuStreamUpdateCapture|cuDevice\w*GraphMem'),
    ('OpenGL, EGL, VDPAU, graphics interoperation', r'cuGL|cuEGL|cuVDPAU|cuGraphics|cuEventCreateFromEGL'),
    ('External memory and semaphores, handles between processes', r'cu(Import|Destroy|Signal|Wait)?External|cuImport|cuDestroyExternal|'
     r'cuSignalExternal|cuWaitExternal|cuIpc|NvSci'),
    ('Virtual memory management, multicast', r'cuMem(AddressReserve|AddressFree|Create|Release|Map|Unmap|SetAccess|GetAccess|Export|'
     r'Import|GetAllocation|Retain|MapArray|GetHandleFor)|cuMulticast'),
    ('Green contexts, execution resources', r'cuGreen|cuDev(ice)?(Sm|Get)?(Dev)?Resource|cuDevSm|cuCtx(FromGreen|GetDevResource|RecordEvent|'
     r'WaitEvent|GetExecAffinity)|cuDeviceGetExecAffinity|cuStreamGetGreenCtx|cuDeviceGetDevResource'),
    ('Debugging, logs, checkpoints, notifications', r'cuCoredump|cuLogs|cuCheckpoint|AsyncNotification|cuProfiler|cuGetExportTable'),
    ('Tensor maps, decompression', r'cuTensorMap|cuMemBatchDecompress'),
    ('Initialisation, errors, look-up', r'cuInit|cuDriver|cuGetError|cuGetProc'),
    ('Memory pools, stream-ordered allocation', r'cuMemPool|cuMem(Alloc|Free)(FromPool)?Async|cuDevice\w*MemPool|cuMem\w*MemPool'),
    ('Devices', r'cuDevice(?!PrimaryCtx)|cuFlush'),
    ('Contexts', r'cuCtx|cuDevicePrimaryCtx'),
    ('Modules and linking', r'cuModule|cuLink'),
    ('Libraries and kernels', r'cuLibrary|cuKernel'),
    ('Functions, launches, occupancy', r'cuFunc|cuLaunch|cuOccupancy|cuParam(?!SetTexRef)'),
    ('Texture and surface references and objects', r'cuTex|cuSurf|cuParamSetTexRef'),
    ('Arrays', r'cuArray|cuMipmapped'),
    ('Copies', r'cuMemcpy'),
    ('Fills', r'cuMemset'),
    ('Memory', r'cuMem|cuPointer'),
    ('Streams', r'cuStream|cuThread'),
    ('Events', r'cuEvent'),
]
HEAD = '''# Which CUDA driver calls work

Made by `src/cuda/calls_doc.py` from the sources; a test compares. A call is named once, whatever its versions (`_v2`, …)
and per-thread-stream forms. The forms with 32-bit addresses of CUDA before 3.2 are not there.

* *works*: in a guest and directly on softcuda. Names in *italics* are answered inside the guest's library.
* *direct only*: softcuda implements it, a guest gets `CUDA_ERROR_NOT_SUPPORTED`; *guest only*: the reverse.
* *not supported*: exported, counted per name (`VGPU_LOG=debug` names them), answered `CUDA_ERROR_NOT_SUPPORTED`.

What a call does there is as good as the driver below it: some arguments are refused with `CUDA_ERROR_NOT_SUPPORTED` by a call
that works for others.
'''


def base(symbol):
    return re.match(r'(\w+?)(_v\d)?(_ptds|_ptsz)?$', symbol).group(1)


def stubs(path):
    with open(path, encoding='utf-8') as f:
        return set(re.findall(r'\.name = "(cu\w+)"', f.read()))


def wired(path):
    found = set()
    with open(path, encoding='utf-8') as f:
        for line in f:
            if re.match(r'\s+for cu', line):
                found.update(line.split()[1:])
    return found


def symbols(path):
    with open(path, encoding='utf-8') as f:
        return [line.split()[0] for line in f if line.split('#')[0].strip()]


def works(names, missing):
    """Base names with a version that is implemented, without its per-thread forms."""
    return {base(n) for n in names if n not in missing and not n.endswith(('_ptds', '_ptsz'))}


def lists(calls, guest, direct, wire):
    kinds = {'works': [], 'direct only': [], 'guest only': [], 'not supported': []}
    for c in calls:
        key = ('works' if c in direct else 'guest only') if c in guest else 'direct only' if c in direct else 'not supported'
        kinds[key].append(f'`{c}`' if c in wire or key in ('direct only', 'not supported') else f'*`{c}`*')
    return ''.join(f'* {k} ({len(v)}): {", ".join(v)}\n' for k, v in kinds.items() if v)


def document(names, guest, direct, wire):
    groups = {title: [] for title, _ in GROUPS}
    for c in sorted({base(n) for n in names}):
        title = next((t for t, pattern in GROUPS if re.match(f'(?:{pattern})', c) or re.search(f'^(?:cu\\w*)?(?:{pattern})', c)), None)
        if not title:
            sys.exit(f'calls_doc.py: {c} belongs to no group')
        groups[title].append(c)
    every = {c for calls in groups.values() for c in calls}
    rows = ''.join(f'| {t} | {len(set(c) & guest)} | {len(set(c) & direct)} | {len(c)} |\n' for t, c in groups.items())
    table = ('\n| group | guest | direct | of |\n|---|--:|--:|--:|\n' + rows +
             f'| **all** | **{len(every & guest)}** | **{len(every & direct)}** | **{len(every)}** |\n')
    return HEAD + table + ''.join(f'\n## {t}\n\n{lists(c, guest, direct, wire)}' for t, c in groups.items())


def main():
    args = sys.argv[1:]
    check = args[:1] == ['--check']
    if len(args) != 5 + check:
        sys.exit(__doc__)
    names_path, guest_path, direct_path, api_path, out = args[check:]
    names = symbols(names_path)
    text = document(names, works(names, stubs(guest_path)), works(names, stubs(direct_path)), wired(api_path))
    if not check:
        with open(out, 'w', encoding='utf-8') as f:
            f.write(text)
        return
    with open(out, encoding='utf-8') as f:
        if f.read() != text:
            sys.exit(f'{out} is not what the sources say: run calls_doc.py with the same arguments, without --check')
    print(f'{out} is up to date')


main()
