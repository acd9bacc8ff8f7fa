#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVML in its child process: an answer, no library, and a library that never returns.

usage: test_nvml.py VGPU-DOCTOR FAKE-LIBRARY CAPTURE
Fails when the doctor hangs with the library, leaves the child behind, or takes silence for an answer.
"""
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

DOCTOR, FAKE, CAPTURE = (os.path.abspath(a) for a in sys.argv[1:4])


class Nvml(unittest.TestCase):
    def ask(self, **env):
        """What a bundle of this machine says of NVML, and how long it took."""
        with tempfile.TemporaryDirectory() as d:
            start = time.monotonic()
            subprocess.run([DOCTOR, "collect", "--no-initramfs", "-o", d + "/b.tar.zst"], check=True, capture_output=True, timeout=60,
                           env=dict(os.environ, FAKE_NVML_CAPTURE=CAPTURE, **env))
            took = time.monotonic() - start
            raw = subprocess.run(["zstd", "-dc", d + "/b.tar.zst"], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(raw)) as t:
            items = json.load(t.extractfile("manifest.json"))["items"]
            item = next(i for i in items if i["path"] == "nvml:")
            return item, t.extractfile(item["member"]).read() if "member" in item else b"", took

    def test_answer(self):
        item, data, _ = self.ask(LD_LIBRARY_PATH=os.path.dirname(FAKE))
        answer = json.loads(data)
        self.assertEqual((answer["driver"], len(answer["gpus"])), ("590.48.01", 1))
        self.assertEqual((answer["gpus"][0]["bus_id"], answer["gpus"][0]["mig"], answer["gpus"][0]["mig_pending"]), ("00000000:83:00.0", 1, 1))

    def test_hangs(self):
        item, data, took = self.ask(LD_LIBRARY_PATH=os.path.dirname(FAKE), FAKE_NVML="Init_v2:0:hang")
        self.assertEqual((item.get("err"), data), (110, b""))  # ETIMEDOUT
        self.assertGreaterEqual(took, 5)
        self.assertEqual([p for p in os.listdir("/proc") if p.isdigit() and self.is_child(p)], [])

    @staticmethod
    def is_child(pid):
        try:
            with open("/proc/%s/comm" % pid) as c, open("/proc/%s/environ" % pid, "rb") as e:
                return c.read() == "vgpu-doctor\n" and b"FAKE_NVML=Init_v2" in e.read()
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
