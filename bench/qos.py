# SPDX-License-Identifier: Apache-2.0
"""Shares of the device: real executors on the host's path, always with work queued, judged by the broker's clock.

Each interval lasts until the smallest share has had 100 quanta. The same judgement is made of an equal split, which
must fail it: a measurement that cannot tell the two apart says nothing."""
import signal
import statistics
import subprocess
import time

from pairs import at_most

QUANTUM = 0.002
QUANTA = 100
LOOPS = '1000'  # of the spinner: some 0.1 ms per launch, many kernel boundaries in a quantum
WINDOW = '256'  # launches it keeps queued: 25 ms, so that its queue is never empty however late its host lets it run
POINTS, RELATIVE = 0.01, 0.05
POPULATIONS = (2, 8, 32, 64)


class Busy:
    """A tenant whose queue is never empty."""

    def __init__(self, b, v, name, loops=LOOPS, window=WINDOW):
        self.process = subprocess.Popen([str(b.run), '--run-dir', str(v.run), '--tenant', name, '--', str(b.spinner), loops,
                                         '0', window],
                                        stdout=subprocess.PIPE, text=True)

    def wait(self):
        for word in ('started', 'ready'):
            if self.process.stdout.readline() != word + '\n':
                raise RuntimeError('bench: a tenant did not start')
        return self

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=120)


def counters(v):
    """{name: (device seconds, launches)}, charged up to now; and the hand-overs so far."""
    v.ok('timeline', since_bucket=2**62)
    return {vm['name']: (vm['device_seconds'], vm['launches']) for vm in v.ok('list-vms')}, v.ok('status')['handovers'], \
        time.monotonic()


def until(v, names, condition, limit=300):
    """Counters before and after; what changed is polled for, a second at a time, as only the broker knows."""
    before = counters(v)
    while True:
        time.sleep(0.25)
        now = counters(v)
        used = {n: now[0][n][0] - before[0][n][0] for n in names}
        if condition(used, now[2] - before[2]):
            return used, {n: now[0][n][1] - before[0][n][1] for n in names}, now[1] - before[1], now[2] - before[2]
        if now[2] - before[2] > limit:
            raise RuntimeError('bench: tenants get no device time')


def errors(asked, got):
    """Worst tenant: in points, and relative to what it asked."""
    total = sum(got.values())
    return 100 * max(abs(got[n] / total - asked[n]) for n in asked), max(abs(got[n] / total / asked[n] - 1) for n in asked)


def weights(n):
    """1 to 100. The more tenants, the more of them near 1: the interval is 100 quanta x sum / least, and so a minute."""
    return {f't{i:02}': round(1 + 99 * (i / (n - 1)) ** (n / 2)) for i in range(n)}


def verdict(asked, got):
    """(points, relative), and whether both are within their goals."""
    points, relative = errors(asked, got)
    return points, relative, points <= 100 * POINTS and relative <= RELATIVE


def population(b, n):
    weight = weights(n)
    asked = {name: w / sum(weight.values()) for name, w in weight.items()}
    v = b.vgpud(quota=1 << 20)
    try:
        for name, w in weight.items():
            v.ok('register-vm', name=name, weight=w, quota=16 << 20, bar_size=256 << 20)
        tenants = [Busy(b, v, name) for name in weight]
        for t in tenants:
            t.wait()
        seconds = QUANTA * QUANTUM / min(asked.values())
        used, _, handovers, wall = until(v, weight, lambda u, _: sum(u.values()) >= seconds)
        for t in tenants:
            t.end()
    finally:
        v.__exit__(None, None, None)
    points, relative, _ = verdict(asked, used)
    if verdict(asked, dict.fromkeys(asked, 1))[2]:
        raise RuntimeError('bench: an equal split would pass')
    shown = sorted(weight, key=weight.get)
    shown = shown if n <= 8 else shown[:3] + shown[-3:]
    rows = [f'  {name}  weight {weight[name]:3}  asked {100 * asked[name]:6.2f} %  got '
            f'{100 * used[name] / sum(used.values()):6.2f} %' for name in shown]
    b.result['notes'].append(f'{n} tenants, weights 1 to 100, {sum(used.values()):.1f} s of device time in {wall:.1f} s, {handovers} '
                   f'hand-overs; worst {points:.2f} points, {100 * relative:.1f} % of its own\n' + '\n'.join(rows) + '\n')
    print(b.result['notes'][-1], flush=True)
    return points, relative


def shares(b):
    for n in POPULATIONS:
        points, relative = population(b, n)
        b.add(f'share_error_points_{n}', [points], 'points', at_most(100 * POINTS), note='worst tenant, one interval')
        b.add(f'share_error_relative_{n}', [relative], 'share', at_most(RELATIVE), note='worst tenant')


def p99(values):
    return statistics.quantiles(values, n=100, method='inclusive')[98]


def high_priority(b):
    """Requests of some 10 ms with pauses between, alone and beside three low tenants that never pause."""
    v = b.vgpud(quota=1 << 20)
    try:
        v.ok('register-vm', name='high', priority='high', weight=100, quota=64 << 20)
        for name in ('low0', 'low1', 'low2'):
            v.ok('register-vm', name=name, priority='low', weight=10, quota=16 << 20)
        client = b.client(v, 'serve', tenant='high')

        def requests(n=120):
            out = []
            for _ in range(n):
                out.append(client.ask('gpu', 4)[0])
                time.sleep(0.01)
            return out
        requests(10)
        alone = p99(requests())
        tenants = [Busy(b, v, name) for name in ('low0', 'low1', 'low2')]
        for t in tenants:
            t.wait()
        shared = p99(requests())
        used, launches, _, _ = until(v, ['low0', 'low1', 'low2'], lambda u, wall: wall > 1)
        unit = 1e3 * sum(used.values()) / max(1, sum(launches.values()))
        for t in tenants:
            t.end()
        client.close()
    finally:
        v.__exit__(None, None, None)
    bound = 1.1 * alone + 1e3 * QUANTUM + unit
    b.add('high_priority_p99_ratio', [shared / alone], 'x', at_most(bound / alone),
                note=f'p99 {shared:.1f} ms beside three others, {alone:.1f} ms alone; goal: 1.1 x alone + quantum + unit')


def throughput(b, v, names, seconds):
    tenants = [Busy(b, v, n).wait() for n in names]
    until(v, names, lambda u, wall: wall > 0.3)
    _, launches, handovers, wall = until(v, names, lambda u, wall: wall >= seconds)
    for t in tenants:
        t.end()
    return sum(launches.values()) / wall, handovers / wall


def overhead(b, quantum, pairs=9, seconds=1.0):
    """Launches per second of two tenants that take turns, against one alone; alternating."""
    v = b.vgpud(f'quantum={quantum}', quota=1 << 20)
    lost, switch = [], []
    try:
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=16 << 20)
        for i in range(pairs):
            order = (['a'], ['a', 'b']) if i % 2 else (['a', 'b'], ['a'])
            rate = {len(names): throughput(b, v, names, seconds) for names in order}
            lost.append(1 - rate[2][0] / rate[1][0])
            switch.append(1e6 * lost[-1] / rate[2][1])
    finally:
        v.__exit__(None, None, None)
    return lost, switch


def sched_overhead(b):
    lost, switch = overhead(b, '2ms')
    b.add('sched_overhead_2ms', lost, 'share', at_most(0.05), note='of throughput, two tenants that take turns')
    b.add('switch_cost_us', switch, 'us', note='lost throughput per hand-over')
    lost, _ = overhead(b, '10ms')
    b.add('sched_overhead_10ms', lost, 'share', at_most(0.01))
