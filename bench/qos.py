# SPDX-License-Identifier: Apache-2.0
"""Shares of the device: real executors on the host's path, always with work queued, judged by the broker's clock.

Each interval lasts until the smallest share has had 100 quanta. The same judgement is made of an equal split, which
must fail it: a measurement that cannot tell the two apart says nothing."""
import os
import random
import signal
import statistics
import subprocess
import time

import host
import turns
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


def requests(client, n):
    """ms that each took; some 10 ms of kernels, with pauses between."""
    took = []
    for _ in range(n):
        took.append(client.ask('gpu', 4)[0])
        time.sleep(0.01)
    return took


def resampled(rounds, figure, n=400):
    """95 % of figure() over rounds drawn with replacement: neighbouring requests share the host's disturbances."""
    rng = random.Random(1)
    got = sorted(figure([rng.choice(rounds) for _ in rounds]) for _ in range(n))
    return got[n // 40], got[n - 1 - n // 40]


LOWS = ('low0', 'low1', 'low2')
PRIORITIES = {'shared': [('high', 'high', 100)] + [(n, 'low', 10) for n in LOWS],
              'equal': [(n, 'medium', 50) for n in ('high', *LOWS)]}


def priority_rounds(v, client, tenants, rounds, each):
    """[{alone, shared, equal: ms of each request}], in turns. equal: the same beside three others of its own priority."""
    got = []
    for i in range(rounds):
        one = {}
        for what in ('alone', 'shared', 'equal') if i % 2 else ('equal', 'shared', 'alone'):
            for name, priority, weight in PRIORITIES.get(what, []):
                v.ok('set-vm', name=name, priority=priority, weight=weight)
            paused(tenants, what == 'alone')
            settled(v, LOWS, what == 'alone')
            one[what] = requests(client, each)
        got.append(one)
    paused(tenants, False)
    return got


def high_priority(b, rounds=12, each=40):
    """p99 of requests, alone and beside three low tenants that never pause, against the bound; and with equal priorities,
    which must break it."""
    v = b.vgpud(quota=1 << 20)
    try:
        for name in ('high', *LOWS):
            v.ok('register-vm', name=name, quota=64 << 20)
        client = b.client(v, 'serve', tenant='high')
        tenants = [Busy(b, v, name).wait() for name in LOWS]
        got = priority_rounds(v, client, tenants, rounds, each)
        unit = 1e3 * max(vm['execution_p99_seconds'] for vm in v.ok('list-vms') if vm['name'] in LOWS)
        end(tenants)
        client.close()
    finally:
        v.__exit__(None, None, None)

    def at(what, some):
        return p99([x for one in some for x in one[what]])

    def of_bound(what):
        return lambda some: at(what, some) / (1.1 * at('alone', some) + 1e3 * QUANTUM + unit)

    def ratio(some):
        return at('shared', some) / at('alone', some)
    medians = ', '.join(f"{statistics.median(x for one in got for x in one[what]):.1f} {what}" for what in got[0])
    b.add('high_priority_p99_ratio', [ratio(got)], 'x', note=f"p99 beside three others {at('shared', got):.1f} ms, alone "
          f"{at('alone', got):.1f} ms, of {rounds * each} requests each; medians {medians}", between=resampled(got, ratio))
    b.add('high_priority_p99_of_bound', [of_bound('shared')(got)], 'x', at_most(1),
          note=f"of 1.1 x alone + quantum + longest unit ({unit:.2f} ms)", between=resampled(got, of_bound('shared')))
    b.add('equal_priority_p99_of_bound', [of_bound('equal')(got)], 'x', note='the same verdict must reject this one',
          between=resampled(got, of_bound('equal')))
    if of_bound('equal')(got) <= 1:
        raise RuntimeError('bench: without priorities the bound is kept as well, so it says nothing')


# ---- the cost of turns

POLICIES = {'2ms': 'quantum=2ms', '10ms': 'quantum=10ms', 'none': 'quantum=1s', 'concurrent': 'policy=concurrent'}


class Writer:
    """A tenant that always has work queued, whose kernels fill the device and write down when they ran."""

    LOOPS = '4000'  # some 0.1 ms

    def __init__(self, b, v, name):
        self.file = v.dir / f'{name}.stamps'
        self.process = subprocess.Popen(
            [str(b.run), '--run-dir', str(v.run), '--tenant', name, '--', str(b.build / 'bench/bench_turns'), str(self.file),
             str(min(8, os.cpu_count())), self.LOOPS], stdout=subprocess.PIPE, text=True)

    wait = Busy.wait


def turn_windows(b, rounds, seconds):
    """[{policy: Window}] of two tenants whose programs never change: only what the broker does with them does."""
    v = b.vgpud(config='')
    spans = []
    try:
        for name in 'ab':
            v.ok('register-vm', name=name, quota=512 << 20)
        tenants = [Writer(b, v, name) for name in 'ab']
        for t in tenants:
            t.wait()
        for i in range(rounds):
            order = list(POLICIES)
            random.Random(i).shuffle(order)
            span = {}
            for policy in order:
                v.config.write_text(POLICIES[policy] + '\n')
                v.ok('reload-config')
                time.sleep(0.04)
                begin = time.monotonic_ns()
                time.sleep(seconds)
                span[policy] = (begin, time.monotonic_ns())
            spans.append(span)
        end(tenants)
        units = turns.load({t.file.stem: t.file for t in tenants})
    finally:
        v.__exit__(None, None, None)
    return [{policy: turns.Window(units, *s) for policy, s in span.items()} for span in spans]


def sched_overhead(b, rounds=100, seconds=0.2):
    """See docs/bench: what turns cost two tenants with work queued, against turns of 1 s, the rest being the same."""
    got = turn_windows(b, rounds, seconds)
    for policy, goal in (('2ms', 0.05), ('10ms', 0.01)):
        b.add(f'sched_overhead_{policy}', [w[policy].lost for w in got], 'share', at_most(goal),
              note=f'idle at hand-overs; {sum(w[policy].handovers for w in got)} of them in {rounds * seconds:.0f} s')
        b.add(f'sched_throughput_loss_{policy}', [1 - w[policy].rate / w['none'].rate for w in got], 'share',
              note='launches per second, against turns of 1 s')
    costs = [c / 1e3 for w in got for c in w['2ms'].costs]
    b.add('switch_cost_us', [statistics.mean(w['2ms'].costs) / 1e3 for w in got if w['2ms'].costs], 'us',
          note=f'idle per hand-over, mean of each window; of all {len(costs)} at 2 ms: median {statistics.median(costs):.0f}, '
          f'p90 {statistics.quantiles(costs, n=10)[8]:.0f}, p99 {p99(costs):.0f}')
    b.add('concurrent_over_exclusive', [w['concurrent'].rate / w['2ms'].rate for w in got], 'x', at_least(1, 0.2),
          note='launches per second, against turns of 2 ms')


def messages_alone(b, seconds=10):
    """Leases asked for, beside a connected tenant that computes nothing."""
    v = b.vgpud(quota=1 << 20)
    try:
        for name in ('a', 'b'):
            v.ok('register-vm', name=name, quota=16 << 20)
        tenants = [Busy(b, v, name).wait() for name in ('a', 'b')]
        paused(tenants[1:], True)
        settled(v, ['b'], True)
        before = counters(v)[0]['a'][2]
        time.sleep(seconds)
        asked = counters(v)[0]['a'][2] - before
        paused(tenants[1:], False)
        end(tenants)
    finally:
        v.__exit__(None, None, None)
    b.add('sched_messages_alone', [asked], 'leases', at_most(0), note=f'asked for in {seconds} s with nobody else')


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
