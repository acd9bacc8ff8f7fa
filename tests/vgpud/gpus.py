#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""scan-gpus and assign-gpu: by a library that answers as NVML does, a sysfs made up for it, and softcuda as the GPUs' driver.

usage: gpus.py FAKE-LIBRARY CAPTURE-FOLDER [TEST...]
"""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest.mock

sys.path.insert(0, os.path.dirname(__file__))
from harness import ADMIN, BUILD, RUNNING, SOFTCUDA, Peer, Vgpud, main  # noqa: E402

FAKE, CAPTURES = pathlib.Path(sys.argv.pop(1)).resolve(), pathlib.Path(sys.argv.pop(1)).resolve()
DONE, REFUSED = 0, 1
G = 1 << 30
UUID = 'GPU-736f6674-6375-6461-0000-000000000000'  # softcuda's first device
FOUR = unittest.mock.patch.dict(os.environ, SOFTCUDA_DEVICES='4')
UNKNOWN = 'GPU-00000000-0000-0000-0000-000000000000'


def mig(n):
    return f'MIG{uuid(n)[3:]}'


def uuid(n):
    return f'{UUID[:-1]}{n}'


class Machine:
    """What a GPU server shows: NVML with `gpus` GPUs, two GPUs in PCI that it knows, one that vfio-pci has, and others."""

    def __init__(self, directory, capture='h200', gpus=2, fault=None, linked=None):
        self.dir = pathlib.Path(directory)
        self.sys = self.dir / 'sys'
        for bus, vendor, kind, device, node, driver in (
                ('0000:83:00.0', 0x10de, 0x030200, 0x2335, 1, 'nvidia'), ('0000:84:00.0', 0x10de, 0x030200, 0x2335, -1, 'nvidia'),
                ('0000:c1:00.0', 0x10de, 0x030000, 0x2684, 0, 'vfio-pci'), ('0000:c1:00.1', 0x10de, 0x040300, 0x22ba, 0, 'snd_hda_intel'),
                ('0000:02:00.0', 0x1002, 0x030000, 0x73bf, 0, 'amdgpu')):
            d = self.sys / 'bus/pci/devices' / bus
            d.mkdir(parents=True)
            for name, text in (('vendor', f'{vendor:#06x}'), ('class', f'{kind:#08x}'), ('device', f'{device:#06x}'), ('numa_node', node)):
                (d / name).write_text(f'{text}\n')
            (d / 'driver').symlink_to(f'../../../bus/pci/drivers/{driver}')
        self.env = {k: v for k, v in os.environ.items() if k != 'LD_LIBRARY_PATH'}  # Meson's names the fake
        self.env['FAKE_NVML_GPUS'] = str(gpus)
        if linked is not None:
            self.env['FAKE_NVML_LINKED'] = linked
        if capture:
            text = (CAPTURES / f'{capture}.txt').read_text().replace(UNKNOWN, UUID)
            (self.dir / 'capture').write_text(text)
            self.env.update(LD_LIBRARY_PATH=str(FAKE.parent), FAKE_NVML_CAPTURE=str(self.dir / 'capture'))
        if fault:
            self.env['FAKE_NVML'] = fault

    def admin(self, run, *args, status=DONE):
        r = subprocess.run([str(ADMIN), '--run-dir', str(run), *args], text=True, capture_output=True, timeout=30, env=self.env)
        assert r.returncode == status, (args, r)
        return r.stdout if status == DONE else r.stderr

    def assign(self, run, *args, status=DONE):
        return self.admin(run, 'assign-gpu', '--sys', str(self.sys), *args, status=status)

    def scan(self, run):
        found = json.loads(self.admin(run, '--json', 'scan-gpus', '--sys', str(self.sys)))
        return found['source'], found['gpus']


@contextlib.contextmanager
def machine(**what):
    with tempfile.TemporaryDirectory(prefix='vgpud-test.') as d:
        yield Machine(d, **what)


def test_scan():
    with machine() as m:
        source, gpus = m.scan(m.dir)
        assert source == 'NVML of driver 590.48.01', source
        h200 = dict(model='NVIDIA H200', memory=143771 << 20, driver='nvidia', nvlink=None, peers=None, assigned=None, note='')
        assert gpus[:2] == [dict(h200, index='0', uuid=UUID, bus='0000:83:00.0', numa_node=1),
                            dict(h200, index='1', uuid=uuid(1), bus='0000:84:00.0', numa_node=None)]
        assert len(gpus) == 3 and gpus[2].pop('note'), gpus
        assert gpus[2] == dict(index=None, uuid=None, model='PCI device 10de:2684', bus='0000:c1:00.0', numa_node=0, nvlink=None, peers=None, memory=None,
                               driver='vfio-pci', assigned=None), gpus[2]
        text = m.admin(m.dir, 'scan-gpus', '--sys', str(m.sys)).splitlines()
        assert text[0].split() == ['Source:', *source.split()] and '0000:c1:00.0' in text[-1] and 'vfio-pci' in text[-1], text


def test_scan_mig():
    with machine(capture='h200-mig', gpus=1) as m:
        source, gpus = m.scan(m.dir)
        assert [g['index'] for g in gpus] == ['0', '0:0', '0:1', '0:2', '0:3', '0:4', None, None], gpus
        assert 'MIG' in gpus[0]['note'] and gpus[1]['note'] == ''
        assert gpus[4]['uuid'] == 'MIG-00000003-0000-0000-0000-000000000003' and gpus[4]['memory'] > 0, gpus[4]
        assert {(g['bus'], g['numa_node']) for g in gpus[:6]} == {('0000:83:00.0', 1)}


def test_without_nvml():
    for what, why in ((dict(capture=None), 'libnvidia-ml.so.1 is not installed'), (dict(fault='Init_v2:0:error=9'), 'modprobe nvidia')):
        with machine(**what) as m:
            source, gpus = m.scan(m.dir)
            assert source.startswith('PCI (') and why in source, source
            assert [g['bus'] for g in gpus] == ['0000:83:00.0', '0000:84:00.0', '0000:c1:00.0'], gpus
            assert all(g['uuid'] is None and g['note'] for g in gpus)
            assert why in m.assign(m.dir, '83:00.0', status=REFUSED)
            assert why in m.assign(m.dir, '0', status=REFUSED)


def status(v):
    s = v.ok('status')
    return s['use'], s['next']


def test_assign():
    """By what scan-gpus shows; vgpud keeps where the GPU is, and places by it."""
    with machine() as m, Vgpud(f'gpu-driver={SOFTCUDA}') as v:
        use, what_next = status(v)
        assert 'no GPU is used' in use and 'scan-gpus' in what_next and 'register-vm' in what_next, (use, what_next)
        assert [g['assigned'] for g in m.scan(v.run)[1]] == ['', '', '']
        for what in ('2', '0:0', '85:00.0', 'gpu0', '', '0 '):
            assert 'no such GPU here' in m.assign(v.run, what, status=REFUSED), what
        assert 'does not show it' in m.assign(v.run, 'c1:00.0', status=REFUSED)
        assert 'not fit for use' in m.assign(v.run, UNKNOWN, status=REFUSED), 'a UUID that is not shown is tried'
        assert len(v.ok('list-devices')) == 1
        for what in ('0', '83:00.0', '00000000:83:00.0', '0000:83:00.0', UUID):
            m.assign(v.run, what, '--name', 'big')
            d = v.ok('list-devices')[1]
            assert (d['name'], d['uuid'], d['pci'], d['numa_node'], d['serves']) == ('big', UUID, '0000:83:00.0', 1, True), d
            assert m.scan(v.run)[1][0]['assigned'] == 'big'
            assert 'assigned already' in m.assign(v.run, '0', status=REFUSED)
            if what != UUID:
                m.admin(v.run, 'unassign-gpu', 'big')
        assert status(v) == ('GPUs', 'to let a VM in: vgpu-admin register-vm')
        v.ok('register-vm', name='a', quota=G // 4)
        assert status(v) == ('GPUs', None) and v.ok('show-vm', name='a')['device'] == 'big'
        p = Peer(v.run, 'a')
        p.want(1)
        p.wait_state(RUNNING)
        assert 'is on it' in m.admin(v.run, 'unassign-gpu', 'big', status=REFUSED)
        p.close()
        v.stop()
        v.start()
        d = v.ok('list-devices')[1]
        assert (d['name'], d['pci'], d['numa_node'], d['serves']) == ('big', '0000:83:00.0', 1, True), d


def test_nvlink():
    """Who is joined to whom reaches vgpud, and a VM is not put where it breaks a pair that is free."""
    with machine(gpus=4, linked='0-2 1-3') as m:
        rows = {g['index']: g for g in m.scan(m.dir)[1]}
        assert [rows[i]['nvlink'] for i in '0123'] == [['2'], ['3'], ['0'], ['1']] and rows[None]['nvlink'] is None, rows
        assert rows['0']['peers'] == [uuid(2)]
        with FOUR, Vgpud(f'gpu-driver={SOFTCUDA}') as v:
            for i in range(4):
                m.assign(v.run, str(i))
            devices = {d['name']: d for d in v.ok('list-devices')}
            assert [devices[n]['peers'] for n in ('gpu0', 'gpu1', 'gpu2', 'gpu3')] == [['gpu2'], ['gpu3'], ['gpu0'], ['gpu1']], devices
            placed = [v.ok('register-vm', name=n, quota=G // 4) and v.ok('show-vm', name=n) for n in 'ab']
            assert [p['device'] for p in placed] == ['gpu0', 'gpu2'], placed
            assert 'NVLink' in placed[1]['placed'], placed[1]
            v.stop()
            v.start()
            devices = {d['name']: d for d in v.ok('list-devices')}
            assert devices['gpu1']['peers'] == ['gpu3'] and devices['softcuda0']['peers'] == [], devices
            for bad in ('GPU-1', [uuid(1), 7], [uuid(1)[:-1]], [uuid(1)] * 32):
                r = v.ask('assign-gpu', uuid=UNKNOWN, peers=bad)
                assert not r['ok'] and r['error'].startswith('peers: '), r


def test_place_by_the_driver():
    """vgpud.conf's own devices: where they are is what their driver says."""
    with machine() as m, Vgpud() as v:
        lib = m.dir / 'libcuda.so.1'
        lib.symlink_to(SOFTCUDA)
        m.dir.chmod(0o711)
        v.stop()
        v.driver = lib
        v.start()
        d, = v.ok('list-devices')
        assert (d['name'], d['pci'], d['numa_node'], d['uuid']) == ('cuda0', '0000:00:00.0', 0, ''), d
        (m.dir / 'capture').write_text((m.dir / 'capture').read_text().replace('00000000:83:00.0', '00000000:00:00.0'))
        assert [g['assigned'] for g in m.scan(v.run)[1]][:2] == ['cuda0', ''], 'in use, although not assigned by anybody'


def test_assign_mig():
    """The GPU as a whole is not to be had; of a MIG device it is its own UUID that vgpud is given."""
    with machine(capture='h200-mig', gpus=1) as m, Vgpud(f'gpu-driver={SOFTCUDA}') as v:
        assert 'MIG' in m.assign(v.run, '0', status=REFUSED)
        said = m.assign(v.run, '0:1', status=REFUSED)
        assert 'MIG-00000001-0000-0000-0000-000000000001' in said, said  # softcuda has none


def test_mig_pool():
    """MIG devices are devices as any other: two of one GPU, in a pool of their own and in the default one, each with its VM.
    softcuda plays them by UUIDs of the same digits."""
    with machine(capture='h200-mig', gpus=1) as m, FOUR, Vgpud(f'gpu-driver={SOFTCUDA}') as v:
        text = (m.dir / 'capture').read_text()
        for i in range(4):
            text = text.replace(f'MIG-0000000{i}-0000-0000-0000-00000000000{i}', mig(i))
        (m.dir / 'capture').write_text(text)
        v.ok('create-pool', name='slices', policy='concurrent')
        for i, name in ((1, 's1'), (2, 's2')):
            m.assign(v.run, f'0:{i}', '--name', name, '--pool', 'slices')
        m.assign(v.run, mig(3), '--name', 's3')
        assert [g['assigned'] for g in m.scan(v.run)[1]][:5] == ['', '', 's1', 's2', 's3']
        assert 'assigned already' in m.assign(v.run, '0:1', status=REFUSED)
        assert 'divided into MIG' in m.assign(v.run, '83:00.0', status=REFUSED), 'nor the GPU they are part of'

        def devices():
            return [(d['uuid'], d['pci'], d['numa_node'], d['pool'], d['policy'], d['peers'], d['serves']) for d in v.ok('list-devices')[1:]]
        place = ('0000:83:00.0', 1)
        slices = [(mig(i), *place, 'slices', 'concurrent', [], True) for i in (1, 2)] + [(mig(3), *place, 'default', 'exclusive', [], True)]
        assert devices() == slices, devices()
        for name in 'abc':
            v.ok('register-vm', name=name, quota=G // 4, pool='default' if name == 'c' else 'slices', numa_node=1)
        where = [v.ok('show-vm', name=n)['device'] for n in 'abc']
        assert sorted(where[:2]) == ['s1', 's2'] and where[2] == 's3', where
        peers = []
        for name, i in zip('abc', (int(w[1]) for w in where)):
            p = Peer(v.run, name)
            p.want(1)
            p.wait_state(RUNNING)
            peers.append(p)
            args = pathlib.Path(f"/proc/{v.ok('show-vm', name=name)['channels'][0]['pid']}/cmdline").read_text().split('\0')
            assert args[args.index('--uuid') + 1] == mig(i), args
            assert p.bar[int(p.bar.find(b'softcuda\0\0\0\0')):][:16][15] == i, 'the guest sees that one'
        assert v.ok('status')['executors'] == 3
        for p in peers:
            p.close()
        v.stop()
        v.start()
        assert devices() == slices and [v.ok('show-vm', name=n)['device'] for n in 'abc'] == where
        assert 'is on it' in m.admin(v.run, 'unassign-gpu', 's3', status=REFUSED)
        v.ok('remove-vm', name='c')
        m.admin(v.run, 'unassign-gpu', 's3')
        assert devices() == slices[:2]


def test_completion():
    with machine() as m:
        (m.dir / 'bin').mkdir()
        (m.dir / 'bin/vgpu-admin').symlink_to(ADMIN)
        script = f'source {BUILD}/src/admin/completion/vgpu-admin; COMP_WORDS=(vgpu-admin assign-gpu G); COMP_CWORD=2; ' \
                 '_vgpu_admin; printf "%s\\n" "${COMPREPLY[@]}"'
        r = subprocess.run(['bash', '-c', script], text=True, capture_output=True, timeout=30,
                           env=dict(m.env, PATH=f"{m.dir}/bin:{os.environ['PATH']}", VGPU_RUN_DIR=str(m.dir)))
        assert set(r.stdout.split()) == {UUID, uuid(1)}, r


if __name__ == '__main__':
    sys.exit(main(globals()))
