#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""GPUs as vgpu-agent shows them, by a library whose numbers are those of captured nvidia-smi output.

usage: gpus.py FAKE-LIBRARY CAPTURE-FOLDER
Fails when a number is not that of the capture, when what is not told is shown, when a GPU that is gone, a library that
hangs, crashes or is absent costs more than its metrics, or a page is not OpenMetrics.
"""
import http.client
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

from agent import families, vgpud

BUILD = pathlib.Path(os.environ['VGPU_BUILD'])
AGENT = BUILD / 'src/agent/vgpu-agent'
FAKE, CAPTURES = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
SOFTCUDA = BUILD / 'src/softcuda/libcuda.so.1'
HIDDEN = 'GPU-00000000-0000-0000-0000-000000000000'  # what the captures show
PLAYED = 'GPU-736f6674-6375-6461-0000-000000000000'  # softcuda's first device, which plays the GPU
TOKEN = 'correct-horse-battery-staple'
LIMIT = 60
OPEN = {'Accept': 'application/openmetrics-text'}


class Agent:
    """vgpu-agent, without vgpud unless told: what it says of GPUs does not depend on it."""

    def __init__(self, capture='h200', gpus=1, fault=None, run=None, uuid=None):
        self.tmp = tempfile.TemporaryDirectory(prefix='gpus.')
        d = pathlib.Path(self.tmp.name)
        d.chmod(0o755)
        (d / 'lib').mkdir()
        (d / 'token').write_text(TOKEN + '\n')
        (d / 'token').chmod(0o600)
        self.control = d / 'control'
        self.control.write_text('')
        env = {k: v for k, v in os.environ.items() if k != 'LD_LIBRARY_PATH'}  # Meson's names the fake
        env.update(FAKE_NVML_GPUS=str(gpus), FAKE_NVML_CONTROL=str(self.control))
        if capture:
            # Where the agent's other user may read them, wherever this tree lies.
            (d / 'lib/libnvidia-ml.so.1').write_bytes(FAKE.read_bytes())
            text = (CAPTURES / f'{capture}.txt').read_text()
            (d / 'capture').write_text(text.replace(HIDDEN, uuid) if uuid else text)
            env.update(LD_LIBRARY_PATH=str(d / 'lib'), FAKE_NVML_CAPTURE=str(d / 'capture'))
        if fault:
            env['FAKE_NVML'] = fault
        words = [str(AGENT), '--run-dir', str(run or d), '--listen', '127.0.0.1:0', '--token-file', str(d / 'token')]
        if os.geteuid() == 0:
            words += ['--user', 'nobody']
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, env=env)
        self.log, self.port = b'', None
        self.read_log(rb'port (\d+)')
        self.port = int(re.search(rb'port (\d+)', self.log)[1])

    def read_log(self, pattern):
        deadline = time.monotonic() + LIMIT
        while not re.search(pattern, self.log):
            assert select.select([self.process.stderr], [], [], deadline - time.monotonic())[0], self.log
            part = os.read(self.process.stderr.fileno(), 65536)
            assert part, self.log
            self.log += part

    def __enter__(self):
        return self

    def __exit__(self, *_):
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(LIMIT) == 0
        assert time.monotonic() - began < 10, 'ending waits for NVML'
        self.process.stderr.close()
        self.tmp.cleanup()

    def ask(self, path, **headers):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=LIMIT)
        c.request('GET', path, headers=dict(headers, Authorization='Bearer ' + TOKEN))
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return text

    def page(self):
        return json.loads(self.ask('/v1/gpus'))

    def until(self, what, condition):
        """The agent renders its pages once a second: asked again until it is so."""
        deadline = time.monotonic() + LIMIT
        while not condition(page := self.page()):
            assert time.monotonic() < deadline, (what, page, self.log)
            select.select([], [], [], 0.05)
        return page

    def health(self, what):
        """/healthz as rendered after this call."""
        looks = self.metrics()['openvgpu_agent_looks'][None]
        self.until(what, lambda _: self.metrics()['openvgpu_agent_looks'][None] > looks + 1)
        return self.ask('/healthz')

    def metrics(self):
        return {name: samples for name, (_, samples) in families(self.ask('/metrics', **OPEN)).items()}

    def child(self):
        pids = pathlib.Path(f'/proc/{self.process.pid}/task').glob('*/children')
        return [int(p) for f in pids for p in f.read_text().split()]


class Capture:
    """The other reader of a capture: a key's first value below a section."""

    def __init__(self, name):
        self.lines = (CAPTURES / f'{name}.txt').read_text().split('\n')

    def get(self, section, key):
        depth = None
        for line in self.lines:
            indent, words = len(line) - len(line.lstrip()), line.strip().split(' : ')
            if depth is None:
                if words[0].strip() == section:
                    depth = indent
            elif indent <= depth:
                return None
            elif words[0].strip() == key:
                m = re.match(r'-?[\d.]+', words[1].strip())
                return float(m[0]) if m else words[1].strip()
        return None


MIB = 1 << 20
# Key of ours: the capture's section and key, and the unit.
EXPECTED = {
    'temperature_celsius': ('Temperature', 'GPU Current Temp', 1),
    'memory_temperature_celsius': ('Temperature', 'Memory Current Temp', 1),
    'power_watts': ('GPU Power Readings', 'Average Power Draw', 1),
    'power_limit_watts': ('GPU Power Readings', 'Current Power Limit', 1),
    'sm_clock_hertz': ('Clocks', 'SM', 1e6),
    'memory_clock_hertz': ('Clocks', 'Memory', 1e6),
    'utilization_ratio': ('Utilization', 'GPU', 0.01),
    'memory_utilization_ratio': ('Utilization', 'Memory', 0.01),
    'memory_bytes': ('FB Memory Usage', 'Total', MIB),
    'memory_used_bytes': ('FB Memory Usage', 'Used', MIB),
    'memory_reserved_bytes': ('FB Memory Usage', 'Reserved', MIB),
    'pcie_link_generation': ('PCIe Generation', 'Current', 1),
    'remapped_rows_corrected': ('Remapped Rows', 'Correctable Error', 1),
}


def same_as_capture(gpu, name):
    capture = Capture(name)
    told = 0
    for key, (section, word, unit) in EXPECTED.items():
        v = capture.get(section, word)
        if isinstance(v, float):
            told += 1
            assert abs(gpu[key] - v * unit) <= 1e-9 * max(1, abs(v * unit)), (key, gpu.get(key), v)
        else:
            assert key not in gpu, (key, gpu[key], v)
    return told


def test_values():
    with Agent('h200', 8) as a:
        page = a.until('eight GPUs', lambda p: len(p['gpus']) == 8)
        assert page['nvml']['answers'] and page['nvml']['driver'] == '590.48.01', page['nvml']
        assert same_as_capture(page['gpus'][0], 'h200') == len(EXPECTED)
        g = page['gpus'][7]
        assert g['nvlinks'] == g['nvlinks_up'] == 18 and g['processes'] == 3 and g['xid_errors_total'] == 0, g
        assert [p['pid'] for p in g['programs']] == [10291, 10293, 10309], g['programs']
        assert 'energy_joules_total' not in g and 'nvlink_crc_errors_total' not in g, 'not in the capture'
        f = a.metrics()
        assert len(f['openvgpu_gpu_temperature_celsius']) == 8 and len(f['openvgpu_gpu']) == 8
        assert f['openvgpu_nvml_up'] == {None: 1}
        assert 'openvgpu_gpu_energy_joules' not in f
        plain = a.ask('/metrics')
        assert '# TYPE openvgpu_gpu_info gauge' in plain and '# EOF' not in plain


GPUS_PAGE = 24 << 10  # bytes of /metrics for four GPUs with every number 8 digits longer: agent.py counts on it


def test_page_size():
    with Agent('h200', 4) as a:
        a.until('four GPUs', lambda p: len(p['gpus']) == 4)
        lines = [x for x in a.ask('/metrics').split('\n') if re.search('_(gpu|nvml)_', x)]
        size = sum(map(len, lines)) + len(lines) * 9
        print(f'4 GPUs: {size / 1024:.1f} KiB of {len(lines)} lines')
        assert 5000 < size <= GPUS_PAGE, size


def test_mig():
    with Agent('h200-mig') as a:
        g = a.until('a GPU', lambda p: p['gpus'])['gpus'][0]
        same_as_capture(g, 'h200-mig')
        assert 'utilization_ratio' not in g and 'nvlinks' not in g and 'remapped_rows_corrected' not in g, g
        assert [(m['gpu_instance'], m['compute_instance'], m['memory_bytes'] // MIB) for m in g['mig']] == \
            [(2, 0, 71424), (2, 1, 71424), (3, 0, 33280), (9, 0, 16384), (10, 0, 16384)], g['mig']
        assert g['mig'][2]['name'] == 'NVIDIA H200 MIG 2g.35gb', g['mig'][2]
        assert g['programs'][0] == {'pid': 12249, 'memory_used_bytes': 2194 * MIB, 'gpu_instance': 2, 'compute_instance': 1}
        assert len(a.metrics()['openvgpu_gpu_mig_memory_used_bytes']) == 5


def test_faults():
    with Agent('h200', 2) as a:
        a.until('two GPUs', lambda p: len(p['gpus']) == 2)
        a.control.write_text('EventSetWait_v2:0:xid=31')
        a.until("a program's Xid", lambda p: p['gpus'][0].get('xid_errors_total') == 1)
        assert 'Xid' not in a.health('its next look'), "one tenant's mistake is trouble of the host"
        a.control.write_text('EventSetWait_v2:0:xid=79')
        g = a.until('the Xid', lambda p: p['gpus'][0]['xid_errors_total'] == 2)['gpus'][0]
        assert g['last_xid'] == g['recent_hardware_xid'] == 79 and g['hardware_xid_errors_total'] == 1
        assert 'Xid' in a.health('the next look')
        a.control.write_text('DeviceGetTemperature:0:lie=ff')
        g = a.until('no temperature', lambda p: 'temperature_celsius' not in p['gpus'][0])['gpus'][0]
        assert g['power_watts'] > 0
        a.control.write_text('DeviceGetCount_v2:0:gone')
        p = a.until('lost GPUs', lambda p: p['gpus'][1].get('lost') == 1)
        assert 'power_watts' not in p['gpus'][1] and p['gpus'][1]['bus_id'] == '00000000:84:00.0'
        assert 'answers no more' in a.ask('/healthz')
        a.control.write_text('')
        p = a.until('their return', lambda p: p['gpus'][1].get('lost') == 0)
        uuid = [g['uuid'] for g in p['gpus']]
        a.control.write_text('DeviceGetCount_v2:0:gone=0')
        a.until('a lost GPU', lambda p: [g['lost'] for g in p['gpus']] == [1, 0])
        os.kill(a.child()[0], signal.SIGKILL)
        a.until('the end of its process', lambda p: not p['nvml']['answers'])
        p = a.until('another process, that never saw it', lambda p: p['nvml']['answers'])
        assert [(g['uuid'], g['lost'], 'power_watts' in g) for g in p['gpus']] == [(uuid[0], 1, False), (uuid[1], 0, True)], p
        assert p['gpus'][0]['xid_errors_total'] == 2, 'what was counted went with the process'
        assert '83:00.0' in (text := a.ask('/healthz')) and '84:00.0' not in text, text


def test_healthy():
    """The metric and the page say the same, and why NVML is silent is told apart."""
    def told(a):
        """Of two moments at which nothing changes: one look renders the metric, and then the page."""
        metric, page = a.metrics()['openvgpu_healthy'][None], json.loads(a.ask('/healthz'))['status']
        return metric == 1 if page == {0: 'degraded', 1: 'ok'}[metric] else None

    def status(a):
        return [k for k, v in a.metrics()['openvgpu_nvml_status'].items() if v]

    with vgpud() as d, Agent('h200', 2, run=d.run) as a:
        a.until('it is well', lambda p: len(p['gpus']) == 2 and told(a))
        assert status(a) == ['answers']
        a.control.write_text('EventSetWait_v2:0:xid=43')
        a.until("a program's Xid", lambda p: p['gpus'][0]['xid_errors_total'] == 1)
        a.health('the next look')
        assert told(a), 'an error of one program is trouble of the host'
        a.control.write_text('DeviceGetCount_v2:0:gone')
        a.until('their loss', lambda p: told(a) is False)
        assert len(a.metrics()['openvgpu_gpu_lost']) == 2
        a.control.write_text('')
        a.until('their return', lambda p: told(a))
        a.control.write_text('DeviceGetPowerUsage:0:hang')
        a.until('its silence', lambda p: status(a) == ['hangs'] and told(a) is False)


def test_doubts():
    """An error of the hardware that NVML tells makes vgpud check the device; a program's own mistake does not."""
    with vgpud(f'gpu-driver={SOFTCUDA}') as d:
        d.ok('assign-gpu', uuid=PLAYED, name='big')
        with Agent('h200', run=d.run, uuid=PLAYED) as a:
            a.until('a GPU', lambda p: p['gpus'])
            a.health('a look')
            a.control.write_text('EventSetWait_v2:0:xid=31')
            a.until("a program's Xid", lambda p: p['gpus'][0].get('xid_errors_total') == 1)
            a.health('the next look')
            assert not [e for e in d.ok('events') if e['kind'].startswith('device-')]
            a.control.write_text('EventSetWait_v2:0:xid=79')
            a.read_log(rb'device big: NVML: Xid 79; vgpud checks it')
            assert [(e['vm'], e['text']) for e in d.ok('events') if e['kind'] == 'device-suspect'] == [('big', 'NVML: Xid 79')]
            assert d.ok('list-devices')[1]['serves'], 'it works'


def test_hang_and_crash():
    with Agent('h200') as a:
        a.until('a GPU', lambda p: p['gpus'])
        old = a.child()
        a.control.write_text('DeviceGetPowerUsage:0:hang')
        began = time.monotonic()
        p = a.until('its silence', lambda p: not p['nvml']['answers'])
        assert 'hangs' in p['nvml']['error'] and p['gpus'] == [], p
        assert 'hangs' in a.ask('/healthz')
        a.control.write_text('')
        a.until('another child', lambda p: p['nvml']['answers'])
        assert time.monotonic() - began < LIMIT and a.child() != old and len(a.child()) == 1
        os.kill(a.child()[0], signal.SIGKILL)
        a.until('its end', lambda p: not p['nvml']['answers'] and 'ended' in p['nvml']['error'])
        a.until('another child', lambda p: p['nvml']['answers'])
        assert a.metrics()['openvgpu_nvml_process_starts'][None] == 3
        assert 'openvgpu_nvml_failed_calls' in a.metrics()


def cpu_seconds(pid):
    return int(pathlib.Path(f'/proc/{pid}/schedstat').read_text().split()[0]) / 1e9


def resident(pid):
    return int(re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{pid}/status').read_text())[1]) << 10


def test_cost():
    """Of eight GPUs once a second: what the agent's process for it takes, the fake library's own work included."""
    with Agent('h200', 8) as a:
        begin = a.until('samples', lambda p: p['nvml']['samples'] >= 2)['nvml']['samples']
        child, = a.child()
        cpu = cpu_seconds(child)
        end = a.until('more samples', lambda p: p['nvml']['samples'] >= begin + 6)['nvml']['samples']
        cpu = (cpu_seconds(child) - cpu) / (end - begin)
        print(f'   {1e3 * cpu:.2f} ms of CPU a sample, {100 * cpu:.3f} % of a core at 1 Hz; '
              f'resident: agent {resident(a.process.pid) / MIB:.1f} MiB, its child {resident(child) / MIB:.1f} MiB')
        if b'__asan_' not in AGENT.read_bytes():
            assert cpu <= 0.002, cpu
            assert resident(a.process.pid) <= 8 * MIB


def test_absent():
    if any(p for d in ('/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/lib64')
           for p in pathlib.Path(d).glob('libnvidia-ml.so.1')):
        print('skipped test_absent: this machine has NVML')
        return
    with Agent(None) as a:
        p = a.until('its word', lambda p: 'not installed' in p['nvml'].get('error', ''))
        assert p['gpus'] == [] and a.metrics()['openvgpu_nvml_up'] == {None: 0}
        assert [k for k, v in a.metrics()['openvgpu_nvml_status'].items() if v] == ['absent']
        a.read_log(rb'libnvidia-ml.so.1 is not installed')
        assert json.loads(a.ask('/healthz'))['status'] == 'down'  # no vgpud here; no GPU is no trouble


def main():
    for test in (test_values, test_page_size, test_mig, test_faults, test_healthy, test_hang_and_crash, test_cost, test_absent):
        test()
        print('ok', test.__name__, flush=True)


if __name__ == '__main__':
    main()
