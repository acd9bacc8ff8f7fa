#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plan, apply and revert on a host of each distribution family.

usage: test_plan.py VGPU-DOCTOR HOSTDIR
Fails when a plan weakens a protection or blocks the driver of a sharing host, apply writes anything but
files of its own name, a second apply changes something, or revert does not bring every byte back.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

DOCTOR, HOSTDIR = (os.path.abspath(a) for a in sys.argv[1:3])
FAMILIES = {"intel-passthrough": "update-initramfs", "rhel-passthrough": "dracut", "suse-passthrough": "dracut", "arch-uki": "mkinitcpio",
            "proxmox-override": "update-initramfs", "hgx-h200-share": "update-initramfs"}
FORBIDDEN = ("pcie_acs_override=", "allow_unsafe_interrupts", "noiommu", "mitigations", "intremap")


def doctor(*args):
    return subprocess.run([DOCTOR, *args], capture_output=True, text=True, timeout=60)


def snapshot(top):
    """Path → kind, mode, owner, mtime and content of everything below."""
    out = {}
    for parent, dirs, files in os.walk(top):
        for n in dirs + files:
            p = os.path.join(parent, n)
            st = os.lstat(p)
            if os.path.islink(p):
                out[p] = ("link", os.readlink(p))
            elif os.path.isdir(p):
                out[p] = ("dir", st.st_mode)
            else:
                with open(p, "rb") as f:
                    out[p] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, hashlib.sha256(f.read()).hexdigest())
    return out


class Plan(unittest.TestCase):
    def setUp(self):
        self.d = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.d)

    def host(self, name):
        top = os.path.join(self.d, name)
        shutil.copytree(os.path.join(HOSTDIR, name), top, symlinks=True)
        return top

    def test_every_family_and_goal(self):
        for name, tool in FAMILIES.items():
            for goal in ("passthrough", "mig", "vgpu", "share"):
                with self.subTest(host=name, goal=goal):
                    out = doctor("plan", "--root", os.path.join(HOSTDIR, name), "--for", goal).stdout
                    self.assertIn(tool, out)
                    for line in out.splitlines():
                        if line.startswith("+"):
                            self.assertFalse([w for w in FORBIDDEN if w in line], line)
                            if goal != "passthrough":
                                self.assertNotRegex(line, r"(blacklist|install) nvidia|vfio-pci")

    def test_apply_is_idempotent_and_revert_exact(self):
        for name in FAMILIES:
            for goal in ("passthrough", "vgpu"):
                with self.subTest(host=name, goal=goal):
                    top = self.host(name)
                    before = snapshot(top)
                    p = doctor("apply", "--root", top, "--for", goal)
                    self.assertEqual(p.returncode, 0, p.stderr)
                    after = snapshot(top)
                    new = [k for k in after if after[k] != before.get(k) and after[k][0] != "dir"]
                    self.assertTrue(new)
                    for path in new:
                        self.assertIn("openvgpu-doctor" if "vgpu-doctor/" not in path else "applied.json", path)
                    self.assertIn("0 file(s)", doctor("apply", "--root", top, "--for", goal).stdout)
                    self.assertEqual(snapshot(top), after)
                    self.assertEqual(doctor("revert", "--root", top).returncode, 0)
                    self.assertEqual(snapshot(top), before)
                    self.assertEqual(doctor("revert", "--root", top).returncode, 74)
                    shutil.rmtree(top)

    def test_an_older_drop_in_comes_back(self):
        top = self.host("intel-passthrough")
        path = top + "/etc/modprobe.d/openvgpu-doctor.conf"
        with open(path, "wb") as f:
            f.write(b"# of an older version\xff\n")
        os.chmod(path, 0o640)
        os.utime(path, ns=(1, 1234567891011121314))
        before = snapshot(top)
        doctor("apply", "--root", top, "--for", "passthrough")
        doctor("apply", "--root", top, "--for", "share")  # a second goal on top: still back to the first state
        self.assertNotEqual(snapshot(top), before)
        self.assertEqual(doctor("revert", "--root", top).returncode, 0)
        self.assertEqual(snapshot(top), before)

    def test_foreign_changes_are_not_destroyed(self):
        top = self.host("intel-passthrough")
        doctor("apply", "--root", top, "--for", "passthrough")
        path = top + "/etc/modprobe.d/openvgpu-doctor.conf"
        with open(path, "a") as f:
            f.write("# mine\n")
        p = doctor("revert", "--root", top)
        self.assertEqual(p.returncode, 74)
        self.assertIn("changed by somebody else", p.stderr)
        with open(path) as f:
            self.assertTrue(f.read().endswith("# mine\n"))

    def test_only_the_gpus_named(self):
        out = doctor("plan", "--root", os.path.join(HOSTDIR, "intel-passthrough"), "--for", "passthrough", "--gpus", "0000:20:00.0").stdout
        self.assertIn("0000:20:00.0", out)
        self.assertNotIn("0000:10:00.0", out)
        p = doctor("plan", "--root", os.path.join(HOSTDIR, "intel-passthrough"), "--for", "passthrough", "--gpus", "0000:99:00.0")
        self.assertEqual((p.returncode, p.stdout), (74, ""))

    def test_links_do_not_lead_out(self):
        top = self.host("intel-passthrough")
        outside = os.path.join(self.d, "outside")
        os.mkdir(outside)
        shutil.rmtree(top + "/etc/modprobe.d")
        os.symlink(outside, top + "/etc/modprobe.d")
        os.makedirs(top + "/etc/udev/rules.d")
        os.symlink(os.path.join(outside, "victim"), top + "/etc/udev/rules.d/10-openvgpu-doctor.rules")
        doctor("apply", "--root", top, "--for", "passthrough")
        self.assertEqual(os.listdir(outside), [])

    def test_plan_cures(self):
        """After apply, what the plan is for no longer fails (as far as files go)."""
        top = self.host("hgx-h200-share")
        doctor("apply", "--root", top, "--for", "share")
        p = doctor("check", "--root", top, "--mode", "share", "--only", "BIND-003,BIND-004")
        self.assertEqual(p.returncode, 0, p.stdout)
        top = self.host("iommu-off")
        doctor("apply", "--root", top, "--for", "passthrough")
        out = doctor("check", "--root", top, "--mode", "passthrough", "--only", "KPARAM-006", "-v").stdout
        self.assertIn("intel_iommu", out)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
