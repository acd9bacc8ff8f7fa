#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-doctor as a program, on every fixture host.

usage: test_hosts.py VGPU-DOCTOR HOSTDIR
Fails when: a host gets other verdicts than its fixture names; a bundle gives other verdicts than the
host, carries a planted secret or an identity; lspci reads other capabilities than we do; an empty tree
passes anything; a hostile bundle is accepted or leaves a file; the exit status disagrees with the report.
"""
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

DOCTOR, HOSTDIR = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
HOSTS = json.load(open(os.path.join(HOSTDIR, "hosts.json")))
WORST = ["error", "fail", "unknown", "warn", "info", "pass", "skipped", "notapplicable"]


def doctor(*args, **kw):
    return subprocess.run([DOCTOR, *args], capture_output=True, timeout=60, **kw)


def audit(*args):
    p = doctor(*args, "--format", "json")
    return p.returncode, json.loads(p.stdout)


def sanitized():
    """AddressSanitizer reserves terabytes of addresses."""
    with open(DOCTOR, "rb") as f:
        return b"__asan_init" in f.read()


def root(name):
    return os.path.join(HOSTDIR, name)


def verdicts(report):
    return sorted((r["id"], r["subject"], r["result"]) for r in report["results"])


def worst(report):
    w = {}
    for r in report["results"]:
        if r["id"] not in w or WORST.index(r["result"]) < WORST.index(w[r["id"]]):
            w[r["id"]] = r["result"]
    return w


class Hosts(unittest.TestCase):
    def test_expected_verdicts(self):
        for name, h in HOSTS.items():
            with self.subTest(host=name):
                code, report = audit("--root", root(name), "--mode", h["mode"])
                w = worst(report)
                self.assertEqual({k: w.get(k) for k in h["expect"]}, h["expect"])
                if h["exit"] is not None:
                    self.assertEqual(code, h["exit"])

    def test_exit_follows_the_results(self):
        for name, h in HOSTS.items():
            code, report = audit("--root", root(name), "--mode", h["mode"])
            got = {r["result"] for r in report["results"]}
            want = 2 if "fail" in got else 3 if got & {"unknown", "error"} else 1 if "warn" in got else 0
            self.assertEqual((name, code, report["exit"]), (name, want, want))

    def test_every_check_appears_and_none_errs(self):
        ids = {l.split()[0] for l in doctor("list").stdout.decode().splitlines() if re.match(r"[A-Z]+-\d", l)}
        for name in HOSTS:
            for mode in ("passthrough", "mig", "vgpu", "share", "bare"):
                report = audit("--root", root(name), "--mode", mode)[1]
                self.assertEqual({r["id"] for r in report["results"]}, ids)
                self.assertEqual([r for r in report["results"] if r["result"] == "error"], [], (name, mode))

    def test_mode_is_detected(self):
        for name, mode in (("intel-passthrough", "passthrough"), ("hgx-h100-mig", "mig"), ("vgpu-vendor-vfio", "vgpu"),
                           ("no-gpu", "bare")):
            report = audit("--root", root(name))[1]
            self.assertEqual((name, report["host"]["mode"], report["host"]["mode_given"]), (name, mode, False))

    def test_empty_root_passes_nothing(self):
        with tempfile.TemporaryDirectory() as d:
            for mode in ("passthrough", "mig", "vgpu", "share", "bare"):
                code, report = audit("--root", d, "--mode", mode)
                self.assertEqual([r["id"] for r in report["results"] if r["result"] in ("pass", "info")], [])
                self.assertEqual(code, 3)

    def test_only_and_skip(self):
        report = audit("--root", root("intel-passthrough"), "--only", "ACS,PCI-001")[1]
        ran = {r["id"] for r in report["results"] if r["result"] != "skipped"}
        self.assertTrue(ran and all(i.startswith("ACS-") or i == "PCI-001" for i in ran))

    def test_usage(self):
        for args in (["--mode", "x"], ["--format", "x"], ["nonsense"], ["explain", "X-1"], ["audit"]):
            self.assertEqual(doctor(*args).returncode, 64, args)

    def test_escape_from_the_root(self):
        """A link out of the tree is resolved inside it."""
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(d + "/proc")
            os.symlink("/../../../../../../proc/cmdline", d + "/proc/cmdline")
            os.symlink("loop", d + "/proc/loop")
            os.symlink("/proc/loop", d + "/proc/cpuinfo")
            os.mkfifo(d + "/proc/interrupts")
            r = audit("--root", d, "--mode", "passthrough")[1]
            text = json.dumps(r)
            with open("/proc/cmdline") as f:
                self.assertNotIn(f.read().strip()[:40], text)
            self.assertIn("Too many levels of symbolic links", text)


class Bundles(unittest.TestCase):
    def setUp(self):
        self.d = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.d)

    def bundle(self, name):
        path = os.path.join(self.d, name + ".tar.zst")
        p = doctor("collect", "--root", root(name), "-o", path)
        self.assertEqual(p.returncode, 0, p.stderr)
        return path

    def members(self, path):
        raw = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(raw)) as t:
            return {m.name: t.extractfile(m).read() for m in t}

    def test_same_verdicts_elsewhere(self):
        for name, h in HOSTS.items():
            path = self.bundle(name)
            for mode in {h["mode"], "share"}:
                here, there = audit("--root", root(name), "--mode", mode), audit("audit", path, "--mode", mode)
                self.assertEqual(here[0], there[0], name)
                self.assertEqual(verdicts(here[1]), verdicts(there[1]), name)

    def test_no_secret_leaves(self):
        path = self.bundle("canary")
        for member, data in self.members(path).items():
            self.assertNotIn(b"CANARY", data, member)
            self.assertNotIn(b"fixturehost", data, member)
            self.assertNotIn(b"52:54:00:ca:4a:4e", data, member)
            self.assertNotIn(b"11111111-2222", data, member)
            self.assertNotIn(b"SER123", data, member)
        formats = doctor("--help").stdout.decode().split("--format NAME")[1].split("\n")[0].replace(",", " ").split()
        for fmt in formats:
            for mode in ("passthrough", "share"):
                out = doctor("--root", root("canary"), "--format", fmt, "-v", "--mode", mode).stdout
                self.assertTrue(out)
                self.assertNotIn(b"CANARY", out, fmt)

    def test_redactions_are_listed(self):
        m = json.loads(self.members(self.bundle("canary"))["manifest.json"])
        self.assertGreaterEqual(m["redacted"]["secrets"], 9)
        self.assertIn("/boot/grub/grub.cfg", [i["path"] for i in m["items"] if i.get("redacted")])

    def refused(self, tar_bytes, why):
        path = os.path.join(self.d, "bad.tar.zst")
        with open(path, "wb") as f:
            subprocess.run(["zstd", "-q", "-c", "-T1"], input=tar_bytes, stdout=f, check=True)
        before = sorted(os.listdir(self.d))
        p = doctor("audit", path, cwd=self.d)
        self.assertEqual(p.returncode, 74, why)
        self.assertEqual(p.stdout, b"", why)
        self.assertIn(b"cannot use", p.stderr, why)
        self.assertEqual(sorted(os.listdir(self.d)), before)

    def tar(self, entries):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
            for name, kind, data in entries:
                info = tarfile.TarInfo(name)
                info.type, info.size = kind, len(data) if kind == tarfile.REGTYPE else 0
                if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                    info.linkname = data
                t.addfile(info, io.BytesIO(data) if kind == tarfile.REGTYPE else None)
        return out.getvalue()

    def test_hostile_bundles(self):
        reg, manifest = tarfile.REGTYPE, lambda items, **kw: json.dumps(
            {"format": "openvgpu.doctor.bundle", "version": 1, "items": items, **kw}).encode()
        ok = ("manifest.json", reg, manifest([]))
        item = {"op": "read", "path": "/proc/cmdline", "member": "root/proc/cmdline", "size": 1}
        self.refused(self.tar([ok, ("../../tmp/x", reg, b"x")]), "path escape")
        self.refused(self.tar([ok, ("/etc/passwd", reg, b"x")]), "absolute path")
        self.refused(self.tar([ok, ("root/../../x", reg, b"x")]), "path escape inside")
        self.refused(self.tar([ok, ("root/a", tarfile.SYMTYPE, "a")]), "symlink loop")
        self.refused(self.tar([ok, ("root/a", tarfile.LNKTYPE, "/etc/shadow")]), "hard link")
        self.refused(self.tar([ok, ("root/a", tarfile.CHRTYPE, b"")]), "device")
        self.refused(self.tar([("root/a", reg, b"")]), "no manifest")
        self.refused(self.tar([("manifest.json", reg, b"{")]), "broken manifest")
        self.refused(self.tar([("manifest.json", reg, manifest([item]))]), "member missing")
        self.refused(self.tar([("manifest.json", reg, manifest([{"op": "list", "path": "/a", "names": ["../x"]}]))]), "name in listing")
        self.refused(self.tar([("manifest.json", reg, b"[" * 100000)]), "deep nesting")
        self.refused(self.tar([ok])[:300], "cut tar")
        self.refused(b"", "empty")
        self.refused(bytes(1024), "no entries")

    def test_bomb_and_flood(self):
        path = os.path.join(self.d, "bomb.tar.zst")
        with open(path, "wb") as f, subprocess.Popen(["zstd", "-q", "-c", "-T1", "-1"], stdin=subprocess.PIPE, stdout=f) as z:
            z.stdin.write(self.tar([("manifest.json", tarfile.REGTYPE, b"{}")])[:1024])
            for _ in range(300):
                z.stdin.write(bytes(1 << 20))
        p = doctor("audit", path)
        self.assertEqual((p.returncode, p.stdout), (74, b""))
        self.assertIn(b"refused", p.stderr)
        head = self.tar([("root/a", tarfile.REGTYPE, b"")])[:512]
        self.refused(head * 400000, "a flood of entries")

    def test_a_million_entries(self):
        """Refused at the 100001st, in seconds and without growing: the same header again and again."""
        path = os.path.join(self.d, "million.tar.zst")
        head = self.tar([("root/a", tarfile.REGTYPE, b"")])[:512]
        with open(path, "wb") as f, subprocess.Popen(["zstd", "-q", "-c", "-T1", "-1"], stdin=subprocess.PIPE, stdout=f) as z:
            for _ in range(1000):
                z.stdin.write(head * 1000)
        limits = {} if sanitized() else {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (192 << 20, 192 << 20))}
        p = doctor("audit", path, **limits)
        self.assertEqual((p.returncode, p.stdout), (74, b""))
        self.assertIn(b"cannot use", p.stderr)
        self.assertNotIn(b"memory", p.stderr)

    def test_not_a_bundle(self):
        for data in (b"hello", b"\x28\xb5\x2f\xfd" + b"\xff" * 64):
            path = os.path.join(self.d, "x")
            with open(path, "wb") as f:
                f.write(data)
            self.assertEqual(doctor("audit", path).returncode, 74)


class Oracle(unittest.TestCase):
    """Unmodified lspci reads the generated configuration space as we do."""

    def setUp(self):
        if not shutil.which("lspci"):
            self.skipTest("lspci is not installed")

    def lspci(self, name, *args):
        return subprocess.run(["lspci", "-A", "linux-sysfs", "-O", "sysfs.path=%s/sys/bus/pci" % root(name), *args],
                              check=True, capture_output=True, text=True).stdout

    def test_devices_and_ids(self):
        for name in ("intel-passthrough", "hgx-h200-share", "vgpu-vendor-vfio"):
            out = self.lspci(name, "-D", "-n")
            listed = {l.split()[0] for l in out.splitlines()}
            self.assertEqual(listed, set(os.listdir(root(name) + "/sys/bus/pci/devices")))
            h = audit("--root", root(name))[1]["host"]
            self.assertEqual(len(re.findall(r"0302: 10de:23", out)), h["gpus"] + h["virtual_functions"])

    def test_acs(self):
        out = self.lspci("acs-cleared", "-vvv", "-s", "00:01.0")
        self.assertRegex(out, r"ACSCap:\s+SrcValid\+ TransBlk\+ ReqRedir\+ CmpltRedir\+ UpstreamFwd\+")
        self.assertRegex(out, r"ACSCtl:\s+SrcValid- TransBlk- ReqRedir- CmpltRedir- UpstreamFwd-")
        self.assertRegex(out, r"Root Port")
        out = self.lspci("intel-passthrough", "-vvv", "-s", "00:01.0")
        self.assertRegex(out, r"ACSCtl:\s+SrcValid\+ TransBlk- ReqRedir\+ CmpltRedir\+ UpstreamFwd\+")

    def test_gpu_capabilities(self):
        out = self.lspci("intel-passthrough", "-vvv", "-s", "10:00.0")
        for pattern in (r"Express \(v2\) Endpoint", r"FLReset\+", r"Speed 32GT/s, Width x16", r"Device Serial Number 48-b0-2d-ff-fe-00-00-10",
                        r"Address Translation Service", r"ATSCtl:\s+Enable-", r"Total VFs: 32", r"Memory at .*64-bit, prefetchable\) \[.*size=256G\]"):
            self.assertRegex(out, pattern)


    def test_hexdump(self):
        """A dump as bug reports carry it (lspci -xxx), read back by lspci -F, shows the capabilities we decode."""
        with tempfile.NamedTemporaryFile("w", suffix=".hex") as f:
            f.write(self.lspci("intel-passthrough", "-xxxx", "-D"))
            f.flush()
            out = subprocess.run(["lspci", "-F", f.name, "-vvv", "-s", "00:01.0"], check=True, capture_output=True, text=True).stdout
        self.assertRegex(out, r"ACSCtl:\s+SrcValid\+ TransBlk- ReqRedir\+ CmpltRedir\+ UpstreamFwd\+")


class Given(unittest.TestCase):
    """What the auditor brings along."""

    def setUp(self):
        self.d = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.d)

    def put(self, name, text):
        with open(os.path.join(self.d, name), "w") as f:
            f.write(text)
        return f.name

    def one(self, ident, *args, **kw):
        p = doctor(*args, "--only", ident, "--format", "json", **kw)
        return next(r for r in json.loads(p.stdout)["results"] if r["id"] == ident)

    def test_site_list(self):
        site = self.put("site.yaml", 'firmware: [{board: FIXTURE, version: "9"}]\n')
        self.assertEqual(self.one("PCI-015", "--root", root("intel-passthrough"), "--site", site)["result"], "warn")
        self.assertEqual(doctor("--site", "/nonexistent", "--root", self.d).returncode, 74)

    def test_inventory_survives_redaction(self):
        site = self.put("site.yaml", 'gpus: [{address: "0000:10:00.0", serial: 48-b0-2d-ff-fe-00-00-10}, {address: "0000:20:00.0", serial: 1-2}]\n')
        bundle = os.path.join(self.d, "b.tar.zst")
        self.assertEqual(doctor("collect", "--root", root("intel-passthrough"), "--site", site, "-o", bundle).returncode, 0)
        here = [(r["subject"], r["result"]) for r in audit("--root", root("intel-passthrough"), "--site", site)[1]["results"] if r["id"] == "PCI-019"]
        there = [(r["subject"], r["result"]) for r in audit("audit", bundle)[1]["results"] if r["id"] == "PCI-019"]
        self.assertEqual(here, [("0000:10:00.0", "pass"), ("0000:20:00.0", "warn")])
        self.assertEqual(here, there)
        raw = subprocess.run(["zstd", "-dc", bundle], check=True, capture_output=True).stdout
        self.assertNotIn(b"48-b0-2d", raw)

    def test_log(self):
        for text in ("Nov 22 10:00:00 h kernel: NVRM: Xid (PCI:0000:12:00): 79, pid=1, GPU has fallen off the bus.\n",
                     json.dumps({"_TRANSPORT": "kernel", "MESSAGE": "NVRM: Xid (PCI:0000:12:00): 79, pid=1, GPU has fallen off the bus."}) + "\n"):
            log = self.put("log", text)
            self.assertEqual(self.one("BIND-026", "--root", root("hgx-h200-share"), "--mode", "share", "--log", log)["result"], "fail")
            self.assertEqual(doctor("explain-log", log).returncode, 2)
            self.assertEqual(self.one("BIND-026", "--root", root("hgx-h200-share"), "--mode", "share", "--log", "-", input=text.encode())["result"], "fail")

    def test_verify(self):
        for name, result in (("tampered-library", "warn"), ("rhel-driver", "pass")):
            self.assertEqual(self.one("BIND-029", "--root", root(name), "--mode", "share", "--verify")["result"], result)


class ThisMachine(unittest.TestCase):
    """The machine the test runs on, as whoever runs it and as nobody: never an error, and without root never
    more than with it."""

    def test_as_is(self):
        code, report = audit("--mode", "passthrough")
        self.assertIn(code, (0, 1, 2, 3))
        self.assertEqual([r for r in report["results"] if r["result"] == "error"], [])

    def test_as_nobody(self):
        if os.geteuid():
            self.skipTest("needs root to become nobody")
        with tempfile.TemporaryDirectory() as d:  # nobody may not reach the build directory
            os.chmod(d, 0o755)
            shutil.copy(DOCTOR, d + "/vgpu-doctor")
            out = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", d + "/vgpu-doctor", "--mode", "passthrough",
                                  "--format", "json"], capture_output=True, timeout=60)
        report = json.loads(out.stdout)
        self.assertEqual([r for r in report["results"] if r["result"] == "error"], [])
        mine = worst(audit("--mode", "passthrough")[1])
        theirs = worst(report)
        # What root cannot tell, or finds wrong, nobody does not call good.
        self.assertEqual([i for i in mine if mine[i] in ("fail", "unknown") and theirs[i] == "pass"], [])
        self.assertIn("root", report["limits"])


class Explain(unittest.TestCase):
    def test_every_check_explains_itself(self):
        for line in doctor("list").stdout.decode().splitlines()[:-1]:
            out = doctor("explain", line.split()[0]).stdout.decode()
            self.assertIn("Why:", out)
            self.assertIn("Remedy:", out)

    def test_log(self):
        log = b"[    1.0] NVRM: Xid (PCI:0000:12:00): 79, pid=1, GPU has fallen off the bus.\nnothing\n" \
              b"qemu-system-x86_64: vfio 0000:10:00.0: VFIO_MAP_DMA failed: Cannot allocate memory\n"
        p = doctor("explain-log", "-", input=log)
        self.assertEqual(p.returncode, 2)
        self.assertIn(b"fallen off", p.stdout)
        self.assertIn(b"memlock", p.stdout)
        self.assertIn(b"2 line(s)", p.stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
