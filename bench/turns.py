# SPDX-License-Identifier: Apache-2.0
"""When kernels ran, by their own clock: what bench_turns wrote, cut into windows."""
import array
import bisect
import collections
import statistics

Unit = collections.namedtuple('Unit', 'begin end tenant')


def load(files):
    """{tenant: file} -> units of all tenants in the order in which they began; ns of the device's clock."""
    units = []
    for tenant, file in files.items():
        stamps = array.array('Q', file.read_bytes())
        units += map(Unit, stamps[0::2], stamps[1::2], [tenant] * (len(stamps) // 2))
    return sorted(units)


class Window:
    """What ran in [begin, end): launches per second, and what hand-overs left idle.

    A gap is the time in which nothing runs before a unit begins. Within a turn it is what any program has between two
    kernels, and so it is no cost of scheduling: from each gap at a hand-over the median of those is taken off."""

    def __init__(self, units, begin, end):
        mine = units[bisect.bisect_left(units, (begin,)):bisect.bisect_left(units, (end,))]
        self.rate = len(mine) / (end - begin) * 1e9
        within, between, last = [], [], None
        for i, u in enumerate(mine):
            if last is not None:
                (within if u.tenant == mine[i - 1].tenant else between).append(max(0, u.begin - last))
            last = max(u.end, last or 0)
        usual = statistics.median(within) if within else 0
        self.handovers = len(between)
        self.costs = [gap - usual for gap in between]  # ns, of each hand-over
        self.lost = sum(self.costs) / (end - begin)  # share of the window
