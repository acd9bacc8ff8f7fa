#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The same random programs of driver-API calls, directly on softcuda and through vgpu-run: equal lines?

usage: compare.py --calls PROGRAM --direct DIR --vgpu-run PROGRAM [--first N] [--count N] [--length N] [--batch N]
                  [--seconds N]

DIR holds softcuda's libcuda.so.1. On a difference the program is cut down to the calls that are needed
for it, both outputs are printed, and the exit status is 1. --seconds goes on with further programs
that long.
"""
import argparse
import difflib
import os
import subprocess
import sys
import time

TIMEOUT_S = 300


def run(args, remote, first, count, skip=()):
    cmd = [args.calls, str(first), str(count), str(args.length)] + ([','.join(map(str, skip))] if skip else [])
    env = dict(os.environ)
    if remote:
        cmd = [args.vgpu_run, '--private', '--'] + cmd
    else:
        env['LD_LIBRARY_PATH'] = args.direct
    done = subprocess.run(cmd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S, text=True)
    lines = done.stdout.splitlines()
    if done.returncode not in (0, 3):
        lines.append(f'exit status {done.returncode}: {done.stderr[-2000:]}')
    return lines


def programs(lines):
    """{seed: its lines}"""
    out, at = {}, None
    for line in lines:
        if line.startswith('program '):
            at = int(line.split()[1])
            out[at] = []
        elif at is not None:
            out[at].append(line)
    return out


def differs(args, seed, skip):
    return run(args, False, seed, 1, skip) != run(args, True, seed, 1, skip)


def shrink(args, seed):
    """Skips ever smaller stretches of calls as long as the difference stays."""
    skip = set()
    size = args.length // 2
    while size:
        for start in range(1, args.length + 1, size):
            more = set(range(start, min(start + size, args.length + 1)))
            if not more <= skip and differs(args, seed, sorted(skip | more)):
                skip |= more
        size //= 2
    return sorted(skip)


def explain(args, seed):
    if not differs(args, seed, ()):
        print(f'program {seed} differs only after those before it, or not always')
        return
    skip = shrink(args, seed)
    a, b = run(args, False, seed, 1, skip), run(args, True, seed, 1, skip)
    print(f'program {seed}, cut down (directly -, remoted +):')
    print('\n'.join(difflib.unified_diff(a, b, 'direct', 'remoted', lineterm='', n=50)))
    print(f'again: calls {seed} 1 {args.length} {",".join(map(str, skip))}')


def batch(args, first, count):
    """How many programs agreed; exits at the first that does not."""
    a, b = programs(run(args, False, first, count)), programs(run(args, True, first, count))
    for seed in sorted(set(a) | set(b)):
        if a.get(seed) != b.get(seed):
            print('\n'.join(difflib.unified_diff(a.get(seed, []), b.get(seed, []), 'direct', 'remoted', lineterm='', n=8)))
            explain(args, seed)
            sys.exit(1)
    return sum(len(v) for v in a.values())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('calls', 'direct', 'vgpu-run'):
        p.add_argument(f'--{name}', required=True)
    for name, value in (('first', 1), ('count', 60), ('length', 120), ('batch', 20), ('seconds', 0)):
        p.add_argument(f'--{name}', type=int, default=value)
    args = p.parse_args()
    until = time.monotonic() + args.seconds
    seed = args.first
    lines = 0
    while seed < args.first + args.count or time.monotonic() < until:
        lines += batch(args, seed, args.batch)
        seed += args.batch
    print(f'{seed - args.first} programs, {lines} lines each way: equal')


main()
