# SPDX-License-Identifier: Apache-2.0
"""Shares of the device: real executors on the host's path, always with work queued, judged by the broker's clock.

Each interval lasts until the smallest share has had 100 quanta. The same judgement is made of an equal split, which
must fail it: a measurement that cannot tell the two apart says nothing."""
import os
import signal
import statistics
import subprocess
import time

import host
from pairs import at_least, at_most

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


def end(tenants):
    """All at once: what a small one has queued would last long beside the others."""
    for t in tenants:
        t.process.send_signal(signal.SIGTERM)
    for t in tenants:
        t.process.communicate(timeout=120)


def counters(v):
    """{name: (device seconds, launches, leases)}, charged up to now; and the hand-overs so far."""
    v.ok('timeline', since_bucket=2**62)
    return {vm['name']: (vm['device_seconds'], vm['launches'], vm['leases']) for vm in v.ok('list-vms')}, v.ok('status')['handovers'], \
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
        end(tenants)
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


def paused(tenants, on):
    """Whether these compute is switched by stopping their programs: the same processes, warm, in every sample."""
    for t in tenants:
        for pid in (t.process.pid, *host.children(t.process.pid)):
            os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)


def settled(v, names, still):
    """What a stopped program had queued, up to 25 ms of its own time, is over; or all of them compute again."""
    last = counters(v)[0]
    while True:
        time.sleep(0.1)
        now = counters(v)[0]
        moved = [n for n in names if now[n][1] != last[n][1]]
        if (not moved) if still else len(moved) == len(names):
            return
        last = now


def high_priority(b, rounds=12, each=40):
    """Requests of some 10 ms with pauses between, alone and beside three low tenants that never pause; in turns."""
    lows = ['low0', 'low1', 'low2']
    v = b.vgpud(quota=1 << 20)
    try:
        v.ok('register-vm', name='high', priority='high', weight=100, quota=64 << 20)
        for name in lows:
            v.ok('register-vm', name=name, priority='low', weight=10, quota=16 << 20)
        client = b.client(v, 'serve', tenant='high')
        tenants = [Busy(b, v, name).wait() for name in lows]
        took, launched, used = {True: [], False: []}, 0, 0
        for i in range(2 * rounds):
            alone = i % 4 in (1, 2)
            paused(tenants, alone)
            settled(v, lows, alone)
            before = counters(v)[0]
            for _ in range(each):
                took[alone].append(client.ask('gpu', 4)[0])
                time.sleep(0.01)
            after = counters(v)[0]
            used += sum(after[n][0] - before[n][0] for n in lows)
            launched += sum(after[n][1] - before[n][1] for n in lows)
        paused(tenants, False)
        end(tenants)
        client.close()
    finally:
        v.__exit__(None, None, None)
    alone, shared, unit = p99(took[True]), p99(took[False]), 1e3 * used / max(1, launched)
    bound = 1.1 * alone + 1e3 * QUANTUM + unit
    b.add('high_priority_p99_ratio', [shared / alone], 'x', at_most(bound / alone),
          note=f'of {rounds * each} requests each: p99 {shared:.1f} ms beside three others, {alone:.1f} ms alone (medians '
          f'{statistics.median(took[False]):.1f} and {statistics.median(took[True]):.1f}); goal: 1.1 x alone + quantum + unit')


def rate(v, names, seconds):
    """Launches per second of all of them, hand-overs per second, leases asked for."""
    before = counters(v)
    time.sleep(seconds)
    after = counters(v)
    wall = after[2] - before[2]
    return sum(after[0][n][1] - before[0][n][1] for n in names) / wall, (after[1] - before[1]) / wall, \
        sum(after[0][n][2] - before[0][n][2] for n in names)


def overhead(b, option, pairs, seconds):
    """Launches per second of two tenants beside each other, against one of them; alternating, both in turn being the one."""
    v = b.vgpud(option, quota=1 << 20)
    lost, switch, asked = [], [], []
    try:
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=16 << 20)
        tenants = {name: Busy(b, v, name).wait() for name in ('a', 'b')}
        for i in range(pairs):
            one, other = 'ab' if i % 2 else 'ba'
            got = {}
            for names in ([one], ['a', 'b']) if i % 4 < 2 else (['a', 'b'], [one]):
                paused([tenants[other]], len(names) == 1)
                settled(v, [other], len(names) == 1)
                got[len(names)] = rate(v, names, seconds)
            paused([tenants[other]], False)
            lost.append(1 - got[2][0] / got[1][0])
            asked.append(got[1][2])
            if got[2][1]:
                switch.append(1e6 * lost[-1] / got[2][1])
        end(tenants.values())
    finally:
        v.__exit__(None, None, None)
    return lost, switch, asked


def sched_overhead(b):
    lost, switch, asked = overhead(b, 'quantum=2ms', 24, 0.4)
    b.add('sched_overhead_2ms', lost, 'share', at_most(0.05), note='of throughput, two tenants that take turns')
    b.add('switch_cost_us', switch, 'us', note='lost throughput per hand-over')
    b.add('sched_messages_alone', [sum(asked)], 'leases', at_most(0), note=f'asked for in {0.4 * len(asked):.0f} s with nobody else')
    lost, _, _ = overhead(b, 'quantum=10ms', 24, 0.4)
    b.add('sched_overhead_10ms', lost, 'share', at_most(0.01))
    lost, _, _ = overhead(b, 'policy=concurrent', 10, 0.4)
    b.add('concurrent_gain', [-x for x in lost], 'share', at_least(0, 1), note='throughput of two side by side, against one')


def changed_at(v, names, asked, step=0.005, width=0.04, limit=2):
    """ms until the first window of 20 quanta whose split is nearer to the new shares than to the old, equal ones."""
    start = time.monotonic()
    seen = [(0, counters(v)[0])]
    while seen[-1][0] < limit:
        time.sleep(step)
        seen.append((time.monotonic() - start, counters(v)[0]))
        at, now = seen[-1]
        then = next((c for t, c in reversed(seen) if at - t >= width), None)
        used = {n: now[n][0] - then[n][0] for n in names} if then else {}
        if used and sum(used.values()) and used[names[0]] / sum(used.values()) > (asked + 1 / 2) / 2:
            return 1e3 * at
    raise RuntimeError('bench: a changed weight has no effect')


def weight_change(b, n=15):
    """From the answer to set-vm."""
    v = b.vgpud(quota=1 << 20)
    took = []
    try:
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=16 << 20, weight=25)
        tenants = [Busy(b, v, name).wait() for name in ('a', 'b')]
        for _ in range(n):
            v.ok('set-vm', name='a', weight=25)
            time.sleep(0.3)
            v.ok('set-vm', name='a', weight=100)
            took.append(changed_at(v, ('a', 'b'), 4 / 5))
        end(tenants)
    finally:
        v.__exit__(None, None, None)
    b.add('weight_change_ms', took, 'ms', at_most(100), note='1:1 to 4:1; end of the first 40 ms that are divided anew')
