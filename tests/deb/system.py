#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The packages in a Debian whose systemd is process 1: installed as the operator's guide says, used, broken, upgraded, removed.

Fails when a unit does not start or cannot do its work inside its own hardening, when something is not kept over a restart,
when what was killed does not come back, when an upgrade ends a program, or when removal or purge leave what they should not.
What this kind of machine does not show: machine.py.

usage: system.py [SUITE]    a Debian other than this one's
"""
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

BUILD = pathlib.Path(os.environ['VGPU_BUILD'])
DOC = pathlib.Path(__file__).resolve().parents[2] / 'docs/operating.md'
PROGRAMS = ['tests/conformance/conf-launch', 'tests/conformance/conf-memory', 'tests/vgpud/soak_worker']
PAUSE_MAX_S = 2.0
UNITS = ('vgpud.service', 'vgpu-agent.service', 'vgpu-doctor.timer')
# Files that dpkg, systemd and the loader write about any package, below the root.
FOREIGN = ('var/lib/dpkg', 'var/lib/apt', 'var/lib/systemd', 'var/cache', 'var/log', 'var/tmp', 'tmp', 'run', 'root', 'test', 'proc', 'sys',
           'dev', 'etc/ld.so.cache', 'etc/.pwd.lock', 'etc/mtab', 'etc/machine-id')


def skip(why):
    print('skipped:', why)
    sys.exit(77)


def http(m, path):
    """Status and body, by a plain connection from inside."""
    text = m.sh(f'exec 3<>/dev/tcp/127.0.0.1/9842; printf "GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n" >&3; cat <&3')
    head, _, body = text.partition('\r\n\r\n') if '\r\n\r\n' in text else text.partition('\n\n')
    return int(head.split()[1]), body


def files(root):
    """Every file's name and, where it is one of the users', its content."""
    out = set()
    for folder, dirs, names in os.walk(root):
        below = os.path.relpath(folder, root)
        dirs[:] = [d for d in dirs if not os.path.normpath(f'{below}/{d}').startswith(FOREIGN)]
        for n in names + dirs:
            name = os.path.normpath(f'{below}/{n}')
            if not name.startswith(FOREIGN):
                out.add(name)
    for name in ('passwd', 'group', 'shadow', 'gshadow', 'subuid', 'subgid'):
        p = root / 'etc' / name
        out |= {f'etc/{name}: {line}' for line in (p.read_text().splitlines() if p.exists() else [])}
    return {n for n in out if not re.fullmatch(r'etc/(passwd|group|shadow|gshadow|subuid|subgid)-', n)}


def others(m):
    """Files of the packages that are installed besides ours."""
    names = m.sh('cat $(ls /var/lib/dpkg/info/*.list | grep -v openvgpu)').splitlines()
    return {re.sub(r'^(lib|lib64|bin|sbin)/', r'usr/\1/', n.lstrip('/')) for n in names}


def guide(section):
    """Commands of a section of the operator's guide, without their comments."""
    text = re.search(rf'^### {re.escape(section)}\n(.*?)^##', DOC.read_text(), re.S | re.M)[1]
    block = re.findall(r'^```\n(.*?)^```', text, re.S | re.M)
    return [line.split(' #')[0].strip() for part in block for line in part.splitlines() if line.strip()]


def prop(m, unit, name):
    return m.sh(f'systemctl show -P {name} {unit}').strip()


def active(m):
    return m.sh(f'systemctl is-active {" ".join(UNITS)}', status=(0, 3, 4)).split()


def broker(m):
    """Its number as the machine counts."""
    return int(m.sh('grep -l ^vgpu-broker /proc/[0-9]*/comm 2>/dev/null', status=(0, 2)).split('/')[2])


class Journal:
    """What a unit says from now on."""

    def __init__(self, m, unit):
        self.m, self.unit = m, unit
        self.cursor = re.search(r'cursor: (.*)', m.sh('journalctl -n 0 --show-cursor'))[1]

    def wait(self, pattern):
        p = self.m.spawn(f"echo $$; exec timeout 60 journalctl -f -o cat -u {self.unit} --after-cursor='{self.cursor}'")
        pid = p.stdout.readline().strip()
        seen = []
        for line in p.stdout:
            seen.append(line)
            if re.search(pattern, line):
                break
        self.m.sh(f'kill {pid} || true')
        p.communicate(timeout=60)
        assert seen and re.search(pattern, seen[-1]), seen


class Worker:
    """A program of the tenant, computing without end and checking what it gets."""

    def __init__(self, m, tenant):
        self.m, self.lines, self.more = m, [], threading.Condition()
        self.p = m.spawn(f'exec vgpu-run --tenant {tenant} -- /test/soak_worker')
        # Always read: it must not wait for a full pipe.
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.rounds()

    def read(self):
        for line in self.p.stdout:
            with self.more:
                self.lines.append(line)
                self.more.notify_all()

    def rounds(self):
        """Waits until it has done some more."""
        with self.more:
            done = len(self.lines) + 2
            assert self.more.wait_for(lambda: len(self.lines) >= done, 60), f'it does not go on: {self.lines[-3:]}'
            assert self.lines[-1].startswith('round'), self.lines[-3:]

    def signal(self, name):
        self.m.sh(f'kill -{name} $(grep -l ^soak_worker /proc/[0-9]*/comm 2>/dev/null | cut -d/ -f3)')

    def wait(self):
        """Its exit status and its last words."""
        self.p.wait(60)
        self.reader.join(60)
        return self.p.returncode, ''.join(self.lines[-5:])

    def end(self):
        """Seconds of its longest pause."""
        self.signal('TERM')
        status, out = self.wait()
        assert status == 0, out
        return float(re.search(r'longest pause ([\d.]+) ms', out)[1]) / 1e3


def case_install(m):
    """The guide's own commands, in a folder with the packages where it says."""
    for line in guide('1. The host'):
        if line == 'make deb' or line.startswith(('vgpu-admin scan', 'vgpu-admin assign')):
            continue  # it is made; there is no GPU
        shown = m.sh('cd /test && ' + line, status=range(4) if line.startswith('vgpu-doctor') else (0,))
    assert active(m) == ['active'] * 3, m.sh('systemctl status vgpud vgpu-agent --no-pager -l', status=range(256))
    assert m.sh(f'systemctl is-enabled {" ".join(UNITS)}').split() == ['enabled'] * 3
    assert 'no GPU is used' in shown and re.search(r'What next:.*scan-gpus, assign-gpu.*register-vm', shown), shown
    refused = m.sh('vgpu-admin assign-gpu 0', status=range(1, 256))
    assert len(refused.splitlines()) == 1 and 'NVML' in refused, refused
    for unit in UNITS[:2]:
        assert prop(m, unit, 'Type') == 'notify', unit


def case_register(m):
    for line in guide("2. The machine's share"):
        m.sh(line)
    assert m.path('/run/openvgpu/vm/vm1.sock').is_socket()
    m.sh('vgpu-admin remove-vm vm1')


def case_tenant(m):
    m.sh('vgpu-admin register-vm t1 --quota 256M')
    shown = ''.join(m.sh(f'vgpu-run --tenant t1 -- /test/conf-{name}') for name in ('launch', 'memory'))
    assert len(re.findall(r'^# (\d+) of \1 ok', shown, re.M)) == 2, shown


def status_of(m, pid):
    return dict(line.split(':\t', 1) for line in m.path(f'/proc/{pid}/status').read_text().splitlines() if ':\t' in line)


def namespaces(m, pid):
    return {n: m.sh(f'readlink /proc/{pid}/ns/{n}').strip() for n in ('mnt', 'net', 'pid', 'ipc', 'uts')}


def case_walls(m):
    """What the unit forbids and what the programs give up by themselves are both there at work."""
    worker = Worker(m, 't1')
    keeper = prop(m, 'vgpud.service', 'MainPID')
    pids = m.sh('cat /sys/fs/cgroup/system.slice/vgpud.service/cgroup.procs').split()
    names = {pid: m.path(f'/proc/{pid}/comm').read_text().strip() for pid in pids}
    executors = [p for p, n in names.items() if n.startswith('vgpu-exec')]
    assert executors and 'vgpu-broker' in names.values(), names
    mine, keepers = namespaces(m, 1), namespaces(m, keeper)
    assert mine['mnt'] != keepers['mnt'] and mine['net'] != keepers['net'], (mine, keepers)
    for pid in executors:
        s, own = status_of(m, pid), namespaces(m, pid)
        assert s['Seccomp'] == '2' and s['NoNewPrivs'] == '1' and int(s['CapEff'], 16) == 0, s
        assert '0' not in s['Uid'].split() and all(own[n] != keepers[n] for n in own if n != 'mnt'), (s['Uid'], own, keepers)
    s = status_of(m, keeper)
    assert s['NoNewPrivs'] == '1' and s['Seccomp'] == '2', s
    for where in ('/usr/x', '/etc/x', '/var/lib/x'):
        m.sh(f'nsenter -t {keeper} -m -r touch {where}', status=(1,))
    complaints = m.sh('journalctl -o cat -p warning _PID=1 | grep -E "vgpu|openvgpu" || true')
    assert complaints == '', complaints
    worker.end()
    return f'{len(executors)} executors'


def case_agent(m):
    deadline = time.monotonic() + 60
    while True:  # the page is of the agent's last look at vgpud, a second old on an idle machine
        status, body = http(m, '/metrics')
        assert status == 200 and re.search(r'^openvgpu_up 1$', body, re.M), body[:2000]
        if 'vm="t1"' in body:
            break
        assert time.monotonic() < deadline, body[:2000]
    status, body = http(m, '/healthz')
    assert status == 200 and '"ok"' in body, body
    status, body = http(m, '/v1/capacity')
    assert status in (401, 403), (status, body)


def case_doctor(m):
    """Daily audit: able to see the machine; a new failure is an error in the journal."""
    m.sh('systemctl start vgpu-doctor.service')
    report = json.loads(m.path('/var/lib/openvgpu-doctor/report.json').read_text())
    blind = [r['id'] for r in report['results'] if re.search('not implemented|not permitted|Permission denied', json.dumps(r))]
    assert blind == [], [r for r in report['results'] if r['id'] in blind][:3]
    assert m.sh('journalctl -q -o cat -p err -u vgpu-doctor') == ''
    m.sh('chmod 777 /var/lib/openvgpu && systemctl start vgpu-doctor.service; chmod 700 /var/lib/openvgpu')
    told = m.sh('journalctl -q -o cat -p err -u vgpu-doctor').splitlines()
    assert len(told) == 1 and re.match(r'worse .*EXPO-009', told[0]), told
    assert 'openvgpu_doctor_worse 1\n' in m.path('/var/lib/openvgpu-doctor/doctor.prom').read_text()
    m.sh('systemctl start vgpu-doctor.service')
    counts = {}
    for r in report['results']:
        counts[r['result']] = counts.get(r['result'], 0) + 1
    return str(counts)


def case_journal(m):
    m.sh('vgpu-run --tenant nobody -- /test/conf-launch', status=range(1, 256))
    entries = [json.loads(line) for line in m.sh('journalctl -q -o json -u vgpud.service _SYSTEMD_UNIT=vgpud.service').splitlines()]
    assert {e['SYSLOG_IDENTIFIER'] for e in entries} == {'vgpud'}, entries
    assert {e['_COMM'] for e in entries} >= {'vgpud', 'vgpu-broker'}, entries
    by_priority = {e['PRIORITY'] for e in entries}
    assert by_priority >= {'6', '4'}, by_priority
    refused = [e for e in entries if 'tenant "nobody" is not registered' in e['MESSAGE']]
    assert refused and refused[-1]['PRIORITY'] == '4' and not refused[-1]['MESSAGE'].startswith('<'), refused


def kept(m, name):
    """A limit changed now is there after a restart: the state is read and written."""
    m.sh(f'vgpu-admin register-vm {name} --quota 64M')
    m.sh('systemctl restart vgpud')
    assert re.search(rf'\b{name}\b', m.sh('vgpu-admin list-vms')), f'{name} is forgotten'


def case_restart(m):
    kept(m, 'r1')
    kept(m, 'r2')
    m.sh('vgpu-run --tenant t1 -- /test/conf-launch')
    bad = m.sh('journalctl -q -o cat -u vgpud -p err')
    assert bad == '', bad


def case_reload(m):
    worker, keeper, old = Worker(m, 't1'), prop(m, 'vgpud.service', 'MainPID'), broker(m)
    worker.signal('USR1')
    m.sh('systemctl reload vgpud')
    assert prop(m, 'vgpud.service', 'MainPID') == keeper and broker(m) != old
    worker.rounds()
    pause = worker.end()
    assert pause < PAUSE_MAX_S, pause
    return f'longest pause {pause * 1e3:.0f} ms'


def case_broker_killed(m):
    worker = Worker(m, 't1')
    worker.signal('USR1')
    m.sh(f'kill -9 {broker(m)}')
    worker.rounds()
    pause = worker.end()
    assert active(m)[0] == 'active' and prop(m, 'vgpud.service', 'NRestarts') == '0'
    assert pause < PAUSE_MAX_S, pause
    return f'longest pause {pause * 1e3:.0f} ms'


def case_keeper_killed(m):
    """systemd ends what is left of it and starts it again; programs have lost their device, new ones have it."""
    worker, journal = Worker(m, 't1'), Journal(m, 'vgpud')
    m.sh(f'kill -9 {prop(m, "vgpud.service", "MainPID")}')
    status, out = worker.wait()
    assert status == 1, out
    journal.wait('ready on')
    m.sh('systemctl start vgpud')  # waits for the start in progress
    assert prop(m, 'vgpud.service', 'NRestarts') == '1'
    m.sh('vgpu-run --tenant t1 -- /test/conf-launch')


def case_security(m):
    scores = {}
    for unit in ('vgpud', 'vgpu-agent', 'vgpu-doctor'):
        shown = m.sh(f'systemd-analyze security --no-pager {unit}.service')
        scores[unit] = float(re.search(r'exposure level for \S+ ([\d.]+)', shown)[1])
    assert scores['vgpud'] < 4 and scores['vgpu-agent'] < 2 and scores['vgpu-doctor'] < 4, scores
    return str(scores)


def case_upgrade(m):
    """A newer package leaves vgpud and programs alone; the reload becomes it and ends nothing."""
    worker, keeper = Worker(m, 't1'), prop(m, 'vgpud.service', 'MainPID')
    m.sh('''cd /test && dpkg-deb -R build/deb/openvgpu-host_*.deb new && sed -i 's/^Version: .*/&+1/' new/DEBIAN/control &&
            echo "# newer" >>new/etc/openvgpu/vgpud.conf && dpkg-deb -b new . && rm -r new''')
    worker.signal('USR1')
    inode = m.path('/usr/sbin/vgpud').stat().st_ino
    m.sh('cd /test && apt install ./openvgpu-host_*+1_*.deb')
    assert m.path('/usr/sbin/vgpud').stat().st_ino != inode
    assert prop(m, 'vgpud.service', 'MainPID') == keeper and active(m) == ['active'] * 3
    assert m.sh(f'readlink /proc/{keeper}/exe').strip().endswith('(deleted)')
    worker.rounds()
    m.sh('systemctl reload vgpud')
    assert prop(m, 'vgpud.service', 'MainPID') == keeper
    assert m.sh(f'readlink /proc/{keeper}/exe').strip() == '/usr/sbin/vgpud'
    assert re.search(r'Upgrades since its start: +1$', m.sh('vgpu-admin status'), re.M)
    worker.rounds()
    pause = worker.end()
    assert pause < PAUSE_MAX_S, pause
    assert http(m, '/healthz')[0] == 200
    return f'longest pause {pause * 1e3:.0f} ms'


def case_remove(m, before):
    m.sh('apt remove openvgpu-host openvgpu-doctor && apt autoremove')
    assert set(active(m)) == {'inactive'}
    left = {n for n in files(m.root) - before if not n.startswith('etc/systemd/system/')}
    state = {n for n in left if re.match(r'var/lib/openvgpu|etc/openvgpu|etc/\w+: openvgpu', n)}
    assert 'var/lib/openvgpu/state.db' in state and 'etc/openvgpu/vgpud.conf' in state, left
    assert left - others(m) == state, left - others(m) - state
    assert not m.path('/run/openvgpu').exists()


def case_purge(m, before):
    m.sh('apt purge openvgpu-host openvgpu-doctor && apt autoremove --purge')
    changed = (files(m.root) ^ before) - others(m)
    assert changed == set(), changed
    stamps = m.sh('find / -xdev -iname "*vgpu*" -not -path "/test*" -not -path "/proc/*"; find /run -iname "*vgpu*"; systemctl list-unit-files --no-legend "*vgpu*"',
                  status=(0, 1))
    assert stamps == '', stamps
    m.sh('getent passwd openvgpu', status=(2,))
    m.sh('getent group openvgpu', status=(2,))


def check(m):
    before = files(m.root)
    (m.root / 'test/build/deb').mkdir(parents=True)
    for p in (BUILD / 'deb').glob('*.deb'):
        shutil.copy(p, m.root / 'test/build/deb')
    for p in PROGRAMS:
        shutil.copy(BUILD / p, m.root / 'test')
    print('machine:', m.sh('. /etc/os-release; echo "$PRETTY_NAME, $(systemctl --version | head -1)"').strip(),
          '| limits by control groups:', ' '.join(m.controllers) or 'none', flush=True)
    for case in (case_install, case_register, case_tenant, case_walls, case_agent, case_doctor, case_journal, case_restart, case_reload,
                 case_broker_killed, case_keeper_killed, case_security, case_upgrade):
        print('ok', case.__name__[5:], case(m) or '', flush=True)
    for case in (case_remove, case_purge):
        case(m, before)
        print('ok', case.__name__[5:], flush=True)


def main():
    suite = sys.argv[1] if len(sys.argv) > 1 else machine.codename()
    debs = [p for n in ('host', 'doctor') for p in (BUILD / 'deb').glob(f'openvgpu-{n}_*.deb')]
    if not debs:
        skip('no packages: make deb')
    if os.geteuid() != 0:
        skip('systemd in namespaces needs root')
    if os.environ.get('DEB_TEST_INNER') != '1':
        os.execvpe('unshare', ['unshare', '-m', '--propagation', 'private', sys.executable] + sys.argv, dict(os.environ, DEB_TEST_INNER='1'))
    try:
        tar = machine.archive(BUILD / 'debian', suite, debs)
        with tempfile.TemporaryDirectory(prefix='vgpu-system.') as folder, machine.Machine(folder, tar) as m:
            try:
                check(m)
            except BaseException:
                if m.init:
                    print(m.sh('journalctl --no-pager -n 40', status=range(256)), flush=True)
                raise
    except machine.Lacking as e:
        skip(str(e))


if __name__ == '__main__':
    main()
