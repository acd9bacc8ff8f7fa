#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three tenants, high, medium and low, always with work queued: device time by the broker's clock must be
4 : 2 : 1. An equal split is 24 points off for the first, so the tolerance cannot hide one."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
from harness import RUN, SOFTCUDA, SPINNER, Vgpud, wait_for  # noqa: E402

ASKED = dict(high=4 / 7, medium=2 / 7, low=1 / 7)
LOOPS = '3000'  # some 0.1 ms per launch: many kernel boundaries in a quantum of 2 ms
DEVICE_SECONDS = 6
TOLERANCE = 0.03


def used(v):
    v.ok('timeline')  # charges up to now
    return {vm['name']: vm['device_seconds'] for vm in v.ok('list-vms')}


def main():
    if not SOFTCUDA.exists():
        print('skipped: softcuda is not built')
        return 77
    with Vgpud() as v:
        spinners = []
        for name in ASKED:
            v.ok('register-vm', name=name, priority=name, quota=1 << 28)
            spinners.append(subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', name, '--', str(SPINNER),
                                              LOOPS], stdout=subprocess.PIPE, text=True))
        for s in spinners:
            assert s.stdout.readline() == 'started\n' and s.stdout.readline() == 'ready\n'
        before = used(v)
        wait_for(f'{DEVICE_SECONDS} s of device time',
                 lambda: sum(used(v).values()) - sum(before.values()) > DEVICE_SECONDS, 120)
        after = used(v)
        launches = []
        for s in spinners:
            s.terminate()
        for s in spinners:
            launches.append(int(s.communicate(timeout=60)[0].split()[-1]))
            assert s.returncode == 0
        status = v.ok('status')
    total = sum(after.values()) - sum(before.values())
    bad = 0
    for (name, asked), n in zip(ASKED.items(), launches):
        got = (after[name] - before[name]) / total
        bad += abs(got - asked) > TOLERANCE
        print(f'{name:7} asked {100 * asked:5.1f} %  by the clock {100 * got:5.1f} %  launches {n}')
    print(f'{status["handovers"]} hand-overs, {status["handover_mean_us"]:.0f} us from asking to giving on average')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
