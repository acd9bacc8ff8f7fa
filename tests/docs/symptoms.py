#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The symptom table of docs/operating.md: what it quotes is what is printed. Each symptom that can be had here is provoked;
of the others, which name the test that provokes them, the quoted text must be in the source that prints it."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / 'agent'))
sys.path.insert(0, str(HERE.parent / 'vgpud'))
import agent
import harness

# Somebody who is neither root nor agent.vgpud()'s user.
NOBODY = {'user': 'daemon', 'group': 'daemon', 'extra_groups': []} if os.geteuid() == 0 else {}


def said(*words, env=None, status=None, **more):
    """Both outputs of a program that fails, or ends with `status`."""
    r = subprocess.run([str(w) for w in words], env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **more)
    assert r.returncode if status is None else r.returncode == status, r
    return r.stdout + r.stderr


def admin(run_dir, *words, **more):
    return said(harness.ADMIN, '--run-dir', run_dir, *words, **more)


def tenant(d, name, *words):
    return said(harness.RUN, '--run-dir', d.run, '--tenant', name, '--', harness.SPINNER, *words, env=d.environment())


def qemu(path, **more):
    program = shutil.which('qemu-system-x86_64')
    return program and said(program, '-machine', 'none', '-display', 'none', '-chardev', f'socket,id=vgpu,path={path}', **more)


def no_vgpud(d):
    return admin('/nonexistent', 'status')


def not_in_group(d):
    return NOBODY and admin(d.run, 'status', **NOBODY)


def qemu_no_file(d):
    return qemu('/run/openvgpu/vm/NAME.sock')


def qemu_denied(d):
    if not NOBODY:
        return None
    d.ok('register-vm', name='NAME', quota=16 << 20)
    text = qemu(d.run / 'vm/NAME.sock', **NOBODY)
    return text and text.replace(str(d.run), '/run/openvgpu')


def no_device(d):
    env = {k: v for k, v in os.environ.items() if not k.startswith('VGPU_')}
    text = said(harness.SPINNER, '10', '20', env=dict(env, LD_LIBRARY_PATH=str(harness.BUILD / 'src/guest')), status=1)
    assert 'cuInit 100' in text, text
    return text


def timed_out(d):
    d.ok('register-vm', name='long', quota=64 << 20, job_timeout_ns=300_000_000)
    d.ok('register-vm', name='other', quota=64 << 20)
    with subprocess.Popen([str(harness.RUN), '--run-dir', str(d.run), '--tenant', 'other', '--', str(harness.SPINNER), '100'], env=d.environment(),
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        text = tenant(d, 'long', '0')
        other.terminate()
    return text


def quarantined(d):
    d.ok('register-vm', name='bad', quota=64 << 20)
    with subprocess.Popen([str(harness.RUN), '--run-dir', str(d.run), '--tenant', 'bad', '--', str(harness.SPINNER), '100'], env=d.environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline()
        d.ok('quarantine-vm', name='bad')
        text = program.communicate(timeout=120)[1]
        assert program.returncode
    return text


def still_quarantined(d):
    return tenant(d, 'bad', '10', '20')


def on_softcuda(d):
    return admin(d.run, 'status', status=0)


def no_nvml(d):
    with agent.Agent(d.run) as a:
        assert a.json('/v1/gpus')['nvml'].get('error'), a.json('/v1/gpus')
        return a.ask('/metrics')[2]


# The quote, whole or its beginning: what has it printed, or the source that prints it and the test that provokes it.
PROVOKED = {
    'control.sock: no such socket: is vgpud running?': no_vgpud,
    "only root and members of vgpud's group may open it": not_in_group,
    "Failed to connect to '/run/openvgpu/vm/NAME.sock': No such file or directory": qemu_no_file,
    "Failed to connect to '/run/openvgpu/vm/NAME.sock': Permission denied": qemu_denied,
    'guest.sock: No such file or directory; is vgpud running?': no_device,
    'a kernel ran longer than the job timeout': timed_out,
    'this VM is in quarantine after repeated faults': quarantined,
    'is quarantined: vgpu-admin clear-quarantine': still_quarantined,
    'the CPU (softcuda); no GPU is used': on_softcuda,
    'openvgpu_nvml_up 0': no_nvml,
}
ELSEWHERE = {
    'kernels of this device can reach pageable host memory': 'src/executor/main.c',
    'this kernel has no landlock': 'src/executor/jail.c',
    'nothing can be changed now, sharing goes on from memory': 'src/vgpud/broker/state.c',  # vgpud/state fills a disk
    'openvgpu_gpu_lost 1': 'src/nvml/values.def',  # agent/gpus loses a GPU
    '/dev/vgpu0': 'docs/operating.md',  # tests/vm
}
# Not ours to print, or of a machine's firmware: modprobe's words for a key that is missing, systemctl.
OTHERS = ("modprobe: ERROR: could not insert 'vgpu_stub'", 'systemctl restart vgpud', 'spawn-rate', 'concurrent', 'job-timeout')


def quotes():
    """What the first column quotes."""
    table = (SOURCE / 'docs/operating.md').read_text().partition('## Symptoms')[2]
    rows = [line.split(' | ')[0] for line in table.splitlines() if line.startswith('| ')][1:]
    assert len(rows) >= 19, rows
    return [q for row in rows for q in re.findall('`([^`]+)`', row)]


def main():
    skipped, known = [], set(PROVOKED) | set(ELSEWHERE) | set(OTHERS)
    told = quotes()
    assert set(told) <= known, f'quoted, and provoked nowhere: {set(told) - known}'
    assert set(PROVOKED) | set(ELSEWHERE) <= set(told), f'provoked, and not in the table: {(set(PROVOKED) | set(ELSEWHERE)) - set(told)}'
    for quote, path in ELSEWHERE.items():
        text = re.sub(r'"\s*\n\s*"', '', (SOURCE / path).read_text())
        assert quote in text or quote.removeprefix('openvgpu_gpu_').removesuffix(' 1') in text, f'{path} does not say "{quote}"'
    with agent.vgpud() as d:
        for quote, provoke in PROVOKED.items():
            text = provoke(d)
            if not text:
                skipped.append(quote)
                continue
            assert quote in text, f'the guide says "{quote}", and this was printed:\n{text}'
            print('ok', quote, flush=True)
    for quote in skipped:
        print(f'not provoked, it needs root or QEMU: {quote}')


if __name__ == '__main__':
    main()
