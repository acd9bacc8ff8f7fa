#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-doctor's formats, waivers, baselines, status files.

usage: test_formats.py VGPU-DOCTOR HOSTDIR SCHEMA [SCREENSHOT.png]
Fails when a format is malformed or tells another story than JSON, a waiver outlives its day, drift goes
unseen, or a status file stays behind.
"""
import datetime
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

DOCTOR, HOSTDIR, SCHEMA = (os.path.abspath(a) for a in sys.argv[1:4])
SHOT = os.path.abspath(sys.argv[4]) if len(sys.argv) > 4 else None
HOST = os.path.join(HOSTDIR, "proxmox-override")


def doctor(*args):
    return subprocess.run([DOCTOR, *args], capture_output=True, text=True, timeout=60)


def report(fmt, host=HOST, mode="passthrough", *more):
    return doctor("--root", host, "--mode", mode, "--format", fmt, *more).stdout


def violations(schema, value, at="report"):
    """The part of JSON Schema that ours uses."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "enum" in schema and value not in schema["enum"]:
        yield "%s: %r is none of %s" % (at, value, schema["enum"])
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        yield "%s: no %s" % (at, schema["type"])
        return
    for key in schema.get("required", []):
        if key not in value:
            yield "%s: lacks %s" % (at, key)
    for key, sub in schema.get("properties", {}).items():
        if isinstance(value, dict) and key in value:
            yield from violations(sub, value[key], at + "." + key)
    if isinstance(value, dict) and "properties" in schema:
        for key in set(value) - set(schema["properties"]):
            yield "%s: unknown %s" % (at, key)
    if "items" in schema:
        for i, v in enumerate(value):
            yield from violations(schema["items"], v, "%s[%d]" % (at, i))


class Formats(unittest.TestCase):
    def setUp(self):
        self.json = json.loads(report("json"))

    def count(self, *kinds):
        return sum(r["result"] in kinds for r in self.json["results"])

    def test_json_keeps_its_schema(self):
        with open(SCHEMA) as f:
            schema = json.load(f)
        for name in ("proxmox-override", "hgx-h100-mig", "container", "canary"):
            data = json.loads(report("json", os.path.join(HOSTDIR, name), "mig"))
            self.assertEqual(list(violations(schema, data)), [], name)
            self.assertEqual(sum(data["summary"].values()), len(data["results"]))

    def test_sarif(self):
        run = json.loads(report("sarif"))["runs"][0]
        rules = {r["id"] for r in run["tool"]["driver"]["rules"]}
        self.assertGreaterEqual(len(rules), 140)
        self.assertTrue(all(r["ruleId"] in rules for r in run["results"]))
        self.assertEqual(sum(r["level"] == "error" for r in run["results"]), self.count("fail"))
        self.assertEqual(sum(r["kind"] == "open" for r in run["results"]), self.count("unknown", "error"))
        # kind other than fail has level none: SARIF 2.1.0, 3.27.10
        self.assertTrue(all(r["level"] == "none" for r in run["results"] if r["kind"] != "fail"))

    def test_junit(self):
        root = ET.fromstring(report("junit"))
        self.assertEqual(len(root.findall(".//testcase")), len(self.json["results"]))
        self.assertEqual(len(root.findall(".//failure")), self.count("fail", "warn"))
        self.assertEqual(sum(int(s.get("failures")) for s in root), self.count("fail", "warn"))

    def test_ocsf(self):
        data = json.loads(report("ocsf"))
        self.assertTrue(all(d["class_uid"] == 2003 and d["type_uid"] == d["class_uid"] * 100 + d["activity_id"] for d in data))
        self.assertEqual(sum(d["compliance"]["status_id"] == 3 for d in data), self.count("fail"))

    def test_prometheus(self):
        out = report("prometheus")
        for line in out.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? \d+)$')
        self.assertIn('openvgpu_doctor_results{result="fail"} %d' % self.count("fail"), out)
        self.assertIn('openvgpu_doctor_check{id="ACS-006",severity="critical"} 2', out)

    def test_html_is_whole_and_alone(self):
        out = report("html")
        void, stack, ids, links = {"meta", "rect", "path", "br"}, [], set(), []

        class P(HTMLParser):
            def handle_starttag(self, tag, attrs):
                attrs = dict(attrs)
                if tag not in void:
                    stack.append(tag)
                if "id" in attrs:
                    assert attrs["id"] not in ids, attrs["id"]
                    ids.add(attrs["id"])
                if tag == "a":
                    links.append(attrs["href"])
                assert not ({"src", "onload", "onclick"} & set(attrs)) and tag not in ("script", "link", "img", "iframe"), tag

            def handle_startendtag(self, tag, attrs):
                pass

            def handle_endtag(self, tag):
                assert stack.pop() == tag, tag

        P().feed(out)
        self.assertEqual(stack, [])
        self.assertTrue(links and all(l.startswith("#") and l[1:] in ids for l in links))
        for r in self.json["results"]:
            if r["result"] == "fail":
                self.assertIn(r["id"], out)
                self.assertIn("<b>%s</b>: %s" % (html.escape(r["subject"]), html.escape(r["message"], quote=True).replace("&#x27;", "&#39;")), out)
        self.assertIn('<h2 id="fail">Failures (%d)' % self.count("fail"), out)

    def test_html_escapes(self):
        with tempfile.TemporaryDirectory() as d:
            shutil.copytree(HOST, d + "/h", symlinks=True)
            with open(d + "/h/proc/cmdline", "w") as f:
                f.write("pcie_acs_override=<script>alert(1)</script> root=/dev/sda\n")
            out = report("html", d + "/h")
            self.assertNotIn("<script", out)
            self.assertIn("&lt;script&gt;", out)
            ET.fromstring(report("junit", d + "/h"))

    def test_in_a_browser(self):
        browser = shutil.which("chromium")
        if not browser:
            self.skipTest("chromium is not installed")
        with tempfile.TemporaryDirectory() as d:
            with open(d + "/r.html", "w") as f:
                f.write(report("html", os.path.join(HOSTDIR, "xid-storm"), "share"))
            shot = SHOT or d + "/r.png"
            base = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + d + "/p"]
            dom = subprocess.run(base + ["--dump-dom", "file://" + d + "/r.html"], capture_output=True, text=True, timeout=90).stdout
            # 8 GPUs and 4 switches, a port above each, 5 root ports and 5 upstream ports; 2 nodes; NVLink
            self.assertEqual([dom.count('<rect class="%s"' % c) for c in ("dev", "band", "bus")], [12 + 12 + 5 + 5, 2, 1])
            self.assertEqual(dom.count(">18/18<"), 8)
            self.assertIn("BIND-026", dom)
            subprocess.run(base + ["--screenshot=" + shot, "--window-size=1200,2600", "file://" + d + "/r.html"], capture_output=True, timeout=90)
            self.assertGreater(os.path.getsize(shot), 50000)


class Waivers(unittest.TestCase):
    def run_with(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            f.write(text)
            f.flush()
            return doctor("--root", os.path.join(HOSTDIR, "placebo"), "--mode", "share", "--format", "json", "--waive", f.name)

    def waiver(self, days, ident="BIND-021", **kw):
        day = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=days)
        fields = dict({"id": ident, "subject": '"*"', "reason": "tested hardware", "owner": "ops", "expires": day.isoformat()}, **kw)
        return "waivers:\n  - " + "\n    ".join("%s: %s" % i for i in fields.items() if i[1]) + "\n"

    def one(self, p, ident="BIND-021"):
        return next(r for r in json.loads(p.stdout)["results"] if r["id"] == ident)

    def test_holds_until_its_day(self):
        for days, result in ((1, "info"), (0, "info"), (-1, "fail")):
            r = self.one(self.run_with(self.waiver(days)))
            self.assertEqual(r["result"], result, days)
            self.assertEqual("waived" in r, result == "info")
        self.assertIn("expired", r["message"])

    def test_exit_status_follows(self):
        self.assertEqual(self.run_with("waivers: []\n").returncode, 2)
        self.assertEqual(self.run_with(self.waiver(5)).returncode, 1)

    def test_refused(self):
        for text in (self.waiver(5, owner=""), self.waiver(5, reason=""), self.waiver(5, expires="soon"), self.waiver(5, expires="2026-02-30"),
                     self.waiver(5, ident="NOPE-001"), self.waiver(5, extra="x"), self.waiver(40, ident="ACS-006"), "waivers: x\n", "- a\n",
                     "waivers: [\n", "", "&a [*a]\n"):
            p = self.run_with(text)
            self.assertEqual((p.returncode, p.stdout), (64, ""), text)
        self.assertNotEqual(self.run_with(self.waiver(29, ident="ACS-006")).returncode, 64)


class Drift(unittest.TestCase):
    def diff(self, a, b):
        with tempfile.TemporaryDirectory() as d:
            for n, h in (("a", a), ("b", b)):
                with open("%s/%s" % (d, n), "w") as f:
                    f.write(report("json", os.path.join(HOSTDIR, h)) if h else "{}")
            return doctor("diff", d + "/a", d + "/b")

    def test_diff(self):
        self.assertEqual(self.diff("intel-passthrough", "intel-passthrough").returncode, 0)
        p = self.diff("intel-passthrough", "unsafe-interrupts")
        self.assertEqual(p.returncode, 2)
        self.assertRegex(p.stdout, r"worse +IOMMU-011")
        self.assertEqual(self.diff("unsafe-interrupts", "intel-passthrough").returncode, 1)
        self.assertEqual(self.diff("intel-passthrough", None).returncode, 74)

    def test_assert(self):
        self.assertEqual(doctor("assert", "--root", os.path.join(HOSTDIR, "intel-passthrough")).returncode, 0)
        p = doctor("assert", "--root", os.path.join(HOSTDIR, "unsafe-interrupts"), "--only", "IOMMU")
        self.assertEqual((p.returncode, len(p.stdout.splitlines())), (1, 1))

    def test_status_files(self):
        with tempfile.TemporaryDirectory() as d:
            doctor("--root", os.path.join(HOSTDIR, "intel-passthrough"), "--write-status", d)
            self.assertLessEqual({"doctor-ready", "iommu-ready", "acs-ready", "pci-ready"}, set(os.listdir(d)))
            doctor("--root", os.path.join(HOSTDIR, "unsafe-interrupts"), "--write-status", d)
            self.assertNotIn("doctor-ready", os.listdir(d))
            self.assertNotIn("iommu-ready", os.listdir(d))
            self.assertIn("acs-ready", os.listdir(d))

    def test_alert(self):
        """What is worse than the day before is told as errors of the journal, once; nothing is told of a first day."""
        with tempfile.TemporaryDirectory() as d:
            def day(host, journal=True):
                with tempfile.TemporaryFile("w+") as err:
                    s = os.fstat(err.fileno())
                    env = dict(os.environ, JOURNAL_STREAM="%d:%d" % (s.st_dev, s.st_ino if journal else s.st_ino + 1))
                    subprocess.run([DOCTOR, "--root", os.path.join(HOSTDIR, host), "--write-status", d, "--alert"],
                                   stdout=subprocess.DEVNULL, stderr=err, timeout=60, env=env)
                    err.seek(0)
                    told = err.read().splitlines()
                with open(os.path.join(d, "report.json")) as r, open(os.path.join(d, "doctor.prom")) as m:
                    return told, json.load(r), m.read()
            told, _, metrics = day("unsafe-interrupts")
            self.assertEqual([line for line in told if "worse" in line], [])
            self.assertIn("\nopenvgpu_doctor_worse 0\n", metrics)
            self.assertEqual(day("intel-passthrough")[0], [])
            told, report, metrics = day("unsafe-interrupts")
            self.assertTrue(told and all(line.startswith("<3>worse ") for line in told), told)
            self.assertTrue([line for line in told if "IOMMU-011" in line], told)
            self.assertIn("\nopenvgpu_doctor_worse %d\n" % len(told), metrics)
            self.assertEqual(report["schema"], "openvgpu.doctor.report")
            self.assertEqual(day("unsafe-interrupts")[0], [])
            day("intel-passthrough")
            told = day("unsafe-interrupts", journal=False)[0]
            self.assertTrue(told and all(line.startswith("vgpu-doctor: worse ") for line in told), told)
            os.unlink(os.path.join(d, "report.json"))
            os.mkdir(os.path.join(d, "report.json"))  # not to be replaced by a file
            p = doctor("--root", os.path.join(HOSTDIR, "intel-passthrough"), "--write-status", d, "--alert")
            self.assertEqual(p.returncode, 74)
            self.assertEqual(doctor("--alert").returncode, 64)

    def test_nothing_else_is_written(self):
        """Every verb that only looks leaves the audited tree as it was."""
        def state(top):
            return sorted((p, os.lstat(os.path.join(p, n)).st_mtime_ns, n) for p, ds, fs in os.walk(top) for n in ds + fs)
        host = os.path.join(HOSTDIR, "stale-initramfs")
        before = state(host)
        for args in (["check"], ["plan", "--for", "passthrough"], ["assert"], ["collect", "-o", "/dev/null"]):
            doctor(*args, "--root", host)
        self.assertEqual(state(host), before)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
