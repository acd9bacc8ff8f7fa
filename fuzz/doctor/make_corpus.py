#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the committed corpora of vgpu-doctor's fuzz targets anew: small inputs that reach each branch.

usage: make_corpus.py CORPUSDIR
"""
import io
import json
import os
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/doctor"))
import gzip
import lzma

from hosts import domain  # noqa: E402
from rpmbytes import rpm_header, rpm_ndb, rpm_sqlite  # noqa: E402
from pcibytes import ACS_FULL, ACS_ON, config, cpio, dmar, ivrs, pe  # noqa: E402


def bundle():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in (("manifest.json", json.dumps({"format": "openvgpu.doctor.bundle", "version": 1, "items": [
                {"op": "read", "path": "/proc/cmdline", "member": "root/proc/cmdline", "size": 3},
                {"op": "list", "path": "/sys", "names": ["a", "b"]}, {"op": "link", "path": "/x", "target": "y"},
                {"op": "stat", "path": "/x", "stat": [1, 2, 3, 4, 5]}, {"op": "read", "path": "/z", "err": 13}]}).encode()),
                ("root/proc/cmdline", b"ro\n")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return subprocess.run(["zstd", "-q", "-c"], input=out.getvalue(), capture_output=True, check=True).stdout


FILES = {"etc/modprobe.d/a.conf": b"options vfio-pci ids=10de:2335\n", "usr/lib/modules/6.12/vfio-pci.ko.zst": b"x" * 9}
CORPUS = {
    "acpi": {"dmar": dmar(rmrr=[(0x7B000000, 0x7B7FFFFF)]), "ivrs": ivrs(), "short": b"DMAR" + bytes(60)},
    "config": {"gpu": config(0x10DE, 0x2335, 0x030200, acs=(ACS_FULL, ACS_ON), ats=True, sriov=(32, 4), rebar=(0xFFF, 2, 18), dsn=1),
               "port": config(0x8086, 0x352A, 0x060400, header=1, port=4, acs=(ACS_FULL, 0)),
               "resource": b"0x0000200000000000 0x0000203fffffffff 0x000000000014220c\n" * 7},
    "cpio": {"plain": cpio(FILES), "early": cpio({"kernel/x86/microcode/a.bin": b"\1" * 8}) + bytes(300) + gzip.compress(cpio(FILES), mtime=0),
             "xz": lzma.compress(cpio(FILES), check=lzma.CHECK_CRC32),
             "zstd": subprocess.run(["zstd", "-q", "-c"], input=cpio(FILES), capture_output=True, check=True).stdout,
             "lz4": subprocess.run(["lz4", "-q", "-l", "-c"], input=cpio(FILES), capture_output=True, check=True).stdout,
             "bz2": __import__("bz2").compress(cpio(FILES))},
    "cmdline": {"usual": b'BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet intel_iommu=on,sm_on pci=realloc,noaer "dyndbg=file a +p" -- init\n',
                "uki": pe({".osrel": b"ID=arch\n", ".cmdline": b"root=/dev/sda1\0"})[:0x500]},
    "modprobe": {"usual": b"# c\nblacklist nouveau\noptions vfio-pci ids=10de:2335,10de:22bb \\\n disable_vga=1\nsoftdep nvidia pre: vfio-pci\n"
                 b"install nouveau /bin/false\nalias pci:v000010DE* vfio-pci\nremove x y\n"},
    "grub": {"usual": b'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX=\'a "b" \\\nc\'\nGRUB_CMDLINE_LINUX+=" d"\n'
             b'GRUB_CMDLINE_LINUX="${GRUB_CMDLINE_LINUX} e" # f\n'},
    "xml": {"usual": domain("alpha", ["0000:10:00.0"], "<graphics type='vnc' listen='0.0.0.0'/>").encode(),
            "dtd": b"<!DOCTYPE d [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>"},
    "bundle": {"usual": bundle(), "junk": b"\x28\xb5\x2f\xfd" + b"\xff" * 20},
    "nvml": {"usual": json.dumps({"init": 0, "driver": "570.1", "gpus": [{"bus_id": "00000000:12:00.0", "mig": 1}]}).encode(),
             "pem": b"-----BEGIN CERTIFICATE-----\nMEwwRqADAgECAgEBMAUGAytlcDAAMB4XDTAwMDEwMTAwMDAwMFoXDTQ5MDEwMTAwMDAwMFowAA==\n-----END CERTIFICATE-----\n"},
    "waive": {"usual": b"waivers:\n  - id: PCI-014\n    subject: host\n    reason: lab\n    owner: ops\n    expires: 2023-11-20\n", "loop": b"&a [*a]\n"},
    "redact": {"usual": b"password_pbkdf2 root grub.pbkdf2.sha512.10000.AB\npasswd='x' token: abc\nBearer zzz\n-----BEGIN RSA PRIVATE KEY-----\nq\n"
               b"-----END RSA PRIVATE KEY-----\n52:54:00:12:34:56 fixturehost serial=9\n",
               "journal": b'{"MESSAGE":"DMAR: IOMMU enabled"}\n{"MESSAGE":[68,77]}\n',
               "log": b"6,1,2,-;NVRM: Xid (PCI:0000:12:00): 79, pid=1, x\n[ 1.0] DMAR: [DMA Read] Request device [12:00.0] fault addr 1\n"},
    "site": {"usual": b"firmware:\n- {board: X, version: '2.1', oldest: 2025-01-31}\ngpus:\n- {address: '0000:10:00.0', serial: 48-b0}\n"
             b"minima: {gpus: 8}\nadvisories:\n- {name: CVE-1, product: nvidia-driver, fixed: ['535.1', '570.2']}\n", "alias": b"a: &x [1]\nb: [*x, *x]\n",
             "signature": b"untrusted comment: x\nRWQxMjM0NTY3OAAAAAA=\n"},
    "rpm": {"sqlite": rpm_sqlite([rpm_header("nvidia-driver", "570.1", [("/usr/lib64/libcuda.so.1", "0" * 64)])]),
            "ndb": rpm_ndb([rpm_header("nvidia-driver", "570.1", [("/usr/lib64/libcuda.so.1", "0" * 64)])]),
            "header": rpm_header("a", "1", [("/b/c", "0" * 64)])[1]},
    "containers": {"docker": b'{"Privileged":true,"Binds":["/dev:/dev"],"DeviceRequests":[{}],"Devices":[{"PathOnHost":"/dev/nvidia0"}],"Mounts":[{"Source":"/dev"}]}',
                   "oci": b'{"process":{"env":["NVIDIA_VISIBLE_DEVICES=all"],"capabilities":{"effective":["CAP_SYS_ADMIN"]}},"mounts":[{"source":"/dev"}],'
                   b'"linux":{"devices":[{"path":"/dev/nvidia0"}],"resources":{"devices":[{"allow":true,"access":"rwm"}]}}}',
                   "digest": b"0123456789ab privileged=1 gpu=0 dev=1\n"},
}

if __name__ == "__main__":
    for target, inputs in CORPUS.items():
        os.makedirs(os.path.join(sys.argv[1], target), exist_ok=True)
        for name, data in inputs.items():
            with open(os.path.join(sys.argv[1], target, name), "wb") as f:
                f.write(data)
