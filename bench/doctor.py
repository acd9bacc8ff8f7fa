#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A full audit of a large host: eight GPUs with their virtual functions, 500 PCI functions in all.

usage: doctor.py VGPU-DOCTOR RUSAGE [--runs N] [--format NAME] [--limit-rss MIB]
Prints the median and the range of N runs' wall and processor time and the largest resident set. The tree is
made anew in a temporary directory and read once before (a page cache as on a host that runs). The initramfs is
left out; NVML's answer is a recorded one. --limit-rss: exit 1 when more was resident.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/doctor"))
import hosts  # noqa: E402

FUNCTIONS = 500


def large():
    h = hosts.hgx(hosts.H200_SXM, "vgpu")
    gpus = [b for b in h.devpath if h.files[h.devpath[b] + "/class"] == b"0x030200\n"]
    group = 1000
    for b in gpus:
        for v in range(32):
            vf = b[:-4] + "%02x.%d" % ((v + 2) // 8, (v + 2) % 8)
            h.pci(vf, 0x10DE, hosts.H200_SXM, 0x030200, parent=os.path.basename(os.path.dirname(h.devpath[b])), driver="nvidia", group=group, vf_of=b, link=None)
            h.put(h.devpath[vf] + "/nvidia/creatable_vgpu_types", "1414 : NVIDIA H200X-1-18C\n1428 : NVIDIA H200X-141C\n")
            h.line(h.devpath[vf] + "/nvidia/current_vgpu_type", 1414)
            group += 1
    for n in range(200):  # disks and network cards below root ports of their own
        if len(h.devpath) >= FUNCTIONS:
            break
        bus, dom = n % 200 + 16, "0001"
        port = h.port(0, bus, group, bdf="%s:00:%02x.%d" % (dom, n // 8, n % 8), node=n % 2)
        if len(h.devpath) < FUNCTIONS:
            h.pci("%s:%02x:00.0" % (dom, bus), 0x15B3, 0x1021, 0x020000 if n % 2 else 0x010802, parent=port, driver="mlx5_core" if n % 2 else "nvme",
                  group=group + 1, node=n % 2, subsystem=(0x15B3, 1))
        group += 2
    assert len(gpus) == 8 and len(h.devpath) == FUNCTIONS, (len(gpus), len(h.devpath))
    return h


def once(argv):
    """Wall ms, processor ms, MiB resident at most; the report's exit status (0 to 3) is no failure here."""
    out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    wall, cpu, kib, status = map(int, out.split())
    assert status in (0, 1, 2, 3), status
    return wall / 1e3, cpu / 1e3, kib / 1024


def main():
    p = argparse.ArgumentParser()
    p.add_argument("doctor")
    p.add_argument("rusage")
    p.add_argument("--format", default="text")
    p.add_argument("--runs", type=int, default=31)
    p.add_argument("--limit-rss", type=float)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        large().write(d)
        argv = [os.path.abspath(a.doctor), "--root", d, "--mode", "vgpu", "--no-initramfs", "--format"]
        report = json.loads(subprocess.run(argv + ["json"], stdout=subprocess.PIPE).stdout)
        assert report["host"]["gpus"] == 8 and report["host"]["virtual_functions"] == 256, report["host"]
        runs = [once([os.path.abspath(a.rusage), *argv, a.format]) for _ in range(a.runs)]
    for i, (name, unit) in enumerate((("wall", "ms"), ("processor", "ms"), ("resident", "MiB"))):
        v = sorted(r[i] for r in runs)
        print("doctor_%-10s %7.1f %s  (%.1f to %.1f, %d runs; %d functions, %d results)" % (
            name, statistics.median(v), unit, v[0], v[-1], len(v), FUNCTIONS, len(report["results"])))
    worst = max(r[2] for r in runs)
    if a.limit_rss and worst > a.limit_rss:
        print("more resident than %.0f MiB" % a.limit_rss)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
