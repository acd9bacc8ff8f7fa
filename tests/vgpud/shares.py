#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three tenants, high, medium and low, always with work queued: device time by the broker's clock must be
4 : 2 : 1, within two points and 5 % of each share. The same verdict on an equal split must be no."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
from harness import RUN, SOFTCUDA, SPINNER, Vgpud, wait_for  # noqa: E402

ASKED = dict(high=4 / 7, medium=2 / 7, low=1 / 7)
LOOPS = '3000'  # some 0.1 ms per launch: many kernel boundaries in a quantum of 2 ms
DEVICE_SECONDS = 6
WINDOW = '256'  # launches queued: never empty, however late the host lets a tenant run
POINTS, RELATIVE = 0.02, 0.05


def as_asked(got):
    return all(abs(got[n] - asked) <= POINTS and abs(got[n] / asked - 1) <= RELATIVE for n, asked in ASKED.items())


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
                                              LOOPS, '0', WINDOW], stdout=subprocess.PIPE, text=True))
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
    got = {n: (after[n] - before[n]) / total for n in ASKED}
    for (name, asked), n in zip(ASKED.items(), launches):
        print(f'{name:7} asked {100 * asked:5.1f} %  by the clock {100 * got[name]:5.1f} %  launches {n}')
    print(f'{status["handovers"]} hand-overs, {status["handover_mean_us"]:.0f} us from asking to giving on average')
    device = status['devices'][0]
    assert abs(1e6 * device['handover_wait_seconds'] - device['handovers'] * device['handover_mean_us']) < 1, device
    assert not as_asked(dict.fromkeys(ASKED, 1 / len(ASKED)))
    return 0 if as_asked(got) else 1


if __name__ == '__main__':
    sys.exit(main())
