#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments under load: an executor, a program, the broker, vgpu-agent; and the keeper.

Each time: the other tenant's results stay right, the one that was hit has a result again within a second, nothing
is left over. --moments is 50 in the long version; a broker's moments are 3 s apart, for a keeper whose broker ends four
times in 10 s gives up.
"""
import http.client
import os
import random
import select
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../agent'))
from agent import Agent  # noqa: E402
from campaign import BUILD, SANITIZED, TIRELESS, Vgpud, Watch, hostile, options, run_as, start_loops
from harness import Peer, alive, main, wait_for

ARGS = options(__doc__, moments=4, recovery=5.0 if SANITIZED else 1.0)
sys.argv[1:] = []
RNG = random.Random(ARGS.seed)
SPINNER = BUILD / 'tests/vgpud/spinner'
BROKER_APART_S = 3
ERR_KEEPER_GONE, VM_DEAD = 8, 3
STATUS_WORD, ERROR_WORD = 40, 44  # in struct vgpu_header


def registered(*options):
    v = Vgpud(*TIRELESS, *options).__enter__()
    for name in ('hit', 'calm'):
        v.ok('register-vm', name=name, quota=1 << 28)
    return v


def under_load(v):
    """A program of the tenant that is to be hit, with work queued."""
    p = run_as(v, 'hit', SPINNER, '2000')
    assert p.stdout.readline() == 'started\n'
    assert p.stdout.readline() == 'ready\n'
    return p


def moment():
    """Somewhere in the next 100 ms; not a wait for anything."""
    select.select([], [], [], RNG.random() * 0.1)


def first_result(v, tenant):
    """Seconds until a new program of the tenant has its first result."""
    began = time.monotonic()
    p = run_as(v, tenant, SPINNER, '10', '1')
    out = p.communicate(timeout=60)[0]
    assert p.returncode == 0 and 'launches 1' in out, out
    return time.monotonic() - began


def executor_of(v, tenant):
    (pid,) = [c['pid'] for c in v.ok('show-vm', name=tenant)['channels'] if c['state'] == 'run']
    return pid


def end(p):
    if p.poll() is None:
        p.kill()
    p.communicate()


def report(what, times):
    times.sort()
    print(f'{what}: {len(times)} times, a result again after {1000 * times[len(times) // 2]:.0f} ms (median), '
          f'{1000 * times[-1]:.0f} ms (longest)', flush=True)
    assert times[-1] <= ARGS.recovery, f'{what}: {times[-1]:.2f} s until there was a result again'


def campaign(what, hit, options=(), **watch):
    v = registered(*options)
    try:
        w = Watch(v, **watch)
        (loop,) = start_loops(v, 'calm')
        times = [hit(v) for _ in range(ARGS.moments)]
        units = loop.finish()
        print(f'beside it {units} units of work, all right')
        report(what, times)
        print(w.verdict(allowed=[r'executor \d+ (died|exited)', r'vgpud: error: broker ended \(signal 9\)']))
    except BaseException:
        print(v.log_text()[-5000:])
        raise
    finally:
        v.__exit__(None, None, None)


def test_executor():
    def hit(v):
        p = under_load(v)
        moment()
        os.kill(executor_of(v, 'hit'), signal.SIGKILL)
        took = first_result(v, 'hit')
        out = p.communicate(timeout=30)[0]
        assert p.returncode != 0, f'its program saw nothing: {out}'
        return took
    campaign('executor', hit)


def test_program():
    def hit(v):
        p = hostile(v, 'hit', '--attack', 'flood', '--lives', '1', '--seed', RNG.randrange(1 << 32))
        moment()
        p.kill()  # its life dies with it
        p.communicate()
        return first_result(v, 'hit')
    campaign('program', hit)


def test_broker():
    """Programs that run go on; a new one waits for the new broker."""
    def hit(v):
        p = under_load(v)
        moment()
        before, began = v.children('vgpu-broker'), time.monotonic()
        os.kill(before[0], signal.SIGKILL)
        wait_for('a new broker', lambda: v.children('vgpu-broker') not in ([], before), 10)
        took = first_result(v, 'hit') + time.monotonic() - began
        wait_for('it is heard', lambda: v.ask('status')['ok'])
        assert p.poll() is None, f'the running program ended: {p.communicate()[0]}'
        p.send_signal(signal.SIGTERM)
        out = p.communicate(timeout=60)[0]
        assert p.returncode == 0 and 'launches' in out, f'the running program failed: {p.returncode} {out}'
        wait_for('the next moment', lambda: time.monotonic() - began > BROKER_APART_S)
        return took
    campaign('broker', hit, broker_may_end=True)


def client(agent, method, path, body, stop):
    """Asks without pause; an agent that is killed owes no answer."""
    while not stop.is_set():
        try:
            agent.ask(path, method=method, body=body)
        except (OSError, http.client.HTTPException):
            pass


def clients(agent, stop):
    made = {'name': 'made', 'quota': 1 << 20}
    work = [('GET', '/metrics', None), ('GET', '/v1/vms', None), ('POST', '/v1/assignments', made), ('DELETE', '/v1/assignments/made', None)]
    threads = [threading.Thread(target=client, args=(agent, *w, stop)) for w in work]
    for t in threads:
        t.start()
    return threads


def kill_agent(v, port):
    """Seconds from its death until one on the same port has answered what vgpud told it."""
    stop = threading.Event()
    agent = Agent(v.run, address=f'127.0.0.1:{port[0]}')
    port[0] = agent.port
    threads = clients(agent, stop)
    moment()
    began = time.monotonic()
    agent.process.kill()
    agent.process.communicate()
    stop.set()
    with Agent(v.run, address=f'127.0.0.1:{port[0]}') as new:
        new.until('an answer', lambda: new.ask('/v1/vms')[0] == 200)
        took = time.monotonic() - began
        for t in threads:
            t.join()
        # Begun or not, a change is whole.
        assert new.ask('/v1/assignments/made', method='DELETE')[0] in (200, 204, 404)
    agent.dir.cleanup()
    return took


def test_agent():
    """Restartable at once; vgpud does not notice but by descriptors it gives back."""
    port = [0]
    # Its own user may change things, and here the agent is that user.
    options = ('user=nobody', 'group=nogroup') if os.geteuid() == 0 else ()
    campaign('agent', lambda v: kill_agent(v, port), options)


def test_keeper():
    """Every guest is told, nothing outlives it, and a new start finds nothing in its way."""
    v = registered()
    try:
        for _ in range(ARGS.moments):
            p = under_load(v)
            idle = Peer(v.run, 'calm')
            moment()
            pids = v.children('vgpu-executor') + v.children('vgpu-broker')
            v.stop(signal.SIGKILL)
            wait_for('the header says so', lambda: idle.word(STATUS_WORD) == VM_DEAD, 5)
            assert idle.word(ERROR_WORD) == ERR_KEEPER_GONE
            out = p.communicate(timeout=30)[0]
            assert p.returncode != 0, f'its program saw nothing: {out}'
            wait_for('no process is left', lambda: not any(map(alive, pids)))
            idle.close()
            began = time.monotonic()
            v.start()
            print(f'keeper: a result {1000 * (time.monotonic() - began + first_result(v, "hit")):.0f} ms after a new start')
            assert sorted(vm['name'] for vm in v.ok('list-vms')) == ['calm', 'hit']
    finally:
        v.__exit__(None, None, None)


if __name__ == '__main__':
    sys.exit(main(globals()))
