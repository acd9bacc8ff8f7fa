# SPDX-License-Identifier: Apache-2.0
"""Phase 1: three VMs with the same endless work; who gets how much of the device."""
import bisect
import re
import subprocess
import time

import stage

PRIORITIES = ('high', 'medium', 'low')
FACTOR = {'high': 4, 'medium': 2, 'low': 1}
TOLERANCE = 2.0  # percentage points
NONEMPTY = 95.0  # percent of the time a queue must have held work
UNIT_US = 500    # a unit of work, alone on this host
SETTLE_S = 2.0   # from the common start to the measured window


class Progress:
    """What a guest's loop program printed, by the time it reached us."""

    def __init__(self, job):
        self.job, self.times, self.rows = job, [], []

    def look(self):
        lines = re.findall(r'^(\d+) ([\d.]+) ([\d.]+)$', self.job.text, re.M)
        for completed, empty, elapsed in lines[len(self.rows):]:
            self.times.append(time.monotonic())
            self.rows.append((int(completed), float(empty), float(elapsed)))

    def at(self, t):
        """Values at host time t, interpolated between two reports."""
        i = min(max(bisect.bisect(self.times, t), 1), len(self.times) - 1)
        t0, t1 = self.times[i - 1], self.times[i]
        f = (t - t0) / (t1 - t0) if t1 > t0 else 0
        return [a + f * (b - a) for a, b in zip(self.rows[i - 1], self.rows[i])]


def calibrate(st):
    """Rounds of the loop kernel that make a unit of about UNIT_US."""
    r = subprocess.run(st.direct(st.loop, '--calibrate', str(UNIT_US)), capture_output=True, text=True,
                       timeout=120)
    if r.returncode:
        raise stage.StageError(f'calibrating on softcuda: {r.stderr.strip()}')
    return int(r.stdout.split()[0])


def percent(values):
    total = sum(values)
    return [100.0 * v / total if total else 0.0 for v in values]


def watch(vms, progress, until, say, last):
    while time.monotonic() < until:
        for vm, p in zip(vms, progress):
            vm.wait_for(lambda: len(p.job.output) > p.seen or p.job.status is not None, 20,
                        'a report of the loop program', p.job)
            p.seen = len(p.job.output)
            p.look()
            if p.job.status is not None:
                raise stage.StageError(f'{vm.name}: the loop program ended with {p.job.status}:\n'
                                       f'{p.job.text[-2000:]}')
        if time.monotonic() - last[0] >= 5:
            last[0] = time.monotonic()
            now = percent([p.rows[-1][0] if p.rows else 0 for p in progress])
            say('  units so far: ' + ', '.join(f'{vm.name} {s:.1f} %' for vm, s in zip(vms, now)))


def run(st, vgpud, vms, seconds, mark, say):
    """Rows for the table, one per VM; each with its verdict."""
    names = [vm.name for vm in vms]
    rounds = calibrate(st)
    say(f'one unit of work: {rounds} rounds per thread, about {UNIT_US} us alone on this host')
    jobs = [vm.spawn(f'exec loop {rounds}') for vm in vms]
    for job in jobs:
        job.wait_text('^ready$', 120)
    progress = [Progress(j) for j in jobs]
    for p in progress:
        p.seen = 0
    mark('shares')
    for job in jobs:
        job.kill(10)  # SIGUSR1: the common start
    say(f'all three started; measuring for {seconds} s')
    begin, last = time.monotonic(), [time.monotonic()]
    watch(vms, progress, begin + SETTLE_S, say, last)
    t0, used0 = time.monotonic(), vgpud.device_seconds(names)
    watch(vms, progress, t0 + seconds, say, last)
    t1, used1 = time.monotonic(), vgpud.device_seconds(names)
    watch(vms, progress, t1 + 0.5, say, last)  # so that every guest has reported beyond t1
    for job in jobs:
        job.kill(15)
    for vm, job in zip(vms, jobs):
        if job.wait(60):
            raise stage.StageError(f'{vm.name}: the loop program failed:\n{job.text[-2000:]}')
    mark('')
    return table(vms, progress, t0, t1, [b - a for a, b in zip(used0, used1)])


def table(vms, progress, t0, t1, device_s):
    first, last = [p.at(t0) for p in progress], [p.at(t1) for p in progress]
    asked = percent([FACTOR[p] for p in PRIORITIES])
    broker = percent(device_s)
    units = [b[0] - a[0] for a, b in zip(first, last)]
    guests = percent(units)
    rows = []
    for i, vm in enumerate(vms):
        full = 100.0 * (1 - (last[i][1] - first[i][1]) / (last[i][2] - first[i][2]))
        ok = (abs(broker[i] - asked[i]) <= TOLERANCE and abs(guests[i] - asked[i]) <= TOLERANCE
              and full >= NONEMPTY)
        rows.append(dict(vm=vm.name, priority=PRIORITIES[i], asked=asked[i], broker=broker[i],
                         guests=guests[i], units=round(units[i]), device_s=device_s[i],
                         nonempty=full, ok=ok))
    return rows
