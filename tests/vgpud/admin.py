#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-admin as its user meets it: what it prints, what it refuses, its exit status."""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios

sys.path.insert(0, os.path.dirname(__file__))
from harness import ADMIN, BUILD, DEAD, RUN, RUNNING, SPINNER, Peer, Vgpud, main, wait_for  # noqa: E402

DONE, REFUSED, USAGE, UNREACHABLE, DENIED, UNHEALTHY = range(6)


def admin(v, *args, status=DONE):
    """Standard output when all went well, else the one error line."""
    r = subprocess.run([str(ADMIN), '--run-dir', str(v), *args], text=True, capture_output=True, timeout=30)
    assert r.returncode == status, (args, r)
    if status == DONE:
        return r.stdout
    errors = [line for line in r.stderr.splitlines() if ': error: ' in line]
    assert len(errors) == 1, r
    if '--json' in args:
        assert json.loads(r.stdout)['error'] in errors[0] and json.loads(r.stdout)['status'] == status, r
    else:
        assert not r.stdout, r
    return errors[0]


def row(table, name):
    """{title: cell} of the row with this name; columns are two spaces apart."""
    lines = [[c.strip() for c in line.split('  ') if c.strip()] for line in table.splitlines()]
    found = [cells for cells in lines[1:] if name in cells]
    assert len(found) == 1, table
    return dict(zip(lines[0], found[0]))


def test_life_of_a_vm():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--priority', 'high', '--weight', '30', '--quota', '512M', '--job-timeout', '5s')
        admin(v.run, 'register-vm', 'b', '--priority=low', '--weight=60', '--quota=1G')
        a = row(admin(v.run, 'list-vms'), 'a')
        assert a['PRIORITY'] == 'high' and a['WEIGHT'] == '30' and a['QUOTA'] == '512 MiB', a
        assert a['SHARE'] == '66.7 %', a  # 4 x 30 of 4 x 30 + 1 x 60
        shown = admin(v.run, 'show-vm', 'a')
        assert 'high' in shown and '512 MiB' in shown, shown
        peer = Peer(v.run, 'a')
        assert row(admin(v.run, 'list-vms'), 'a')['CONNECTIONS'] == '1'
        peer.sock.close()
        assert 'a' in admin(v.run, 'status')
        admin(v.run, 'remove-vm', 'b')
        assert 'b' not in [line.split()[1] for line in admin(v.run, 'list-vms').splitlines()]
        assert 'b' in admin(v.run, 'show-vm', 'b', status=REFUSED)


def test_json_says_the_same():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        assert json.loads(admin(v.run, '--json', 'list-vms')) == v.ok('list-vms')
        assert json.loads(admin(v.run, '--json', 'show-vm', 'a'))['quota'] == 512 << 20
        assert isinstance(json.loads(admin(v.run, 'timeline')), dict)
        assert json.loads(admin(v.run, '--json', 'status'))


def test_refusals_change_nothing():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        before = v.ok('list-vms')
        admin(v.run, 'register-vm', 'a', status=REFUSED)
        admin(v.run, 'remove-vm', 'nobody', status=REFUSED)
        admin(v.run, 'clear-quarantine', 'nobody', status=REFUSED)
        admin(v.run, 'register-vm', 'big', '--quota', '900000G', status=REFUSED)
        for option, value in (('--weight', '0'), ('--weight', '101'), ('--priority', 'urgent')):
            assert option[2:] in admin(v.run, 'register-vm', 'c', option, value, status=REFUSED)
        assert v.ok('list-vms') == before


def test_an_option_is_no_value():
    """A forgotten value is not the option that comes next."""
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        device = v.ok('list-devices')[0]['name']
        for words in (['drain-device', device, '--reason', '--yes'], ['drain-device', device, '--reason'], ['set-vm', 'a', '--user', '--json']):
            assert 'value is missing' in admin(v.run, *words, status=USAGE), words
        assert v.ok('list-devices')[0]['state'] == 'up'
        admin(v.run, 'drain-device', device, '--reason=--yes')
        assert v.ok('list-devices')[0]['reason'] == '--yes'


def test_text_of_any_length_is_shown():
    """What is cut, is cut between characters: an event that cannot be told is one nobody sees."""
    with Vgpud() as v:
        device = v.ok('list-devices')[0]['name']
        for n, char in ((90, 'ä'), (62, '€'), (47, '𝄞')):
            for shift in range(4):
                admin(v.run, 'drain-device', device, '--reason', 'x' * shift + char * n)
                assert any(char in e['text'] for e in json.loads(admin(v.run, '--json', 'events'))[-2:]), (n, char, shift)
                assert char in json.loads(admin(v.run, '--json', 'audit'))[0]['change'] + json.loads(admin(v.run, '--json', 'audit'))[-1]['change']
                admin(v.run, 'undrain-device', device)


def test_settings_that_go_back():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M', '--user', 'nobody', '--numa-node', '1')
        before = v.ok('list-vms')
        admin(v.run, 'set-vm', 'a', '--user', 'any', '--numa-node', 'any')
        assert v.ok('list-vms') != before
        admin(v.run, 'register-vm', 'b', '--quota', '512M')
        a, b = (json.loads(admin(v.run, '--json', 'show-vm', n)) for n in 'ab')
        assert (a['uid'], a['numa_node']) == (b['uid'], b['numa_node'])
        assert 'quota' in admin(v.run, 'set-quota', 'a', '0', status=REFUSED)
        admin(v.run, 'register-vm', 'all')
        assert 'nothing is' in admin(v.run, 'register-vm', 'none', status=REFUSED)


def test_json_of_what_has_no_answer():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        admin(v.run, 'create-pool', 'p')
        for words in (['remove-vm', 'a'], ['remove-pool', 'p'], ['reload-config'], ['upgrade']):
            assert isinstance(json.loads(admin(v.run, '--json', *words)), dict), words
        admin(v.run, '--json', 'remove-vm', 'a', status=REFUSED)
        admin(v.run, '--json', 'no-such-command', status=USAGE)
        admin(v.run, '--json', 'show-metrics', '--prometheus', status=USAGE)


def test_wrong_usage():
    with tempfile.TemporaryDirectory() as d:
        for words in (['no-such-command'], ['show-vm'], ['list-vms', 'x'], ['register-vm', 'a', '--quota', '12Q'], ['register-vm', 'a', '--unknown', '1'],
                      ['register-vm', 'a', '--quota'], ['status', '--weight', '3']):
            error = admin(d, *words, status=USAGE)
            assert any(w in error for w in words), (words, error)
        assert 'run/openvgpu' not in admin(pathlib.Path(d) / 'none', 'status', status=UNREACHABLE)


def test_help():
    r = subprocess.run([str(ADMIN), '--help'], text=True, capture_output=True, timeout=30)
    assert r.returncode == 0
    for command in ('register-vm', 'remove-vm', 'list-vms', 'show-vm', 'status', 'timeline', 'clear-quarantine', 'exit status'):
        assert command in r.stdout, command
    assert subprocess.run([str(ADMIN), 'help'], text=True, capture_output=True, timeout=30).stdout == r.stdout


def test_help_of_one_command():
    """What it takes, by --help after it or help before it; an option that --help names is one that is understood."""
    with tempfile.TemporaryDirectory() as d:
        for c in commands():
            text = admin(d, c, '--help')
            assert text == admin(d, 'help', c) and text.startswith(f'usage: vgpu-admin {c}'), text
            for option, argument in re.findall(r'^  (--[a-z-]+)( [A-Za-z0-9.|]+)? ', text, re.M):
                if argument:
                    error = admin(d, c, option, status=USAGE)
                    assert f'{option}: its value is missing ({option}={argument.strip()})' in error and f'{c} --help' in error, error
        assert '--pool' in admin(d, 'register-vm', '--help') and '--end' in admin(d, 'help', 'drain-device')
        assert 'no such command' in admin(d, 'help', 'nothing', status=USAGE)


def test_list_vms_of_a_pool():
    with Vgpud('devices=2') as v:
        admin(v.run, 'create-pool', 'fast')
        admin(v.run, 'add-to-pool', 'fast', 'softcuda1')
        for name, pool, priority in (('a', 'default', 'high'), ('b', 'fast', 'high'), ('c', 'fast', 'low')):
            admin(v.run, 'register-vm', name, '--quota', '64M', '--pool', pool, '--priority', priority)

        def listed(*args):
            return ''.join(line.split()[1] for line in admin(v.run, 'list-vms', *args).splitlines()[1:])
        assert (listed(), listed('--pool', 'fast'), listed('--priority=high'), listed('--pool', 'fast', '--priority', 'low'), listed('--priority=medium')) \
            == ('abc', 'bc', 'ab', 'c', '')
        assert 'does not exist' in admin(v.run, 'list-vms', '--pool', 'slow', status=REFUSED)
        assert 'high, medium or low' in admin(v.run, 'list-vms', '--priority', 'urgent', status=REFUSED)
        assert admin(v.run, 'show-device', 'softcuda1').splitlines()[0].split() == ['Name:', 'softcuda1']
        assert 'does not exist' in admin(v.run, 'show-device', 'gpu7', status=REFUSED)


def commands():
    r = subprocess.run([str(ADMIN), '--help'], text=True, capture_output=True, timeout=30)
    lines = r.stdout.split('settings of')[0].splitlines()[1:]
    return [line.split()[0] for line in lines]


def test_settings_one_by_one():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        for args in (['set-priority', 'a', 'low'], ['set-weight', 'a', '7'], ['set-quota', 'a', '1G'], ['set-cap', 'a', '30'],
                     ['set-reservation', 'a', '20'], ['set-vm-id', 'a', '12'], ['update-vm', 'a', '--job-timeout', '4s'],
                     ['set-vm', 'a', '--fault-limit', '9', '--fault-window', '2min'],
                     ['set-rate-limit', 'a', '500', '--queue-depth', '4'], ['set-vm', 'a', '--max-bytes-per-second', '2G'],
                     ['set-vm', 'a', '--user', str(os.geteuid())]):
            admin(v.run, *args)
        a = v.ok('show-vm', name='a')
        assert [a[k] for k in ('priority', 'weight', 'quota', 'cap', 'reservation', 'id', 'job_timeout_ns', 'uid')] == \
            ['low', 7, 1 << 30, 30, 20, 12, 4 * 10**9, os.geteuid()], a
        limits = row(admin(v.run, 'show-rate-limits'), 'a')
        assert (limits['FAULT LIMIT'], limits['FAULT WINDOW']) == ('9', '120.000 s'), limits
        w = row(admin(v.run, 'show-weights'), 'a')
        assert (w['WEIGHT'], w['CAP'], w['RESERVED']) == ('7', '30 %', '20 %'), w
        assert row(admin(v.run, 'show-quotas'), 'a')['QUOTA'] == '1 GiB'
        assert row(admin(v.run, 'show-rate-limits'), 'a')['JOB TIMEOUT'] == '4.000 s'
        limits = row(admin(v.run, 'show-rate-limits'), 'a')
        assert (limits['LAUNCHES/S'], limits['BYTES/S'], limits['QUEUE DEPTH']) == ('500', '2 GiB', '4'), limits
        assert 'cap 0 -> 30' in admin(v.run, 'audit', 'a')
        assert 'weight' in admin(v.run, 'set-weight', 'a', '0', status=REFUSED)
        assert 'WEIGHT' in admin(v.run, 'set-weight', 'a', 'x', status=USAGE)
        assert 'WEIGHT' in admin(v.run, 'set-weight', 'a', status=USAGE)


def test_quarantine_health_events():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '512M')
        assert 'yes' in admin(v.run, 'show-health')
        admin(v.run, '--yes', 'quarantine-vm', 'a')
        r = subprocess.run([str(ADMIN), '--run-dir', str(v.run), 'show-health'], text=True, capture_output=True, timeout=30)
        assert r.returncode == UNHEALTHY and 'quarantined' in r.stdout, r
        admin(v.run, 'clear-quarantine', 'a')
        assert 'yes' in admin(v.run, 'show-health')
        assert [e['kind'] for e in json.loads(admin(v.run, '--json', 'events'))] == ['register-vm', 'quarantine-vm', 'clear-quarantine']
        follow = subprocess.Popen([str(ADMIN), '--run-dir', str(v.run), '--json', 'events', '--follow'], stdout=subprocess.PIPE,
                                  text=True)
        kinds = [json.loads(follow.stdout.readline())['kind'] for _ in range(3)]
        peer = Peer(v.run, 'a')
        kinds.append(json.loads(follow.stdout.readline())['kind'])
        assert kinds[-1] == 'connected', kinds
        assert row(admin(v.run, 'show-connections'), 'a')['TRANSPORT'] == 'unix'
        follow.terminate()
        follow.wait(30)
        peer.close()


def test_every_command_speaks_json():
    """Whatever looks: its JSON parses, and its table has the same rows."""
    operands = {'show-vm': ['a'], 'show-pool': ['default'], 'show-device': ['softcuda0']}
    with Vgpud() as v:
        for name in 'ab':
            admin(v.run, 'register-vm', name, '--quota', '256M')
        admin(v.run, 'set-weight', 'a', '51')
        for c in commands():
            if c.startswith(('show', 'list', 'status', 'events', 'faults', 'audit', 'timeline')):
                data = json.loads(admin(v.run, '--json', c, *operands.get(c, [])))
                text = admin(v.run, c, *operands.get(c, []))
                assert not isinstance(data, list) or len(text.splitlines()) == len(data) + 1, (c, text)


def test_metrics():
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '256M', '--job-timeout', '5s')
        spinner = subprocess.run([str(RUN), '--run-dir', str(v.run), '--tenant', 'a', '--', str(SPINNER), '100', '200'], timeout=60,
                                 stdout=subprocess.DEVNULL)
        assert spinner.returncode == 0
        wait_for('its executor is reaped', lambda: not v.children('vgpu-executor'))
        families, values = {}, {}
        for line in admin(v.run, 'show-metrics', '--prometheus').splitlines():
            if line.startswith('# TYPE '):
                _, _, family, kind = line.split()
                assert family not in families and (kind == 'counter') == family.endswith('_total'), line
                families[family] = kind
            elif not line.startswith('#'):
                m = re.fullmatch(r'([a-z_]+)\{vm="a"(?:,device="[^"]+",pool="default",priority="medium")?\} (.*)', line)
                assert m and m[1] in families, line
                values[m[1]] = float(m[2])
        assert values['openvgpu_vm_launches_total'] == 200 and values['openvgpu_vm_quota_bytes'] == 256 << 20, values
        assert 0 < values['openvgpu_vm_device_seconds_total'] < 60, values
        assert row(admin(v.run, 'show-metrics'), 'a')
        assert re.search(r'a( +[0-9.]+ (us|ms|s)){9}\n', admin(v.run, 'show-latency'))


def test_permissions():
    """Members of the group look, others do not even that."""
    if os.geteuid():
        print('skipped: needs root to become another user')
        return

    def as_user(*args):
        r = subprocess.run([str(ADMIN), '--run-dir', str(v.run), *args], text=True, capture_output=True, timeout=30, user=65534,
                           group=65534, extra_groups=[])
        return r.returncode, r.stderr
    with Vgpud() as v:
        admin(v.run, 'register-vm', 'a', '--quota', '256M')
        status, text = as_user('list-vms')
        assert status == DENIED and 'group' in text, (status, text)
        os.chown(v.run / 'control.sock', 0, 65534)
        assert as_user('list-vms')[0] == DONE
        for args in (['set-weight', 'a', '3'], ['remove-vm', 'a'], ['quarantine-vm', 'a'], ['audit']):
            status, text = as_user(*args)
            assert status == DENIED and 'only root' in text, (args, status, text)
        assert v.ok('show-vm', name='a')['weight'] == 50


class Terminal:
    def __init__(self, *command, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execv(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.text = ''

    def until(self, words, seconds=30):
        while words not in self.text:
            ready, _, _ = select.select([self.fd], [], [], seconds)
            assert ready, (words, self.text)
            try:
                self.text += os.read(self.fd, 65536).decode()
            except OSError:
                raise AssertionError((words, self.text))

    def end(self):
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


def screen(text, rows, columns):
    """What a terminal shows after this output: only what top uses; no line may be longer than the screen."""
    grid, y = [''] * rows, 0
    for part in text.split('\033[H')[-1].split('\r\n'):
        clean = ''
        while part:
            if part.startswith('\033['):
                part = part[2:].lstrip('0123456789;?')[1:]
            else:
                clean, part = clean + part[0], part[1:]
        assert len(clean) <= columns and y < rows, (y, clean)
        grid[y], y = clean, y + 1
    return grid


def test_top():
    with Vgpud() as v:
        for i in range(40):
            v.ok('register-vm', name=f'vm{i:02}', quota=16 << 20, bar_size=256 << 20)
        program = subprocess.Popen([str(RUN), '--run-dir', str(v.run), '--tenant', 'vm07', '--', str(SPINNER), '3000'],
                                   stdout=subprocess.PIPE, text=True)
        assert program.stdout.readline() == 'started\n' and program.stdout.readline() == 'ready\n'
        t = Terminal(str(ADMIN), '--run-dir', str(v.run), 'top')
        for _ in range(3):
            t.text = ''
            t.until('q: quit')
        shown = screen(t.text, 24, 80)
        assert 'OpenVGPU' in shown[0] and 'ASK %' in shown[2], shown
        assert shown[3].split()[0] == 'vm07' and float(shown[3].split()[4]) > 50, 'the busiest first: ' + shown[3]
        assert 'more' in shown[22], shown
        os.write(t.fd, b'x')
        os.write(t.fd, b'q')
        t.until('\033[?1049l')
        assert '\033[?25h' in t.text and t.end() == DONE, 'the terminal is left as it was'
        program.send_signal(signal.SIGTERM)
        program.communicate(timeout=60)
        assert 'terminal' in admin(v.run, 'top', status=USAGE)


def test_confirmation():
    """On a terminal it asks before it ends or forgets something; --yes does not."""
    with Vgpud() as v:
        for name in 'ab':
            v.ok('register-vm', name=name, quota=16 << 20)
        t = Terminal(str(ADMIN), '--run-dir', str(v.run), 'remove-vm', 'a')
        t.until('Type yes')
        os.write(t.fd, b'no\n')
        t.until('nothing was changed')
        assert t.end() == REFUSED and len(v.ok('list-vms')) == 2
        t = Terminal(str(ADMIN), '--run-dir', str(v.run), 'remove-vm', 'a')
        t.until('Type yes')
        os.write(t.fd, b'yes\n')
        assert t.end() == DONE
        t = Terminal(str(ADMIN), '--run-dir', str(v.run), '--yes', 'remove-vm', 'b')
        assert t.end() == DONE and not v.ok('list-vms')


def complete(script, words, path):
    """What bash offers after these words; the last one is being typed."""
    line = f"""source {script}
COMP_WORDS=({' '.join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}; _vgpu_admin; printf '%s\\n' "${{COMPREPLY[@]}}" """
    r = subprocess.run(['bash', '-c', line], text=True, capture_output=True, timeout=30,
                       env=dict(os.environ, PATH=f'{ADMIN.parent}:{os.environ["PATH"]}', VGPU_RUN_DIR=str(path)))
    assert not r.stderr, r
    return r.stdout.split()


def test_completion():
    script = BUILD / 'src/admin/completion/vgpu-admin'
    with Vgpud() as v:
        v.ok('register-vm', name='alpha', quota=16 << 20)
        assert set(commands()) <= set(complete(script, ['vgpu-admin', ''], v.run)), 'every command of --help'
        assert complete(script, ['vgpu-admin', 'show-v'], v.run) == ['show-vm']
        assert complete(script, ['vgpu-admin', '--json', 'show-vm', 'al'], v.run) == ['alpha']
        assert complete(script, ['vgpu-admin', 'set-priority', 'alpha', 'h'], v.run) == ['high']
        assert complete(script, ['vgpu-admin', 'register-vm', 'b', '--priority', 'l'], v.run) == ['low']
        assert '--quota' in complete(script, ['vgpu-admin', 'register-vm', 'b', '--q'], v.run)
    zsh = (BUILD / 'src/admin/completion/_vgpu-admin').read_text()
    for c in commands():
        assert f"'{c}:" in zsh and f'{c}) _arguments' in zsh, c


def test_manual_names_every_command():
    page = (pathlib.Path(__file__).resolve().parents[2] / 'man/vgpu-admin.8').read_text()
    for c in commands():
        assert f'Cm {c}' in page, f'vgpu-admin.8 says nothing of {c}'


def test_scan_vms():
    """libvirt's machines, by a library that answers as libvirt's does; without one it says so."""
    fake = BUILD / 'tests/vgpud/fake-libvirt'
    with Vgpud() as v:
        v.ok('register-vm', name='web', priority='high', quota=16 << 20)
        env = dict(os.environ, LD_LIBRARY_PATH=str(fake))
        r = subprocess.run([str(ADMIN), '--run-dir', str(v.run), '--json', 'scan-vms'], text=True, capture_output=True, timeout=30, env=env)
        assert r.returncode == DONE, r
        assert json.loads(r.stdout) == [
            dict(name='web', uuid='6c0e7a5e-0000-4000-8000-000000000001', running=True, registered=True, priority='high'),
            dict(name='db', uuid='6c0e7a5e-0000-4000-8000-000000000002', running=False, registered=False, priority=None)], r.stdout
        env['FAKE_LIBVIRT_DOWN'] = '1'
        r = subprocess.run([str(ADMIN), '--run-dir', str(v.run), 'scan-vms'], text=True, capture_output=True, timeout=30, env=env)
        assert r.returncode == REFUSED and 'cannot connect to libvirtd' in r.stderr, r


if __name__ == '__main__':
    sys.exit(main(globals()))
