#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-agent as its clients meet it: pages, token, changes, events, bad requests, a vgpud that is gone."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'vgpud'))
import harness

BUILD = harness.BUILD
AGENT = BUILD / 'src/agent/vgpu-agent'
TOKEN = 'correct-horse-battery-staple'
LIMIT = 20  # seconds until anything asked for must be there
SANITIZED = bool(os.environ.get('VGPU_SANITIZED'))


class Agent:
    def __init__(self, run_dir, *options, token=TOKEN, address='127.0.0.1:0', host='127.0.0.1'):
        self.host = host
        self.dir = tempfile.TemporaryDirectory(prefix='agent.')
        path = pathlib.Path(self.dir.name) / 'token'
        path.write_text(token + '\n')
        path.chmod(0o600)
        words = [str(AGENT), '--run-dir', str(run_dir), '--listen', address, '--token-file', str(path), *options]
        if os.geteuid() == 0:
            words += ['--user', 'nobody']
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        self.log = ''
        while 'port ' not in self.log:
            line = self.process.stderr.readline()
            assert line, f'vgpu-agent ended with {self.process.wait()}: {self.log}'
            self.log += line
        self.port = int(re.search(r'port (\d+)', self.log)[1])

        self.answers = []  # every (method, path, status, type, body): test_document holds them to the OpenAPI document

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.log += self.process.stderr.read()
        self.process.stderr.close()
        assert self.process.wait(LIMIT) == 0, self.log
        self.dir.cleanup()

    def ask(self, path, method='GET', body=None, token=TOKEN, headers=None, port=None):
        c = http.client.HTTPConnection(self.host, port or self.port, timeout=LIMIT)
        h = dict(headers or {})
        if token:
            h['Authorization'] = 'Bearer ' + token
        if body is not None:
            h.setdefault('Content-Type', 'application/json')
        try:
            c.request(method, path, json.dumps(body) if isinstance(body, dict) else body, h)
            r = c.getresponse()
            answer = r.status, r.getheader('Content-Type'), r.read().decode()
            self.answers.append((method, path, *answer))
            return answer
        finally:
            c.close()

    def json(self, path, status=200, **more):
        got, kind, text = self.ask(path, **more)
        assert got == status and kind == 'application/json', (path, got, kind, text)
        return json.loads(text)

    def metrics(self):
        return families(self.ask('/metrics', headers={'Accept': 'application/openmetrics-text'})[2])

    def until(self, what, condition):
        harness.wait_for(what, condition, LIMIT)

    def raw(self, data, patience=None):
        """What the agent answers to these bytes, and nothing after them. patience: seconds after which we hang up on
        an agent that waits for the rest."""
        with socket.create_connection(('127.0.0.1', self.port), LIMIT) as s:
            s.settimeout(patience or LIMIT)
            out = b''
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while part := s.recv(65536):
                    out += part
            except TimeoutError:
                if not patience:
                    raise
            except OSError:
                pass  # it hung up on us: that is an answer
            return out


def vgpud(*options):
    # Its own user may change things, and here the agent is that user.
    return harness.Vgpud(*(['user=nobody', 'group=nogroup'] if os.geteuid() == 0 else []), *options)


SUFFIXES = {'counter': ['_total'], 'gauge': [''], 'histogram': ['_bucket', '_count', '_sum'], 'info': ['_info']}
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"')
# Who a family speaks of: the labels of each sample, apart from "le".
SUBJECTS = {'openvgpu_vm_': ['vm'], 'openvgpu_doctor_results': ['result'], 'openvgpu_doctor_check': ['id', 'severity'],
            'openvgpu_doctor_exit': ['mode'], 'openvgpu_device_': ['device'], 'openvgpu_scheduler_': ['device'],
            'openvgpu_gpu_mig_memory': ['gpu', 'uuid', 'mig', 'gpu_instance', 'compute_instance', 'mig_uuid'],
            'openvgpu_gpu': ['gpu', 'uuid'], 'openvgpu_agent_requests': ['code'], 'openvgpu_nvml_status': ['status'],
            'openvgpu_faults': ['kind']}


def labels_of(text, name, kind):
    """{label: value}, which must be those of the family."""
    labels = dict(LABEL.findall(text or ''))
    assert ','.join(f'{k}="{v}"' for k, v in labels.items()) == (text or ''), (name, text)
    expected = next((who for start, who in SUBJECTS.items() if name.startswith(start)), [])
    expected = expected + (['le'] if kind == 'histogram' and 'le' in labels else [])
    assert list(labels)[:len(expected)] == expected and (kind == 'info' or len(labels) == len(expected)), (name, text)
    return labels


def families(text):
    """An OpenMetrics page, checked line by line: {family: (type, {first label or None: value})}; a histogram's key is
    (first label, suffix and edge), that of a GPU's instance (GPU, instance)."""
    out, name = {}, None
    lines = text.split('\n')
    assert lines[-2:] == ['# EOF', ''], lines[-3:]
    for line in lines[:-2]:
        m = re.fullmatch(r'# TYPE ([a-z0-9_]+) (counter|gauge|histogram|info)', line)
        if m:
            name = m[1]
            assert name not in out, f'{name} twice'
            out[name] = (m[2], {})
        elif line.startswith('# UNIT '):
            assert line.split()[2] == name and name.endswith('_' + line.split()[3]), line
        elif line.startswith('# HELP '):
            assert line.split()[2] == name, line
        else:
            m = re.fullmatch(r'([a-z0-9_]+)(?:\{(.*)\})? (-?[0-9.e+-]+)', line)
            kind, samples = out[name]
            assert m and m[1] in {name + s for s in SUFFIXES[kind]}, line
            labels = labels_of(m[2], name, kind)
            key = next(iter(labels.values()), None)
            if kind == 'histogram':
                key = (key, m[1][len(name):] + labels.get('le', ''))
            elif 'mig' in labels:
                key = (key, labels['mig'])
            assert key not in samples, line
            samples[key] = float(m[3])
    return out


def check_histogram(samples, vm):
    """Cumulative up to +Inf, which is the count; the sum is one that the buckets allow. The count."""
    edges = sorted((float(k[1][7:]), v) for k, v in samples.items() if k[0] == vm and k[1].startswith('_bucket'))
    assert len(edges) == 10 and edges[-1][0] == float('inf'), edges
    counts = [v for _, v in edges]
    assert counts == sorted(counts) and counts[-1] == samples[(vm, '_count')], (counts, samples[(vm, '_count')])
    least = sum(edges[i - 1][0] * (counts[i] - counts[i - 1]) for i in range(1, len(edges)))
    assert least <= samples[(vm, '_sum')], (least, samples[(vm, '_sum')])
    return counts[-1]


def test_pages(d, a):
    d.ok('register-vm', name='one', quota=64 << 20)
    d.ok('register-vm', name='two', quota=32 << 20, priority='high')
    a.until('both VMs', lambda: len(a.json('/v1/vms')) == 2)
    assert [v['name'] for v in a.json('/v1/assignments')] == ['one', 'two']
    assert a.json('/v1/vms/two')['priority'] == 'high'
    assert a.json('/v1/usage')[0]['launches'] == 0
    assert a.json('/v1/connections') == [] and a.json('/v1/gpus')['gpus'] is not None
    c = a.json('/v1/capacity')
    assert c['device_memory_free'] == c['device_memory'] - (96 << 20), c
    assert a.json('/healthz')['status'] == 'ok'
    document = a.json('/v1/openapi.json')
    paths, either = document['paths'], [{'token': []}, {'certificate': []}]
    assert document['components']['securitySchemes'] == {'token': {'type': 'http', 'scheme': 'bearer'}, 'certificate': {'type': 'mutualTLS'}}
    assert paths['/v1/vms']['get']['security'] == either and 'security' not in paths['/metrics']['get']
    assert 'get' in paths['/v1/vms/{name}'] and 'delete' in paths['/v1/assignments/{name}'], paths
    assert a.json('/v1/vms/three', status=404)['error']


def test_metrics(d, a):
    status, kind, text = a.ask('/metrics', token=None, headers={'Accept': 'application/openmetrics-text; version=1.0.0'})
    assert status == 200 and kind.startswith('application/openmetrics-text'), kind
    f = families(text)
    assert f['openvgpu_up'] == ('gauge', {None: 1})
    assert f['openvgpu_vm_quota_bytes'][1] == {'one': 64 << 20, 'two': 32 << 20}
    assert f['openvgpu_vm_launches'][0] == 'counter'
    devices = d.ok('list-devices')
    assert f['openvgpu_device_memory_bytes'][1] == {v['name']: v['memory'] for v in devices} and len(devices) == 2
    reserved = f['openvgpu_device_memory_reserved_bytes'][1]
    assert reserved == {v['name']: v['memory_reserved'] for v in devices} and sum(reserved.values()) == 96 << 20, reserved
    # What the other metrics are joined with: VM to device, device to NVML's UUID, versions.
    rows = {v['name']: v for v in d.ok('list-vms')}
    info = [dict(LABEL.findall(line)) for line in re.findall(r'^openvgpu_vm_info\{(.*)\} 1$', text, re.M)]
    assert info == [{'vm': n, **{k: rows[n][k] for k in ('device', 'pool', 'priority')}} for n in ('one', 'two')], info
    info = [dict(LABEL.findall(line)) for line in re.findall(r'^openvgpu_device_info\{(.*)\} 1$', text, re.M)]
    version = d.ok('status')['version']
    assert info == [{'device': v['name'], 'uuid': v['uuid'], 'pci_bus_id': v['pci'], 'model': v['model'], 'backend': 'softcuda',
                     'driver_version': version, 'pool': v['pool'], 'policy': v['policy'], 'numa_node': ''} for v in devices], info
    assert [dict(LABEL.findall(line)) for line in re.findall(r'^openvgpu_build_info\{(.*)\} 1$', text, re.M)] == \
        [{'program': p, 'version': version} for p in ('vgpu-agent', 'vgpud')], text[:500]
    assert f['openvgpu_vm_quarantined'] == ('gauge', {'one': 0, 'two': 0})
    status, kind, text = a.ask('/metrics', token=None)
    assert status == 200 and kind.startswith('text/plain; version=0.0.4') and '# EOF' not in text
    assert '\n# TYPE openvgpu_vm_launches_total counter\n' in text
    launches = subprocess.run([str(harness.RUN), '--run-dir', str(d.run), '--tenant', 'one', '--', str(harness.SPINNER), '10', '20'],
                              env=d.environment(), capture_output=True, text=True, timeout=60)
    assert launches.returncode == 0, launches
    # The program has ended: what its executor measured stays with the VM.
    a.until('the launches', lambda: a.metrics()['openvgpu_vm_launches'][1]['one'] > 0 and not d.ok('status')['executors'])
    a.until('a look since', lambda: a.json('/v1/usage')[0]['latency_p50_seconds'])
    row = next(v for v in d.ok('list-vms') if v['name'] == 'one')
    units = row['units']
    a.until('a look at all of it', lambda: a.metrics()['openvgpu_vm_latency_seconds'][1][('one', '_count')] == units)
    f = a.metrics()
    assert max(f['openvgpu_device_busy_seconds'][1].values()) > 0
    assert check_histogram(f['openvgpu_vm_execution_seconds'][1], 'one') == units > 0
    assert check_histogram(f['openvgpu_vm_latency_seconds'][1], 'one') == units
    assert check_histogram(f['openvgpu_vm_queue_wait_seconds'][1], 'one') == row['leases'] > 0
    for what in ('queue_wait', 'execution', 'latency'):
        assert check_histogram(f[f'openvgpu_vm_{what}_seconds'][1], 'two') == 0
        one, two = a.json('/v1/usage')
        quantile = [one[f'{what}_p{q}_seconds'] for q in (50, 95, 99)]
        assert quantile == sorted(quantile) and 0 < quantile[0] < 60, (what, quantile)
        assert two[f'{what}_p50_seconds'] is None
    assert one['latency_p50_seconds'] >= 0.8 * one['execution_p50_seconds'], one


def test_token(d, a):
    document = a.json('/v1/openapi.json')['paths']
    for path, methods in document.items():
        for method in methods if path.startswith('/v1/') else ():
            status, _, text = a.ask(path.replace('{name}', 'one'), token=None, method=method.upper())
            assert status == 401 and 'bearer' in text, (method, path, status)
    for path in ('/v1/vms', '/v1/events', '/v1/nowhere', '/elsewhere'):
        for token in (None, 'wrong', TOKEN[:-1], TOKEN + 'x'):
            status, _, text = a.ask(path, token=token)
            assert status == 401 and 'bearer' in text, (path, token, status, text)
    assert a.ask('/healthz', token=None)[0] == 200
    assert a.json('/v1/nowhere', status=404)['error']
    assert a.json('/v1/vms', status=405, method='PUT')['error']


def test_changes(d, a):
    new = a.json('/v1/assignments', 201, method='POST', body={'name': 'three', 'quota': 16 << 20, 'priority': 'low'})
    assert new['name'] == 'three' and new['quota'] == 16 << 20
    again = a.json('/v1/assignments', 409, method='POST', body={'name': 'three'})
    assert 'three' in again['error'], again
    full = a.json('/v1/assignments', 409, method='POST', body={'name': 'four', 'quota': 1 << 50})
    assert 'memory' in full['error'] or 'quota' in full['error'], full
    for body in ('', '[]', '{', '{"quota": 5}', '{"name": 7}'):
        assert a.json('/v1/assignments', 400, method='POST', body=body)['error'], body
    assert 'longer' in a.json('/v1/assignments', 413, method='POST', body='x' * 5000)['error']
    assert 'application/json' in a.json('/v1/assignments', 415, method='POST', body='{}', headers={'Content-Type': 'text/plain'})['error']
    assert 'no such setting' in a.json('/v1/assignments', 400, method='POST', body={'name': 'five', 'wieght': 5})['error']
    assert a.ask('/v1/assignments/%ff', method='DELETE')[0] == 400
    with subprocess.Popen([str(harness.RUN), '--run-dir', str(d.run), '--tenant', 'three', '--', str(harness.SPINNER), '1000'],
                          env=d.environment(), stdout=subprocess.PIPE) as connected:
        assert connected.stdout.readline()
        used = a.json('/v1/assignments/three', 409, method='DELETE')
        assert 'three' in used['error'] and 'connected' in used['error'], used
        a.until('who is connected', lambda: [c['vm'] for c in a.json('/v1/connections')] == ['three'])
        connected.terminate()
    a.until('its end', lambda: not d.ok('connections'))
    a.json('/v1/assignments/three', method='DELETE')
    assert a.json('/v1/assignments/three', 404, method='DELETE')['error']
    a.until('three gone', lambda: 'three' not in [v['name'] for v in a.json('/v1/vms')])


def read_event(f):
    event = {}
    for line in f:
        line = line.decode().rstrip('\n')
        if not line and event:
            return event
        if not line or line.startswith(':'):
            continue  # a comment, which says that it is there
        key, _, value = line.partition(': ')
        event[key] = value
    raise AssertionError('the stream ended')


def number_of(event):
    """EPOCH-N, where the epoch is the broker's."""
    return int(event['id'].split('-')[1])


def first_after(d, a, number):
    last = f'{d.ok("status")["events_since_ms"]}-{number}'
    c = http.client.HTTPConnection('127.0.0.1', a.port, timeout=LIMIT)
    c.request('GET', '/v1/events', headers={'Authorization': 'Bearer ' + TOKEN, 'Last-Event-ID': last})
    event = read_event(c.getresponse())
    c.close()
    return number_of(event)


def test_events(d, a):
    c = http.client.HTTPConnection('127.0.0.1', a.port, timeout=LIMIT)
    c.request('GET', '/v1/events', headers={'Authorization': 'Bearer ' + TOKEN})
    r = c.getresponse()
    assert r.status == 200 and r.getheader('Content-Type') == 'text/event-stream'
    d.ok('quarantine-vm', name='two')
    while True:
        e = read_event(r)
        if json.loads(e['data'])['vm'] == 'two' and 'quarantine' in e['event']:
            break
    last = e['id']
    c.close()
    d.ok('clear-quarantine', name='two')
    c = http.client.HTTPConnection('127.0.0.1', a.port, timeout=LIMIT)
    c.request('GET', '/v1/events', headers={'Authorization': 'Bearer ' + TOKEN, 'Last-Event-ID': last})
    assert number_of(read_event(c.getresponse())) == number_of(e) + 1
    c.close()


BAD = {
    'not HTTP': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc' * 20,
    'a method nobody knows': b'FROBNICATE /metrics HTTP/1.1\r\nHost: a\r\n\r\n',
    'headers beyond any limit': b'GET /metrics HTTP/1.1\r\nHost: a\r\n' + b'X: ' + b'y' * 70000 + b'\r\n\r\n',
    'a request line beyond any limit': b'GET /' + b'a' * 70000 + b' HTTP/1.1\r\n\r\n',
    'a path that climbs': b'GET /v1/vms/../../etc/passwd HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ' + TOKEN.encode() + b'\r\n\r\n',
    'a length that lies': b'POST /v1/assignments HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n{}',
    'a negative length': b'POST /v1/assignments HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}',
    'a NUL in the path': b'GET /v1/vms/%00 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ' + TOKEN.encode() + b'\r\n\r\n',
    'bytes that are not UTF-8': b'DELETE /v1/assignments/%ff%fe HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ' + TOKEN.encode() + b'\r\n\r\n',
}


WORDS = [b'GET', b'POST', b'DELETE', b'HEAD', b' ', b'/', b'/v1/vms', b'/v1/assignments', b'/v1/assignments/one', b'/metrics',
         b'/v1/events', b'HTTP/1.1', b'HTTP/1.0', b'HTTP/9.9', b'\r\n', b'\r\n\r\n', b'\n', b'\r', b'\0', b'%00', b'%2e%2e%2f', b'%', b'?',
         b'a=b&', b'Host: x', b'Authorization: Bearer ', b'Authorization: Basic eDp5', b'Content-Length: ', b'0', b'5', b'-1',
         b'18446744073709551616', b'Transfer-Encoding: chunked', b'1\r\nx\r\n0\r\n\r\n', b'ffffffffffffffff\r\n', b'Connection: close',
         b'Expect: 100-continue', b'Last-Event-ID: ', b'{"name":', b'"one"', b'}', b'[' * 200, b'\xff\xfe', b'Y: ' + b'z' * 3000]


def random_request(number):
    """Numbered, so that one that fails can be sent again; the token is never in it."""
    r = random.Random(number)
    data = b''.join(r.choice(WORDS) for _ in range(r.randrange(1, 40)))
    if r.randrange(2):
        start = b'%s %s HTTP/1.1\r\nHost: x\r\n' % (r.choice(WORDS[:4]), r.choice(WORDS[6:11]))
        data = start + data + r.choice([b'', b'\r\n\r\n'])
    if r.randrange(4) == 0:
        data = bytearray(data)
        for _ in range(r.randrange(1, 8)):
            data[r.randrange(len(data))] = r.randrange(256)
    return bytes(data)


def test_random_requests(d, a, count=100):
    before = d.ok('list-vms')
    for number in range(count):
        out = a.raw(random_request(number), patience=0.2)
        head = out.split(b'\r\n', 1)[0]
        assert not out or re.match(rb'HTTP/1\.[01] (1\d\d|200|4\d\d|50[0-5])', head), (number, head)
        # Without the token only what is open on loopback says anything.
        assert b' 200' not in head or b'openvgpu_' in out or b'"status"' in out or b'Content-Length' in out, (number, out[:300])
        assert b'"quota_used"' not in out and b'id: 1\n' not in out, (number, out[:300])
        if number % 50 == 0:
            assert a.ask('/healthz')[0] == 200, number
    assert a.process.poll() is None
    assert [v['name'] for v in d.ok('list-vms')] == [v['name'] for v in before]


def test_bad_requests(d, a):
    for what, data in BAD.items():
        out = a.raw(data)
        assert not out or re.match(rb'HTTP/1\.[01] [45]\d\d ', out), (what, out[:200])
        assert b'root:' not in out
        assert a.ask('/healthz')[0] == 200, what


def cpu_seconds(pids):
    """By the scheduler's clock in ns, of every thread: ticks of 10 ms are too coarse for a process that rests."""
    return sum(int(t.joinpath('schedstat').read_text().split()[0]) for pid in pids
               for t in pathlib.Path(f'/proc/{pid}/task').iterdir()) / 1e9


def resident_kib(pid):
    return int(re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{pid}/status').read_text())[1])


def drip(a, start, more, meanwhile):
    """Sends start, then more a byte every 50 ms, until we are cut off: the
    seconds that took and what was read."""
    with socket.create_connection(('127.0.0.1', a.port), LIMIT) as s:
        since, out, sent = time.monotonic(), b'', 0
        s.sendall(start)
        while time.monotonic() - since < LIMIT:
            try:
                meanwhile()
                if select.select([s], [], [], 0.05)[0]:
                    part = s.recv(1)
                    if not part:
                        break
                    out += part
                if more:
                    s.sendall(more[sent % len(more):][:1])
                    sent += 1
            except (ConnectionResetError, BrokenPipeError):
                break
        return time.monotonic() - since, out


def test_dripping_clients(d):
    """One that sends, or reads, a byte now and then is cut off; one that follows events, or asks again and again on one
    connection, is not."""
    late = LIMIT / 2  # far below what dripping to the end would take
    auth = b'Authorization: Bearer ' + TOKEN.encode() + b'\r\n'
    with Agent(d.run, '--request-seconds', '1') as a:
        events = http.client.HTTPConnection('127.0.0.1', a.port, timeout=LIMIT)
        events.request('GET', '/v1/events', headers={'Authorization': 'Bearer ' + TOKEN})
        answer = events.getresponse()
        again = http.client.HTTPConnection('127.0.0.1', a.port, timeout=LIMIT)

        def ask_again():
            again.request('GET', '/healthz')
            assert again.getresponse().read()

        ask_again()
        port = again.sock.getsockname()[1]
        for what, start, more in (('nothing', b'', b''), ('a header', b'GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ', b'y'),
                                  ('empty lines', b'', b'\r\n'),
                                  ('a body', b'POST /v1/assignments HTTP/1.1\r\nHost: x\r\n' + auth + b'Content-Length: 4000\r\n\r\n', b'{'),
                                  ('chunks', b'POST /v1/assignments HTTP/1.1\r\nHost: x\r\n' + auth +
                                   b'Transfer-Encoding: chunked\r\n\r\n', b'1\r\nx\r\n')):
            took, out = drip(a, start, more, ask_again)
            print(f'cut off after {took:.1f} s of {what}: {out[:40]}')
            assert 0.9 < took < late or (out and took < late), (what, took, out)
        assert again.sock.getsockname()[1] == port
        number = max((e['number'] for e in d.ok('events', since=0)), default=0)
        d.ok('quarantine-vm', name='one')
        d.ok('clear-quarantine', name='one')
        while number_of(read_event(answer)) <= number:
            pass
        events.close()
        again.close()


def test_dripping_reader():
    """One that asks for more than sockets hold and reads a byte now and then does not keep the page."""
    with vgpud() as d, Agent(d.run, '--request-seconds', '1') as a:
        for i in range(64):
            d.ok('register-vm', name=f'instance-{i:08x}', quota=1 << 20)
        a.until('all of them', lambda: len(a.metrics().get('openvgpu_vm_quota_bytes', (0, {}))[1]) == 64)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(LIMIT)
            s.connect(('127.0.0.1', a.port))
            s.sendall(b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' * 40)
            since, size = time.monotonic(), 0
            while time.monotonic() - since < 2.5:
                select.select([], [], [], 0.05)
                size += len(s.recv(1))
            while True:
                try:
                    part = s.recv(65536)
                except OSError:
                    break
                if not part:
                    break
                size += len(part)
        whole = 40 * len(a.ask('/metrics')[2])
        print(f'a reader of a byte now and then got {size} bytes of {whole} before it was cut off')
        assert 0 < size < whole / 2, (size, whole)


def test_many_slow_clients(d, a):
    """A thousand hold their connections, some in the middle of an answer; others are answered at once, vgpud is asked
    no more often, and does not work more while they come and stay than without them."""
    brokers = d.children('vgpu-broker')
    assert len(brokers) == 1, brokers
    pids = [d.process.pid, *brokers]

    def looks():
        return a.metrics()['openvgpu_agent_looks'][1][None]

    alone = resident_kib(a.process.pid)
    slow, idle, since, before = [], cpu_seconds(pids), time.monotonic(), looks()
    a.until('three looks', lambda: looks() >= before + 3)
    idle, time_alone, looks_alone = cpu_seconds(pids) - idle, time.monotonic() - since, looks() - before
    assert idle > 0
    busy, since, before, longest, asked = cpu_seconds(pids), time.monotonic(), looks(), 0, 0
    for i in range(1000):
        s = socket.create_connection(('127.0.0.1', a.port), LIMIT, (f'127.0.0.{2 + i % 4}', 0)) # four addresses
        s.sendall(b'GET /metrics HT' if i % 2 else b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n')
        if i % 3 == 0:
            s.shutdown(socket.SHUT_WR)  # the rest never comes: libmicrohttpd keeps it until its timeout
        slow.append(s)
    while asked < 100 or looks() < before + 3:
        begin = time.monotonic()
        assert a.ask('/metrics')[0] == 200
        longest, asked = max(longest, time.monotonic() - begin), asked + 1
    busy, took, looked = cpu_seconds(pids) - busy, time.monotonic() - since, looks() - before
    print(f'agent: {alone} KiB alone, {resident_kib(a.process.pid)} KiB with 1000 slow clients, {1e3 * longest:.0f} ms for the '
          f'slowest of {asked} pages; vgpud: {1e3 * idle / time_alone:.2f} ms/s without them ({looks_alone:.0f} looks in '
          f'{time_alone:.1f} s), {1e3 * busy / took:.2f} ms/s with ({looked:.0f} in {took:.1f} s)')
    assert looked <= took + 2, (looked, took)
    # A question for each client would be a hundred times that.
    assert busy <= 2 * idle / looks_alone * (looked + 1) + 0.005 * took, (busy, looked, took, idle, looks_alone)
    assert longest < 5, 'a client holds a worker'
    for s in slow:
        s.close()


PAGE_MAX, RESIDENT_MAX = 400 << 10, 8192  # bytes, KiB: of 64 VMs and 4 devices
GPUS, AUDIT_PAGE = 24 << 10, 11 << 10  # bytes of it for four GPUs (gpus.py holds them to that) and for the last audit
NAME_MAX = 48  # characters of a VM's name, which most lines carry
DIGITS = 8  # every number of a page may grow by: a hundred million


def test_many_vms():
    """64 VMs of the longest names on four devices and as many events as are kept: the page and the agent stay small."""
    with vgpud('devices=4') as d, Agent(d.run, '--doctor-dir', '/nonexistent') as a:
        names = [f'instance-{i:08x}'.ljust(NAME_MAX, '-') for i in range(64)]
        assert not d.ask('register-vm', name=names[0] + '-')['ok']
        for i, name in enumerate(names):
            d.ok('register-vm', name=name, quota=1 << 20, weight=1 + i)
        for i in range(980):
            d.ok('quarantine-vm' if i % 2 == 0 else 'clear-quarantine', name=names[0])
        last = d.ok('events', since=0)[-1]['number']
        assert last > 1024, last
        a.until('the last event', lambda: first_after(d, a, last - 1) == last)  # the agent asks once a second
        a.until('all of them', lambda: len(a.metrics().get('openvgpu_vm_quota_bytes', (0, {}))[1]) == 64)
        assert len(a.metrics()['openvgpu_device_memory_bytes'][1]) == 4
        for headers in ({}, {'Accept': 'application/openmetrics-text'}):
            took = []
            for _ in range(20):
                since = time.monotonic()
                text = a.ask('/metrics', headers=headers)[2]
                took.append(time.monotonic() - since)
            size, samples = len(text.encode()), len(re.findall(r'^openvgpu_', text, re.M))
            print(f'64 VMs, 4 devices: {size / 1024:.0f} KiB, {samples} samples, {1e3 * sorted(took)[10]:.2f} ms (median of 20), '
                  f'at most {(size + DIGITS * samples) / 1024:.0f} KiB with long numbers; agent: {resident_kib(a.process.pid)} KiB')
            assert size + DIGITS * samples <= PAGE_MAX - GPUS - AUDIT_PAGE and sorted(took)[10] < 0.5, (size, samples, took)
        assert SANITIZED or resident_kib(a.process.pid) <= RESIDENT_MAX, resident_kib(a.process.pid)


def test_hung_vgpud(d, a):
    """A vgpud that hangs: changes end with 503 and the reason in seconds, however many there are; whoever reads is
    answered at once meanwhile; what comes after it is well again."""
    def change(i):
        since = time.monotonic()
        status, _, text = a.ask('/v1/assignments', method='POST', body={'name': f'hung-{i}', 'quota': 1 << 20})
        return status, json.loads(text).get('error', ''), time.monotonic() - since

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        broker, = d.children('vgpu-broker')
        os.kill(broker, signal.SIGSTOP)
        try:
            changes, longest, asked = [pool.submit(change, i) for i in range(40)], 0, 0
            while not all(c.done() for c in changes):
                since = time.monotonic()
                assert a.ask('/v1/openapi.json')[0] == 200
                longest, asked = max(longest, time.monotonic() - since), asked + 1
        finally:
            os.kill(broker, signal.SIGCONT)
        answers = [c.result() for c in changes]
    reasons = {}
    for status, text, took in answers:
        assert status == 503 and took < 10, (status, text, took)
        reasons[text] = reasons.get(text, 0) + 1
    print(f'40 changes, vgpud stopped: 503 after at most {max(t for _, _, t in answers):.1f} s, {reasons}; '
          f'{1e3 * longest:.0f} ms for the slowest of {asked} pages meanwhile')
    assert any('look before asking again' in r for r in reasons) and any('as many changes' in r for r in reasons), reasons
    assert asked > 5 and longest < 1, 'a change holds a worker'
    a.until('its return', lambda: a.ask('/healthz')[0] == 200)
    for v in d.ok('list-vms'):  # the one that was asked for when vgpud stopped may have been made
        if v['name'].startswith('hung-'):
            assert a.ask('/v1/assignments/' + v['name'], method='DELETE')[0] == 200
    assert a.ask('/v1/assignments', method='POST', body={'name': 'well', 'quota': 1 << 20})[0] == 201
    assert a.ask('/v1/assignments/well', method='DELETE')[0] == 200


def fits(schema, value, document, where=''):
    """A JSON schema as far as ours go; anything else in one is an error, or a check would be left out."""
    if '$ref' in schema:
        return fits(document['components']['schemas'][schema['$ref'].removeprefix('#/components/schemas/')], value, document, where)
    assert set(schema) <= {'type', 'required', 'properties', 'items', 'enum', 'minimum', 'maximum', 'minLength', 'maxLength', 'additionalProperties'}, schema
    kinds = {'object': dict, 'array': list, 'string': str, 'integer': int, 'number': (int, float), 'boolean': bool, 'null': type(None)}
    names = schema['type'] if isinstance(schema['type'], list) else [schema['type']]
    assert any(isinstance(value, kinds[n]) and (n == 'boolean') == isinstance(value, bool) for n in names), (where, names, value)
    assert value in schema.get('enum', [value]), (where, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        assert schema.get('minimum', value) <= value <= schema.get('maximum', value), (where, value)
    for key in schema.get('required', []):
        assert key in value, (where, key)
    properties = schema.get('properties', {})
    for key, v in value.items() if isinstance(value, dict) else []:
        assert key in properties or schema.get('additionalProperties', True), (where, key)
        if key in properties:
            fits(properties[key], v, document, f'{where}.{key}')
    for i, v in enumerate(value if isinstance(value, list) else []):
        fits(schema['items'], v, document, f'{where}[{i}]')


def test_document(d, a):
    """Everything this run was answered is in the OpenAPI document: path, method, status, type, and the body as its schema
    says; and of what the document promises no path is left that was not asked."""
    document = a.json('/v1/openapi.json')
    paths, seen = document['paths'], set()
    for ref in re.findall('"(#/components/schemas/[A-Za-z]+)"', json.dumps(document)):
        assert ref.split('/')[-1] in document['components']['schemas'], ref
    for method, path, status, kind, body in a.answers:
        path = path.partition('?')[0]
        name = path if path in paths else re.sub(r'^(/v1/(?:vms|assignments))/[^/]+$', r'\1/{name}', path)
        if method.lower() not in paths.get(name, {}):
            assert status in (401, 404, 405) and json.loads(body)['error'], (method, path, status)
            continue
        responses = paths[name][method.lower()]['responses']
        assert str(status) in responses, f'{method} {name}: {status} is not in the document'
        (promised, content), = responses[str(status)]['content'].items()
        if kind.startswith('application/json'):
            assert promised == 'application/json', (method, name, status, promised)
            fits(content['schema'], json.loads(body), document, f'{method} {name} {status}')
        else:
            assert kind.startswith((promised, 'application/openmetrics-text')), (kind, promised)
        seen.add((method.lower(), name, status))
    promised = {(m, p, int(s)) for p, ms in paths.items() for m, o in ms.items() for s in o['responses']}
    unseen = promised - seen
    print(f'{len(a.answers)} answers; of {len(promised)} in the document {len(seen)} were seen')
    # A stream is not read to its end here; 403 and 421 have tests of their own.
    assert not [u for u in unseen if u[1] != '/v1/events' and u[2] not in (403, 421)], unseen


AUDIT = """# HELP openvgpu_doctor_check Worst result of a check: 0 clean, 1 warning, 2 failure, 3 unknown.
# TYPE openvgpu_doctor_check gauge
openvgpu_doctor_check{id="IOMMU-001",severity="high"} 2
# HELP openvgpu_doctor_worse Results that are worse than in the audit before.
# TYPE openvgpu_doctor_worse gauge
openvgpu_doctor_worse 1
"""


def test_audit():
    """The last audit is on the page, as soon as there is one; a file that is no audit is not, whatever is in it."""
    bad = ('openvgpu_up 7\n', '# TYPE openvgpu_doctor_x counter\n', AUDIT + 'openvgpu_doctor_x{a="b} 1\n', AUDIT + '# EOF\n',
           AUDIT.replace('} 2', '} 2 5'), AUDIT.replace(' gauge', ' gauge\r'), AUDIT + 'x' * 70000, AUDIT + '# HELP openvgpu_doctor_y no type\n')
    with vgpud() as d, tempfile.TemporaryDirectory(prefix='agent.') as tmp, Agent(d.run, '--doctor-dir', tmp) as a:
        where = pathlib.Path(tmp)
        where.chmod(0o755)

        def write(text):
            (where / 'new').write_text(text)
            (where / 'new').rename(where / 'doctor.prom')

        assert not [n for n in a.metrics() if 'doctor' in n]
        for text in bad:
            write(AUDIT)
            a.until('the audit', lambda: a.metrics().get('openvgpu_doctor_worse') == ('gauge', {None: 1}))
            write(text)
            a.until('its end', lambda: 'doctor' not in a.ask('/metrics')[2])
            assert a.metrics()['openvgpu_up'][1] == {None: 1}
        (where / 'doctor.prom').unlink()
        os.mkfifo(where / 'doctor.prom')
        before = a.metrics()['openvgpu_agent_looks'][1][None]
        a.until('looks beside a pipe', lambda: a.metrics()['openvgpu_agent_looks'][1][None] > before + 1)
        (where / 'doctor.prom').unlink()
        (where / 'doctor.prom').symlink_to('/etc/passwd')
        a.until('another look', lambda: a.metrics()['openvgpu_agent_looks'][1][None] > before + 3)
    assert a.log.count('not a file of an audit') >= len(bad), a.log


def test_vgpud_gone(d, a):
    d.stop()
    a.until('its absence', lambda: a.ask('/healthz')[0] == 503)
    assert a.json('/healthz', status=503)['status'] == 'down'
    for path in ('vms', 'vms/one', 'capacity', 'usage', 'connections', 'assignments'):
        assert 'vgpud' in a.json('/v1/' + path, status=503)['error'], path
    assert a.json('/v1/assignments', 503, method='POST', body={'name': 'x'})['error']
    assert a.json('/v1/assignments/one', 503, method='DELETE')['error']
    f = a.metrics()
    assert f['openvgpu_up'][1] == {None: 0} and 'openvgpu_vm_launches' not in f
    d.start()
    a.until('its return', lambda: a.ask('/healthz')[0] == 200)
    assert len(a.json('/v1/vms')) == 2


def certificates(where):
    """An authority, a server, a client, a server's certificate shown by a client, and a stranger."""
    def run(*words):
        subprocess.run(['openssl', *map(str, words)], cwd=where, check=True, capture_output=True, timeout=60)

    for authority in ('ca', 'other'):
        run('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', f'/CN={authority}',
            '-keyout', f'{authority}.key', '-out', f'{authority}.pem')
    for name, authority, use in (('server', 'ca', 'serverAuth'), ('client', 'ca', 'clientAuth'), ('stranger', 'other', 'clientAuth')):
        run('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}', '-keyout', f'{name}.key', '-out', f'{name}.csr')
        (where / 'ext').write_text(f'extendedKeyUsage={use}\nsubjectAltName=IP:127.0.0.1\n')
        run('x509', '-req', '-in', f'{name}.csr', '-CA', f'{authority}.pem', '-CAkey', f'{authority}.key', '-CAcreateserial', '-days', '2',
            '-extfile', 'ext', '-out', f'{name}.pem')
    for f in where.iterdir():
        f.chmod(0o600)


def test_client_certificates():
    """One of the authority opens /v1; none, a stranger's, or a server's does not; the token still does."""
    with vgpud() as d, tempfile.TemporaryDirectory(prefix='agent.') as tmp:
        where = pathlib.Path(tmp)
        certificates(where)
        with Agent(d.run, '--tls-certificate', str(where / 'server.pem'), '--tls-key', str(where / 'server.key'),
                   '--tls-client-ca', str(where / 'ca.pem')) as a:
            for name, token, expected in (('client', None, 200), (None, None, 401), (None, TOKEN, 200), ('stranger', None, None),
                                          ('server', None, 401), (None, TOKEN + 'x', 401)):
                context = ssl.create_default_context(cafile=str(where / 'ca.pem'))
                if name:
                    context.load_cert_chain(where / f'{name}.pem', where / f'{name}.key')
                c = http.client.HTTPSConnection('127.0.0.1', a.port, timeout=LIMIT, context=context)
                try:
                    c.request('GET', '/v1/vms', headers={'Authorization': 'Bearer ' + token} if token else {})
                    status = c.getresponse().status
                except OSError:
                    status = None  # refused in the handshake
                finally:
                    c.close()
                assert status == expected or (expected is None and status == 401), (name, token, status)
    assert refused('--tls-client-ca', 'x')[0] == 2


def own_address():
    """One of the machine's that is not of the loopback, or None; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(('192.0.2.1', 9))
            return s.getsockname()[0]
        except OSError:
            return None


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(('::1', 0))
            return True
    except OSError:
        return False


def test_other_addresses():
    """What listens on anything but the loopback says nothing without the token, to clients on the loopback neither."""
    own = own_address()
    cases = [('0.0.0.0', '127.0.0.1', True), ('127.0.0.2', '127.0.0.2', False)] + ([(own, own, True)] if own else [])
    if has_ipv6():
        cases += [('[::]', '::1', True), ('[::1]', '::1', False)]
    with vgpud() as d:
        for address, host, closed in cases:
            with Agent(d.run, address=address + ':0', host=host) as a:
                for path in ('/metrics', '/healthz'):
                    assert a.ask(path, token=None)[0] == (401 if closed else 200), (address, path)
                    assert a.ask(path, token=TOKEN + 'x')[0] == (401 if closed else 200), (address, path)
                    assert a.ask(path)[0] == 200, (address, path)
                assert a.ask('/v1/vms', token=None)[0] == 401, address
                assert ('security' in a.json('/v1/openapi.json')['paths']['/metrics']['get']) == closed, address
    print('addresses tried: ' + ', '.join(c[0] for c in cases))


def refused(*words, token=None, mode=0o600):
    with tempfile.TemporaryDirectory(prefix='agent.') as tmp:
        path = pathlib.Path(tmp) / 'token'
        if token is not None:
            path.write_text(token)
            path.chmod(mode)
            words += ('--token-file', str(path))
        if os.geteuid() == 0 and '--user' not in words:
            words += ('--user', 'nobody')
        r = subprocess.run([str(AGENT), *words], capture_output=True, text=True, timeout=LIMIT)
        return r.returncode, r.stderr


def test_start():
    assert refused('--listen', 'nowhere') == (1, 'vgpu-agent: error: --listen: "nowhere" is not ADDRESS:PORT such as 127.0.0.1:9842\n')
    assert 'no numeric address' in refused('--listen', 'localhost:1')[1]
    assert '1 to 3600' in refused('--request-seconds', '0')[1] and '1 to 3600' in refused('--request-seconds', '9x')[1]
    assert 'at least 16' in refused(token='short')[1]
    assert 'chmod 600' in refused(token=TOKEN, mode=0o644)[1]
    assert 'one line' in refused(token=TOKEN + '\nmore\n')[1]
    assert refused('surplus')[0] == 2 and refused('--tls-key', 'x')[0] == 2
    with socket.create_server(('127.0.0.1', 0)) as s:
        rc, text = refused('--listen', f'127.0.0.1:{s.getsockname()[1]}')
        assert rc == 1 and 'in use' in text, text
    if os.geteuid() == 0:
        assert 'not as root' in subprocess.run([str(AGENT)], capture_output=True, text=True).stderr


def main():
    test_start()
    for test in (test_audit, test_client_certificates, test_other_addresses, test_many_vms, test_dripping_reader):
        test()
        print('ok', test.__name__, flush=True)
    with vgpud('devices=2') as d, Agent(d.run) as a:
        for test in (test_pages, test_metrics, test_token, test_changes, test_events, test_bad_requests,
                     test_random_requests, test_many_slow_clients, test_hung_vgpud, test_vgpud_gone, test_document):
            test(d, a)
            print('ok', test.__name__, flush=True)
        test_dripping_clients(d)
        print('ok test_dripping_clients', flush=True)


if __name__ == '__main__':
    main()
