#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A hostile tenant beside others that compute: only it suffers.

Fails when another tenant's result is wrong, its share is off by more than two points by the broker's clock, keeper or
broker end, complain, grow or keep anything, an executor dies of a signal instead of ending its guest, or a former
tenant's byte is found. --seconds makes it long, --seed repeats the choices.
"""
import re
import sys
import threading

from campaign import CONFORMANCE, Watch, hostile, options, run_as, start_loops, used, vgpud
from maps import Maps

QUOTA = 256 << 20
HIGH, LOW, ATTACKER, ORDINARY, FORMER = 'high', 'low', 'attacker', 'ordinary', 'former'
TOLERANCE = 0.02
WINDOWS = 3
PATTERN = 0x5ca1ab1e0ddba115


def left_by(v):
    """A tenant whose memory is full of a pattern; its process and the device addresses of it."""
    p = hostile(v, FORMER, '--attack', 'leave', '--lives', '1', '--pattern', PATTERN)
    assert p.stdout.readline().startswith('seed')
    line = p.stdout.readline()
    assert line.startswith('left at'), line
    return p, line.split()[2:]


def end(p):
    p.kill()
    p.wait()
    p.stdout.close()


def ordinary_programs(v, stop, problems):
    """Programs that check what they compute, one after the other while the attack lasts; each at least once."""
    while True:
        for program in CONFORMANCE:
            p = run_as(v, ORDINARY, program)
            out = p.communicate()[0]
            if p.returncode:
                problems.append(f'{program.name} beside the attack: status {p.returncode}\n{out}')
        if stop.is_set():
            return


def shares(before, after):
    """(asked of the two, got of the two, guaranteed of all, got of all) for the tenant of high priority."""
    d = {name: after[name] - before[name] for name in after}
    both, everybody = d[HIGH] + d[LOW], sum(d.values())
    weights = {HIGH: 4, LOW: 1, ATTACKER: 2, ORDINARY: 2, FORMER: 2}
    rows = []
    for name in (HIGH, LOW):
        rows.append((name, weights[name] / 5, d[name] / both, weights[name] / sum(weights.values()), d[name] / everybody))
    return rows, d


def judge_shares(rows, d):
    """Who is off."""
    bad = []
    for name, asked, got, least, of_all in rows:
        print(f'{name:5} of the two asked {100 * asked:4.1f} %, got {100 * got:4.1f} %; of all at least {100 * least:4.1f} %, '
              f'got {100 * of_all:4.1f} %')
        if abs(got - asked) > TOLERANCE or of_all < least - TOLERANCE:
            bad.append(name)
    print('device seconds: ' + ', '.join(f'{name} {s:.2f}' for name, s in d.items()), flush=True)
    return bad


def attack(v, a, addresses, turn):
    """One window: the attack while the others compute. Who got a share that is off."""
    before = used(v)
    p = hostile(v, ATTACKER, '--seed', a.seed + turn, '--seconds', a.seconds, '--attack', a.attack, '--pattern', PATTERN,
                *[w for at in addresses for w in ('--foreign', at)])
    out = p.communicate(timeout=a.seconds + 300)[0]
    after = used(v)
    print(out, end='')
    assert p.returncode == 0, f'the hostile guest ended with {p.returncode}'
    return judge_shares(*shares(before, after))


def main():
    a = options(__doc__, seconds=10, attack='all')
    with vgpud() as v:
        for name, priority in ((HIGH, 'high'), (LOW, 'low'), (ATTACKER, 'medium'), (ORDINARY, 'medium'), (FORMER, 'medium')):
            v.ok('register-vm', name=name, priority=priority, quota=QUOTA)
        watch, maps = Watch(v), Maps(v)
        holder, addresses = left_by(v)
        loops = start_loops(v, HIGH, LOW)
        stop, problems = threading.Event(), []
        ordinary = threading.Thread(target=ordinary_programs, args=(v, stop, problems))
        ordinary.start()
        with maps.watched():
            # Where other work takes the cores, executors come late to their turns. An attack that works does so each time.
            off = next((bad for bad in (attack(v, a, addresses, turn) for turn in range(WINDOWS)) if not bad), True)
        stop.set()
        ordinary.join()
        units = [loop.finish() for loop in loops]
        end(holder)
        assert not problems, problems[0]
        print(f'{units[0]} and {units[1]} units of work, all right')
        died = re.findall(r'VM \S+ channel \d+: executor \d+ (?:died of|exited with).*', v.log_text())
        assert not died, died
        assert not off, f'more than {100 * TOLERANCE:.0f} points from their share in each of {WINDOWS} windows'
        look = hostile(v, ATTACKER, '--attack', 'look', '--lives', '1', '--pattern', PATTERN)
        out = look.communicate(timeout=120)[0]
        assert look.returncode == 0, f'a former tenant\'s memory is found:\n{out}'
        print(watch.verdict())
        print(maps.verdict())
    return 0


if __name__ == '__main__':
    sys.exit(main())
