#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The doctor on trees captured from real machines (hwloc's, with and without PCI configuration space).

usage: test_captures.py VGPU-DOCTOR DATADIR
Skipped when the captures are absent. Fails when a partial tree makes the doctor err or pass what it cannot
see, a PCI domain other than 0000 is lost, or lspci finds other functions than we do.
"""
import glob
import json
import os
import subprocess
import sys
import tarfile
import tempfile

doctor, data = os.path.abspath(sys.argv[1]), sys.argv[2]
archives = sorted(glob.glob(os.path.join(data, "hwloc", "*.tar.bz2")))
if not archives:
    print("SKIP: no captures in %s" % data)
    sys.exit(77)



def text(path):
    with open(path) as f:
        return f.read()


for archive in archives:
    with tempfile.TemporaryDirectory() as d:
        with tarfile.open(archive) as t:
            # The captures are trusted data of this project; still nothing absolute or upward is unpacked.
            t.extractall(d, [m for m in t if not m.name.startswith(("/", "..")) and (m.isfile() or m.isdir() or m.issym())])
        root = os.path.join(d, os.listdir(d)[0])
        bus = os.path.join(root, "sys/bus/pci/devices")
        for mode in ("passthrough", "share", "bare"):
            p = subprocess.run([doctor, "--root", root, "--mode", mode, "--format", "json"], capture_output=True, timeout=60)
            report = json.loads(p.stdout)
            results = report["results"]
            assert p.returncode in (2, 3), (archive, mode, p.returncode)
            assert not [r for r in results if r["result"] == "error"], (archive, mode)
            # What is not in the tree (module list, modprobe.d, mostly the command line) can prove nothing.
            ids = ["IOMMU-011", "BIND-003", "BIND-004"]
            if not os.path.exists(os.path.join(root, "proc/cmdline")):
                ids += ["IOMMU-005", "ACS-006", "KPARAM-008"]
            for ident in ids:
                got = {r["result"] for r in results if r["id"] == ident}
                assert got <= {"unknown", "notapplicable"}, (archive, mode, ident, got)
            subjects = {r["subject"] for r in results}
            gpus = [b for b in os.listdir(bus) if os.path.exists(os.path.join(bus, b, "class")) and
                    text(os.path.join(bus, b, "class")).startswith(("0x0302", "0x0300", "0x12"))]
            for b in gpus:
                if os.path.exists(os.path.join(bus, b, "vendor")):
                    continue
                assert b in subjects, (archive, mode, b, "lost")
        print("%s: %d functions, domains %s: ok" % (os.path.basename(archive), len(os.listdir(bus)), sorted({b.split(":")[0] for b in os.listdir(bus)})))
