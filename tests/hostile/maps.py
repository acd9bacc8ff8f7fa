# SPDX-License-Identifier: Apache-2.0
"""What of a BAR2 keeper, broker and executors have mapped, over and over again while something goes on: the keeper
nothing, the broker header and wish page, an executor its own channel and the extents it was given."""
import contextlib
import re
import threading

from campaign import stat_of  # noqa: F401  (the path to harness is set there)
from harness import WISH

HEADER, WISH_SIZE, CHANNELS = 16 << 10, 16 << 10, 2 << 20
STRIDE, EXTENT = 6 << 20, 2 << 20
EXTENTS = CHANNELS + 32 * STRIDE
LINE = re.compile(r'([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ +/memfd:vgpu-bar')


def windows(pid):
    """[(first byte of BAR2, length, permissions)]"""
    try:
        with open(f'/proc/{pid}/maps') as f:
            found = [LINE.match(line) for line in f if 'memfd:vgpu-bar' in line]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [(int(m[4], 16), int(m[2], 16) - int(m[1], 16), m[3]) for m in found]


def broker_may(at, length, perms):
    return (at, length, perms) in ((0, HEADER, 'rw-s'), (WISH, WISH_SIZE, 'r--s'))


def executor_may(at, length, perms):
    whole_channel = at >= CHANNELS and at + length <= EXTENTS and (at - CHANNELS) // STRIDE == (at + length - 1 - CHANNELS) // STRIDE
    return perms in ('rw-s', '---s') and (whole_channel or (at >= EXTENTS and at % EXTENT == 0))


class Maps:
    def __init__(self, v):
        self.v = v
        self.looks = self.windows = 0
        self.wrong = []

    def look(self):
        self.looks += 1
        may = {self.v.process.pid: lambda *w: False}
        may.update({pid: broker_may for pid in self.v.children('vgpu-broker')})
        may.update({pid: executor_may for pid in self.v.children('vgpu-executor')})
        for pid, allowed in may.items():
            for w in windows(pid):
                self.windows += 1
                if not allowed(*w):
                    self.wrong.append((pid, w))

    @contextlib.contextmanager
    def watched(self):
        stop = threading.Event()

        def run():
            while not stop.wait(0.1):
                self.look()
        t = threading.Thread(target=run)
        t.start()
        try:
            yield
        finally:
            stop.set()
            t.join()

    def verdict(self):
        assert not self.wrong, f'mapped beyond what is allowed: {self.wrong[:10]}'
        assert self.looks > 3 and self.windows > self.looks, f'{self.looks} looks, {self.windows} windows: nothing was seen'
        return f'{self.windows} windows into BAR2 seen in {self.looks} looks, none beyond what is allowed'
