#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules, dashboard and runbook against Prometheus' own tools and the live pages of an agent.

usage: observability.py FAKE-NVML CAPTURE-FOLDER   (those of tests/nvml)

The dashboard, beside Grafana's schema (dashboard_schema.py): every expression is one promtool can parse, every metric exists
on the live page, panels do not overlap, ids and names are unique, and it is what its table of panels says.
"""
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'agent'))
sys.path.insert(0, str(HERE.parent / 'vgpud'))
import agent

SOURCE = HERE.parent.parent
RULES = SOURCE / 'integrations/prometheus'
DOCTOR = agent.BUILD / 'src/doctor/vgpu-doctor'
DASHBOARD = SOURCE / 'integrations/grafana/openvgpu.json'
OPENMETRICS = {'Accept': 'application/openmetrics-text; version=1.0.0'}


def promtool(*words, stdin=None):
    r = subprocess.run(['promtool', *map(str, words)], input=stdin, capture_output=True, text=True, timeout=240, cwd=RULES)
    assert r.returncode == 0, (words, r.stdout + r.stderr)
    return r.stdout + r.stderr


def alerts():
    return re.findall(r'- alert: (\w+)', (RULES / 'openvgpu.alerts.yml').read_text())


def test_rules():
    promtool('check', 'rules', 'openvgpu.recording.yml', 'openvgpu.alerts.yml')
    promtool('test', 'rules', 'openvgpu.test.yml')
    fired = set(re.findall(r'alertname: (\w+)\n +exp_alerts:\n', (RULES / 'openvgpu.test.yml').read_text()))
    assert set(alerts()) == fired, set(alerts()) ^ fired


def test_runbook():
    sections = re.findall(r'^## (\w+)\n\n.+?\n\n(?:\* .+\n)+', (SOURCE / 'docs/alerts.md').read_text(), re.M)
    assert sections == alerts(), set(sections) ^ set(alerts())


def expressions(board):
    """[(where, expression)], Grafana's own variables replaced."""
    out = [(p['title'], t['expr']) for p in board['panels'] for t in p.get('targets', [])]
    return [(w, re.sub(r'\$__(rate_interval|range)', '5m', re.sub(r'\$(instance|vm|device)\b', '.*', e))) for w, e in out]


def check_expressions(all_of_them):
    groups = {'groups': [{'name': 'g', 'rules': [{'record': f'x:{i}', 'expr': e} for i, (_, e) in enumerate(all_of_them)]}]}
    with tempfile.NamedTemporaryFile('w', suffix='.yml') as f:
        json.dump(groups, f)  # JSON is YAML
        f.flush()
        promtool('check', 'rules', f.name)


QUESTIONS = [f'vm_{q}_seconds_bucket' for q in ('queue_wait', 'execution', 'latency')] + [f'histogram_quantile({q}' for q in (0.5, 0.95, 0.99)] + [
    'vm_device_seconds', 'vm_share_ratio', 'vm_launches', 'vm_copied_bytes', 'vm_memory_used', 'vm_quota', 'vm_faults', 'vm_unsupported', 'scheduler_waiting',
    'scheduler_holders', 'device_busy', 'vm_channels_used', 'gpu_temperature', 'gpu_power', 'gpu_sm_clock', 'gpu_throttled', 'gpu_utilization',
    'gpu_ecc_uncorrected', 'gpu_remapped_rows', 'gpu_xid', 'gpu_nvlink', 'doctor_check']


def test_dashboard():
    subprocess.run([sys.executable, SOURCE / 'integrations/grafana/dashboard.py', '--check'], check=True)
    board = json.loads(DASHBOARD.read_text())
    for what in QUESTIONS:  # what an operator asks of each VM and device is on it
        assert what in DASHBOARD.read_text(), what
    ids = [p['id'] for p in board['panels']]
    assert len(ids) == len(set(ids)) > 10 and board['schemaVersion'] >= 36 and board['uid'] and board['title']
    taken = set()
    for p in board['panels']:
        g = p['gridPos']
        cells = {(x, y) for x in range(g['x'], g['x'] + g['w']) for y in range(g['y'], g['y'] + g['h'])}
        assert g['x'] + g['w'] <= 24 and not cells & taken, p['title']
        taken |= cells
        assert p['type'] == 'row' or (p['targets'] and p['type'] in ('stat', 'timeseries', 'heatmap', 'table', 'state-timeline')), p['title']
        refs = [t['refId'] for t in p.get('targets', [])]
        assert len(refs) == len(set(refs)), p['title']
    names = {v['name'] for v in board['templating']['list']}
    used = set(re.findall(r'\$\{?([a-z]+)', DASHBOARD.read_text()))
    assert used == names, used ^ names
    check_expressions(expressions(board))


def metric_names(text):
    return set(re.findall(r'\b(openvgpu_[a-z0-9_]+)', text)) - recorded()


def recorded():
    return {m.split(':')[1] for m in re.findall(r'[a-z]+:openvgpu_[a-z_]+:', (RULES / 'openvgpu.recording.yml').read_text())}


def check_page(text, open_text):
    """Prometheus' tool takes it, and both parsers: the families of the one, the samples of the other."""
    import prometheus_client.openmetrics.parser
    import prometheus_client.parser
    print(promtool('check', 'metrics', stdin=text), end='')
    return ({f.name for f in prometheus_client.openmetrics.parser.text_string_to_metric_families(open_text)},
            {s.name for f in prometheus_client.parser.text_string_to_metric_families(text) for s in f.samples})


def gpu_names():
    """What a page has where there are GPUs; agent/gpus holds the pages to it."""
    table = (SOURCE / 'src/nvml/values.def').read_text()
    return {'openvgpu_gpu_info'} | {'openvgpu_gpu_' + k for k in re.findall(r'^V\(\w+, "(\w+)"', table, re.M)}


def test_gpu_pages():
    """Of GPUs that are well, of MIG devices, of one that is lost: every page is one that Prometheus and the strict parser take."""
    spec = importlib.util.spec_from_file_location('agent_gpus', HERE.parent / 'agent/gpus.py')  # tests/vgpud has one, too
    gpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpus)
    for capture, count, fault, least in (('h200', 8, '', 40), ('h200-mig', 1, '', 20), ('h200', 2, 'DeviceGetCount_v2:0:gone=0', 40)):
        with gpus.Agent(capture, count) as a:
            a.until('GPUs', lambda p: len(p['gpus']) == count)
            a.control.write_text(fault)
            if fault:
                a.until('the loss', lambda p: p['gpus'][0].get('lost') == 1)
            strict, names = check_page(a.ask('/metrics'), a.ask('/metrics', **OPENMETRICS))
        shown = {n for n in names if n.startswith('openvgpu_gpu_') and not n.startswith('openvgpu_gpu_mig_memory_')}
        assert not shown - gpu_names(), shown - gpu_names()
        assert len(strict) >= least and 'openvgpu_nvml_status' in strict, (len(strict), strict)
        assert ('openvgpu_gpu_mig_memory_used_bytes' in names) == (capture == 'h200-mig')


def test_live_page():
    with agent.vgpud() as d, agent.Agent(d.run) as a:
        d.ok('register-vm', name='one', quota=16 << 20)
        a.until('the VM', lambda: 'one' in a.metrics().get('openvgpu_vm_quota_bytes', (0, {}))[1])
        text, open_text = a.ask('/metrics')[2], a.ask('/metrics', headers=OPENMETRICS)[2]
    strict, names = check_page(text, open_text)
    assert len(strict) > 25 and len(names) > len(strict), (len(strict), len(names))
    names |= gpu_names() | {'openvgpu_doctor_worse', 'openvgpu_doctor_timestamp_seconds', 'openvgpu_doctor_check'}  # test_audit
    for what in (RULES / 'openvgpu.recording.yml', RULES / 'openvgpu.alerts.yml', DASHBOARD):
        missing = metric_names(what.read_text()) - names
        assert not missing, f'{what.name} asks for what no page has: {missing}'


def test_audit():
    """From a host that got worse to the alert: two audits by vgpu-doctor, the agent's page, Prometheus' rule."""
    with tempfile.TemporaryDirectory() as tmp:
        tree, left = pathlib.Path(tmp) / 'host', pathlib.Path(tmp) / 'left'
        (tree / 'proc').mkdir(parents=True)
        left.mkdir()
        pathlib.Path(tmp).chmod(0o755)
        for line in ('root=/dev/sda', 'root=/dev/sda pcie_acs_override=downstream,multifunction'):
            (tree / 'proc/cmdline').write_text(line + '\n')
            r = subprocess.run([DOCTOR, '--root', tree, '--mode', 'passthrough', '--write-status', left, '--alert'], capture_output=True, text=True)
        worse = len(re.findall('^vgpu-doctor: worse ', r.stderr, re.M))
        assert worse > 0, r
        with agent.vgpud() as d, agent.Agent(d.run, '--doctor-dir', str(left)) as a:
            a.until('the audit', lambda: a.metrics().get('openvgpu_doctor_worse') == ('gauge', {None: worse}))
            text, open_text = a.ask('/metrics')[2], a.ask('/metrics', headers=OPENMETRICS)[2]
        check_page(text, open_text)
        rules = {'rule_files': [str(RULES / 'openvgpu.alerts.yml')], 'evaluation_interval': '1m', 'tests': [{
            'interval': '1m', 'input_series': [{'series': 'openvgpu_doctor_worse{instance="h"}', 'values': f'0x5 {worse}x5'}],
            'alert_rule_test': [{'eval_time': '8m', 'alertname': 'OpenVGPUAuditWorse', 'exp_alerts': [{
                'exp_labels': {'instance': 'h', 'severity': 'warning'}, 'exp_annotations': {
                    'summary': f'{worse} checks of vgpu-doctor on h are worse than the day before',
                    'description': 'The daily audit found what it had not found before: an update, a changed setting, a broken part.',
                    'runbook': '/usr/share/doc/openvgpu-host/alerts.md, OpenVGPUAuditWorse'}}]}]}]}
        (pathlib.Path(tmp) / 'test.yml').write_text(json.dumps(rules))
        promtool('test', 'rules', pathlib.Path(tmp) / 'test.yml')


def main():
    if not shutil.which('promtool'):
        print('promtool is not installed (Debian: prometheus)')
        return 77
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        print('prometheus_client is not installed (Debian: python3-prometheus-client)')
        return 77
    for test in (test_rules, test_runbook, test_dashboard, test_live_page, test_gpu_pages, test_audit):
        test()
        print('ok', test.__name__, flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
