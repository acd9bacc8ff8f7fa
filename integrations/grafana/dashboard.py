#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes openvgpu.json beside it, the dashboard that is shipped: a table of panels is easier to read, and to keep alike,
than four thousand lines of JSON. A test compares the two.

usage: dashboard.py [--check]   --check: write nothing, 1 if the file is another
"""
import json
import pathlib
import sys

TARGET = pathlib.Path(__file__).with_name('openvgpu.json')
SOURCE = {'type': 'prometheus', 'uid': '${datasource}'}
HOST = '{instance=~"$instance"}'
DEVICE = '{instance=~"$instance",device=~"$device"}'
VM = '{instance=~"$instance",vm=~"$vm"}'
# VMs carry no device of their own: openvgpu_vm_info says where each is placed.
PLACED = ' and on(instance, vm) openvgpu_vm_info{device=~"$device"}'
RATE = '[$__rate_interval]'


def vm_rate(metric):
    return f'rate({metric}{VM}{RATE}){PLACED}'


def vm_gauge(metric):
    return f'{metric}{VM}{PLACED}'


def quantiles(histogram):
    return [(f'histogram_quantile({q}, sum by (instance, vm, le) (rate({histogram}_bucket{VM}{RATE}){PLACED}))', f'{{{{vm}}}} p{q * 100:.0f}')
            for q in (0.5, 0.95, 0.99)]


def steps(*pairs):
    """(value, colour) from the first, which has no lower end."""
    return {'mode': 'absolute', 'steps': [{'value': v, 'color': c} for v, c in pairs]}


FILLING = steps((None, 'green'), (0.8, 'orange'), (0.95, 'red'))
TROUBLE = steps((None, 'green'), (1, 'red'))
NO_YES = [{'type': 'value', 'options': {'0': {'text': 'no', 'color': 'red', 'index': 0}, '1': {'text': 'yes', 'color': 'green', 'index': 1}}}]
RUNBOOK = 'What to do about each: /usr/share/doc/openvgpu-host/alerts.md, by the name of the alert.'


def target(expr, legend, ref, form='time_series', instant=False):
    t = {'datasource': SOURCE, 'expr': expr, 'legendFormat': legend, 'refId': ref, 'editorMode': 'code', 'range': not instant, 'format': form}
    return dict(t, instant=True) if instant else t


def panel(kind, title, what, targets, width, height, defaults, options, overrides=()):
    form = {'heatmap': 'heatmap', 'table': 'table'}.get(kind, 'time_series')
    return {'type': kind, 'title': title, 'description': what, 'datasource': SOURCE, 'gridPos': {'w': width, 'h': height},
            'targets': [target(e, legend, chr(65 + i), form, kind == 'table') for i, (e, legend) in enumerate(targets)],
            'fieldConfig': {'defaults': defaults, 'overrides': list(overrides)}, 'options': options}


def stat(title, what, expr, unit='none', mappings=None, thresholds=None, graph=False):
    defaults = {'unit': unit, 'min': 0, 'color': {'mode': 'thresholds'}, 'thresholds': thresholds or steps((None, 'text'))}
    if mappings:
        defaults['mappings'] = mappings
    return panel('stat', title, what, [(expr, '')], 4, 4, defaults,
                 {'reduceOptions': {'calcs': ['lastNotNull'], 'fields': '', 'values': False},
                  'colorMode': 'background' if mappings or thresholds else 'value', 'graphMode': 'area' if graph else 'none',
                  'textMode': 'auto', 'justifyMode': 'auto'})


def dashed(name):
    return {'matcher': {'id': 'byRegexp', 'options': name},
            'properties': [{'id': 'custom.lineStyle', 'value': {'fill': 'dash', 'dash': [6, 6]}}, {'id': 'custom.fillOpacity', 'value': 0},
                           {'id': 'custom.stacking', 'value': {'mode': 'none', 'group': 'A'}}]}


def series(title, what, targets, unit='none', width=8, stacked=False, thresholds=None, top=None, overrides=(), bars=False):
    custom = {'fillOpacity': 40 if stacked else 8, 'showPoints': 'never', 'spanNulls': False}
    if stacked:
        custom['stacking'] = {'mode': 'normal', 'group': 'A'}
    if bars:
        custom.update(drawStyle='bars', fillOpacity=60)
    if thresholds:
        custom['thresholdsStyle'] = {'mode': 'dashed'}
    defaults = {'unit': unit, 'min': 0, 'custom': custom}
    if top is not None:
        defaults['max'] = top
    if thresholds:
        defaults['thresholds'] = thresholds
    return panel('timeseries', title, what, targets, width, 8, defaults,
                 {'legend': {'showLegend': True, 'displayMode': 'table', 'placement': 'bottom', 'calcs': ['lastNotNull', 'max']},
                  'tooltip': {'mode': 'multi', 'sort': 'desc'}}, overrides)


def states(title, what, targets, words, width=8):
    """0 and 1 over time, by the words for them: (text, colour) each."""
    mapping = [{'type': 'value', 'options': {str(i): {'text': t, 'color': c, 'index': i} for i, (t, c) in enumerate(words)}}]
    return panel('state-timeline', title, what, targets, width, 8,
                 {'mappings': mapping, 'color': {'mode': 'thresholds'}, 'thresholds': steps((None, 'text')), 'custom': {'fillOpacity': 70, 'lineWidth': 0}},
                 {'mergeValues': True, 'showValue': 'never', 'alignValue': 'left', 'rowHeight': 0.9,
                  'legend': {'showLegend': True, 'displayMode': 'list', 'placement': 'bottom', 'calcs': []},
                  'tooltip': {'mode': 'single', 'sort': 'none'}})


def table(title, what, expr, hidden, width=12, height=7):
    return dict(panel('table', title, what, [(expr, '')], width, height, {'custom': {'align': 'auto'}}, {'showHeader': True, 'cellHeight': 'sm'}),
                transformations=[{'id': 'organize', 'options': {'excludeByName': dict.fromkeys(hidden, True), 'indexByName': {}, 'renameByName': {}}}])


def heatmap(title, what, expr):
    return panel('heatmap', title, what, [(expr, '{{le}}')], 12, 8, {},
                 {'calculate': False, 'yAxis': {'unit': 's'}, 'cellValues': {'unit': 'ops'}, 'legend': {'show': True}, 'showValue': 'never',
                  'color': {'mode': 'scheme', 'scheme': 'Oranges', 'steps': 64, 'reverse': False, 'exponent': 0.5, 'fill': 'dark-orange'},
                  'tooltip': {'mode': 'single', 'showColorScale': False, 'yHistogram': False}})


def ratio(part, whole):
    return f'{part} / ({whole} > 0)'


ROWS = [
    ('Is it well', [
        stat('vgpud answers', 'The agent got an answer from vgpud the last time.', f'min(openvgpu_up{HOST})', mappings=NO_YES),
        stat('Healthy', 'No trouble is known, of vgpud or of a GPU; what is: /healthz, vgpu-admin show-health.', f'min(openvgpu_healthy{HOST})', mappings=NO_YES),
        stat('Devices out of service', 'Drained, broken, or lost.', f'count(openvgpu_device_in_service{DEVICE} == 0) or vector(0)', thresholds=TROUBLE),
        stat('VMs in quarantine', 'After too many faults; vgpu-admin clear-quarantine.', f'sum({vm_gauge("openvgpu_vm_quarantined")}) or vector(0)', thresholds=TROUBLE),
        stat('Faults', 'Timeouts, crashes and protocol violations in the time shown.', f'sum(increase(openvgpu_vm_faults_total{VM}[$__range]){PLACED})',
             thresholds=steps((None, 'green'), (0.5, 'orange'))),
        stat('Checks worse', 'Of vgpu-doctor, than the day before.', f'sum(openvgpu_doctor_worse{HOST}) or vector(0)', thresholds=TROUBLE),
        stat('Device busy', 'Of all devices shown, 5 minutes.', f'avg(rate(openvgpu_device_busy_seconds_total{DEVICE}[5m]))', 'percentunit', graph=True),
        stat('VMs that wait now', 'For a device another one has.', f'sum(openvgpu_scheduler_waiting_vms{DEVICE})', graph=True),
        stat('Device memory reserved', 'By quotas; beyond it no VM finds room.',
             ratio(f'sum(openvgpu_device_memory_reserved_bytes{DEVICE})', f'sum(openvgpu_device_memory_bytes{DEVICE})'), 'percentunit', thresholds=FILLING),
        stat('Shared memory reserved', 'BAR2 of all VMs, of bar-budget.', ratio(f'sum(openvgpu_bar_reserved_bytes{HOST})', f'sum(openvgpu_bar_budget_bytes{HOST})'),
             'percentunit', thresholds=FILLING),
        stat('VMs', 'Registered.', f'sum(openvgpu_vms{HOST})'),
        stat('Programs', 'Executors that run.', f'sum(openvgpu_executors{HOST})'),
        table('Alerts', RUNBOOK, 'ALERTS{alertname=~"OpenVGPU.*",alertstate="firing",instance=~"$instance"}', ('Time', '__name__', 'alertstate', 'Value', 'job')),
        table('Devices', 'The device each name stands for.', f'openvgpu_device_info{DEVICE}', ('Time', '__name__', 'Value', 'job')),
    ]),
    ('Devices', [
        series('Busy', 'Somebody held the device.', [(f'rate(openvgpu_device_busy_seconds_total{DEVICE}{RATE})', '{{device}}')], 'percentunit', top=1),
        series('Waiting and holding', 'VMs that wait for it; programs that hold it: more than one when a unit overruns.',
               [(f'openvgpu_scheduler_waiting_vms{DEVICE}', '{{device}} waiting'), (f'openvgpu_scheduler_holders{DEVICE}', '{{device}} holders')]),
        series('Memory reserved', 'By quotas, of what the device has.',
               [(ratio(f'openvgpu_device_memory_reserved_bytes{DEVICE}', f'openvgpu_device_memory_bytes{DEVICE}'), '{{device}}')], 'percentunit', top=1, thresholds=FILLING),
        series('Work in flight', 'Units taken from rings and not ended, as executors claim.', [(f'openvgpu_device_units_in_flight{DEVICE}', '{{device}}')]),
        series('Hand-overs', 'Times the device changed hands.', [(f'rate(openvgpu_device_handovers_total{DEVICE}{RATE})', '{{device}}')], 'ops'),
        series('Mean wait for a hand-over', 'From asking to giving.',
               [(f'rate(openvgpu_device_handover_wait_seconds_total{DEVICE}{RATE}) / (rate(openvgpu_device_handovers_total{DEVICE}{RATE}) > 0)', '{{device}}')], 's'),
        series('Placed', 'VMs and running programs of each device.',
               [(f'openvgpu_device_vms{DEVICE}', '{{device}} VMs'), (f'openvgpu_device_executors{DEVICE}', '{{device}} programs')]),
        states('In service', 'Drained, broken or lost otherwise; losses are counted in device_losses_total.', [(f'openvgpu_device_in_service{DEVICE}', '{{device}}')],
               [('out', 'red'), ('in service', 'green')], 12),
        series('Losses', 'Times it was found broken.', [(f'increase(openvgpu_device_losses_total{DEVICE}{RATE})', '{{device}}')], width=12, bars=True),
    ]),
    ('Sharing, by VM', [
        series('Device time', 'What each got, stacked; the rest of 100 % of each device was idle.', [(vm_rate('openvgpu_vm_device_seconds_total'), '{{vm}}')],
               'percentunit', 12, stacked=True),
        series('Share asked and delivered', 'Delivered: device time. Dashed, asked: what its priority and weight promise when all have work.',
               [(vm_rate('openvgpu_vm_device_seconds_total'), '{{vm}}'), (vm_gauge('openvgpu_vm_share_ratio'), '{{vm}} asked')], 'percentunit', 12,
               overrides=[dashed('/ asked$/')]),
        series('Wait for the device', 'From asking for it to getting it; alert OpenVGPUQueueWaitHigh from 1 s.', quantiles('openvgpu_vm_queue_wait_seconds'), 's',
               thresholds=steps((None, 'green'), (1, 'red'))),
        series('Execution', 'A unit of work on the device, as executors claim.', quantiles('openvgpu_vm_execution_seconds'), 's'),
        series('End to end', 'A unit of work from submission to completion, as executors claim.', quantiles('openvgpu_vm_latency_seconds'), 's'),
        heatmap('Waits of all', 'Leases per bucket of wait.', f'sum by (le) (rate(openvgpu_vm_queue_wait_seconds_bucket{VM}{RATE}){PLACED})'),
        heatmap('End to end, all', 'Units of work per bucket of latency.', f'sum by (le) (rate(openvgpu_vm_latency_seconds_bucket{VM}{RATE}){PLACED})'),
        series('Time spent waiting', 'Of 100 %: who waits much and got little wants a reservation. Several programs of one VM wait each for themselves.',
               [(vm_rate('openvgpu_vm_wait_seconds_total'), '{{vm}}')], 'percentunit', 12),
        series('Delivered of asked', 'Below 1 is not unfair: who has no work asks for nothing.',
               [(f'{vm_rate("openvgpu_vm_device_seconds_total")} / on(instance, vm) (openvgpu_vm_share_ratio{VM} > 0)', '{{vm}}')], 'percentunit', 12),
    ]),
    ('Work, by VM', [
        series('Kernel launches', 'A second.', [(vm_rate('openvgpu_vm_launches_total'), '{{vm}}')], 'ops'),
        series('Units of work', 'Kernels, graphs and copies that ended, a second.', [(vm_rate('openvgpu_vm_latency_seconds_count'), '{{vm}}')], 'ops'),
        series('Bytes copied', 'Both directions.', [(vm_rate('openvgpu_vm_copied_bytes_total'), '{{vm}}')], 'Bps'),
        series('Memory used', 'Dashed: its quota.', [(vm_gauge('openvgpu_vm_memory_used_bytes'), '{{vm}}'), (vm_gauge('openvgpu_vm_quota_bytes'), '{{vm}} quota')], 'bytes',
               overrides=[dashed('/ quota$/')]),
        series('Memory used of the quota', 'Alert OpenVGPUMemoryNearQuota from 95 %.',
               [(ratio(f'openvgpu_vm_memory_used_bytes{VM}', f'openvgpu_vm_quota_bytes{VM}') + PLACED, '{{vm}}')], 'percentunit', top=1, thresholds=FILLING),
        series('Programs started', 'Executors, a second; alert OpenVGPUExecutorStorm from one in two seconds.', [(vm_rate('openvgpu_vm_executors_started_total'), '{{vm}}')], 'ops'),
    ]),
    ('Trouble, by VM', [
        series('Faults', 'Timeouts, crashes, protocol violations; vgpu-admin faults.', [(f'increase(openvgpu_vm_faults_total{VM}{RATE}){PLACED}', '{{vm}}')], bars=True),
        series('Unsupported calls', 'Answered with CUDA_ERROR_NOT_SUPPORTED; many programs only probe.',
               [(f'increase(openvgpu_vm_unsupported_calls_total{VM}{RATE}){PLACED}', '{{vm}}')], bars=True),
        states('Quarantine', 'Kept out after too many faults.', [(vm_gauge('openvgpu_vm_quarantined'), '{{vm}}')], [('in', 'green'), ('quarantined', 'red')]),
        series('Connections', 'Of the VM, or of local programs.', [(vm_gauge('openvgpu_vm_connections'), '{{vm}}')]),
        series('Channels in use', 'Of 32: one for each program.', [(vm_gauge('openvgpu_vm_channels_used'), '{{vm}}')], thresholds=steps((None, 'green'), (30, 'orange'), (32, 'red'))),
        series('Channels given up', 'Their memory could not be zeroed; alert OpenVGPUChannelRetired.', [(vm_gauge('openvgpu_vm_channels_retired_total'), '{{vm}}')]),
    ]),
    ('GPUs, by NVML', [
        series('Temperature', 'Of the GPU and of its memory.', [(f'openvgpu_gpu_temperature_celsius{HOST}', 'GPU {{gpu}}'), (f'openvgpu_gpu_memory_temperature_celsius{HOST}', 'GPU {{gpu}} memory')],
               'celsius', thresholds=steps((None, 'green'), (80, 'orange'), (90, 'red'))),
        series('Power', 'Dashed: what it may draw.', [(f'openvgpu_gpu_power_watts{HOST}', 'GPU {{gpu}}'), (f'openvgpu_gpu_power_limit_watts{HOST}', 'GPU {{gpu}} limit')], 'watt',
               overrides=[dashed('/ limit$/')]),
        series('Clocks', 'Of multiprocessors and memory.', [(f'openvgpu_gpu_sm_clock_hertz{HOST}', 'GPU {{gpu}}'), (f'openvgpu_gpu_memory_clock_hertz{HOST}', 'GPU {{gpu}} memory')], 'hertz'),
        series('Utilisation', 'Part of the last sample period in which a kernel ran, or memory was used.',
               [(f'openvgpu_gpu_utilization_ratio{HOST}', 'GPU {{gpu}}'), (f'openvgpu_gpu_memory_utilization_ratio{HOST}', 'GPU {{gpu}} memory')], 'percentunit', top=1),
        series('Memory used', 'Of its memory, by NVML: everybody\'s, not VMs\' alone.', [(ratio(f'openvgpu_gpu_memory_used_bytes{HOST}', f'openvgpu_gpu_memory_bytes{HOST}'), 'GPU {{gpu}}')],
               'percentunit', top=1, thresholds=FILLING),
        states('What holds its clocks down', 'Power, hardware, heat.',
               [(f'openvgpu_gpu_throttled_{why}{HOST}', 'GPU {{gpu}} ' + why.replace('_', ' ')) for why in
                ('power_cap', 'thermal', 'hardware_thermal', 'hardware', 'power_brake', 'sync_boost')], [('no', 'transparent'), ('held', 'orange')]),
        series('Memory errors', 'Not corrected ones are alert OpenVGPUGpuMemory.',
               [(f'increase(openvgpu_gpu_ecc_corrected_errors_total{HOST}{RATE})', 'GPU {{gpu}} corrected'),
                (f'increase(openvgpu_gpu_ecc_uncorrected_errors_total{HOST}{RATE})', 'GPU {{gpu}} not corrected'),
                (f'openvgpu_gpu_remapped_rows_uncorrected{HOST}', 'GPU {{gpu}} rows replaced'), (f'openvgpu_gpu_row_remap_failed{HOST}', 'GPU {{gpu}} row not replaced')]),
        series('Xid', 'What the driver reported. Those of the hardware are alert OpenVGPUGpuXid; the others programs make.',
               [(f'increase(openvgpu_gpu_hardware_xid_errors_total{HOST}{RATE})', 'GPU {{gpu}} hardware'),
                (f'increase(openvgpu_gpu_xid_errors_total{HOST}{RATE})', 'GPU {{gpu}} all')], bars=True),
        series('Links', 'Packets sent again or damaged on NVLink and PCI Express.',
               [(f'increase(openvgpu_gpu_nvlink_crc_errors_total{HOST}{RATE})', 'GPU {{gpu}} NVLink CRC'), (f'increase(openvgpu_gpu_nvlink_replay_errors_total{HOST}{RATE})', 'GPU {{gpu}} NVLink replays'),
                (f'increase(openvgpu_gpu_pcie_replays_total{HOST}{RATE})', 'GPU {{gpu}} PCIe replays')], bars=True),
        states('Lost', 'NVML answers no more for it; alert OpenVGPUGpuLost.', [(f'openvgpu_gpu_lost{HOST}', 'GPU {{gpu}}')], [('there', 'green'), ('lost', 'red')], 12),
        table('GPUs', 'uuid is that of the device above.', f'openvgpu_gpu_info{HOST}', ('Time', '__name__', 'Value', 'job'), height=8),
    ]),
    ('The watchers', [
        states('Who answers', 'vgpud the agent, NVML its process.', [(f'openvgpu_up{HOST}', '{{instance}} vgpud'), (f'openvgpu_nvml_up{HOST}', '{{instance}} NVML')],
               [('no', 'red'), ('yes', 'green')]),
        series('Looks at vgpud', 'How long each takes; those it did not answer.',
               [(f'openvgpu_agent_look_seconds{HOST}', '{{instance}}'), (f'rate(openvgpu_agent_look_failures_total{HOST}{RATE})', '{{instance}} failures a second')], 's'),
        table('Versions', 'They differ until an upgrade is complete.', f'openvgpu_build_info{HOST}', ('Time', '__name__', 'Value', 'job'), 8, 8),
        table('Checks that are not clean', 'Of vgpu-doctor: 1 warning, 2 failure, 3 unknown; vgpu-doctor explain ID.', f'openvgpu_doctor_check{HOST} > 0', ('Time', '__name__', 'job'), 24, 8),
    ]),
]


def variable(name, label, query):
    return {'name': name, 'label': label, 'type': 'query', 'datasource': SOURCE, 'query': {'query': query, 'refId': name}, 'refresh': 2,
            'includeAll': True, 'multi': True, 'allValue': '.*', 'current': {'text': 'All', 'value': '$__all'}, 'sort': 1}


def place(rows):
    """Panels in reading order, each with its number and place; a line of panels is as high as its highest."""
    out, y = [], 0
    for title, panels in rows:
        out.append({'type': 'row', 'title': title, 'collapsed': False, 'panels': [], 'gridPos': {'x': 0, 'y': y, 'w': 24, 'h': 1}})
        y, x, high = y + 1, 0, 0
        for p in panels:
            g = p['gridPos']
            if x + g['w'] > 24:
                x, y, high = 0, y + high, 0
            p['gridPos'] = {'x': x, 'y': y, 'w': g['w'], 'h': g['h']}
            x, high = x + g['w'], max(high, g['h'])
            out.append(p)
        y += high
    return [dict({'id': i + 1}, **p) for i, p in enumerate(out)]


def board():
    return {
        'uid': 'openvgpu', 'title': 'OpenVGPU', 'description': 'VMs that share a GPU: who gets what, and who waits.', 'tags': ['gpu', 'openvgpu'],
        'schemaVersion': 39, 'version': 2, 'editable': True, 'graphTooltip': 1, 'time': {'from': 'now-1h', 'to': 'now'}, 'refresh': '30s', 'timezone': 'browser',
        'annotations': {'list': []}, 'links': [],
        'templating': {'list': [
            {'name': 'datasource', 'label': 'Data source', 'type': 'datasource', 'query': 'prometheus'},
            variable('instance', 'Host', 'label_values(openvgpu_up, instance)'),
            variable('device', 'Device', 'label_values(openvgpu_device_info{instance=~"$instance"}, device)'),
            variable('vm', 'VM', 'label_values(openvgpu_vm_info{instance=~"$instance",device=~"$device"}, vm)')]},
        'panels': place(ROWS)}


def main():
    text = json.dumps(board(), indent=1) + '\n'
    if sys.argv[1:] == ['--check']:
        return 0 if TARGET.read_text() == text else f'{TARGET} is not what {sys.argv[0]} writes: run it'
    TARGET.write_text(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
