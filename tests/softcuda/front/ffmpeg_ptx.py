#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every PTX module inside the installed libavfilter is understood, each in a bounded CPU time.

usage: ffmpeg_ptx.py GOLDEN SECONDS    (the program ptx_golden)
Debian builds them in gzip-compressed; exits 77 if no libavfilter with PTX is installed.
"""
import glob
import os
import resource
import subprocess
import sys
import tempfile
import zlib


def modules(path):
    data = open(path, 'rb').read()
    at = data.find(b'\x1f\x8b\x08')
    while at >= 0:
        try:
            text = zlib.decompressobj(31).decompress(data[at:])
            if b'.version' in text[:500]:
                yield text
        except zlib.error:
            pass
        at = data.find(b'\x1f\x8b\x08', at + 1)


def cpu_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    libs = sorted(glob.glob('/usr/lib/*/libavfilter.so.*.*.*'))
    found = [t for lib in libs for t in modules(lib)]
    if not found:
        print('no libavfilter with PTX installed: skipped')
        return 77
    failed = 0
    # meson has malloc fill what it hands out, which is not what is measured here
    env = {k: v for k, v in os.environ.items() if k != 'MALLOC_PERTURB_'}
    for text in found:
        with tempfile.NamedTemporaryFile() as f:
            f.write(text)
            f.flush()
            start = cpu_time()
            run = subprocess.run([sys.argv[1], '--parse', f.name], capture_output=True, text=True, env=env)
            took = cpu_time() - start
        ok = run.returncode == 0 and took < float(sys.argv[2])
        failed += not ok
        print(f'{len(text):8} bytes {took:.3f} s {run.stdout.strip()}' + ('' if ok else ' FAILED'))
    return 1 if failed else 0


sys.exit(main())
