#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a test on the fixture hosts, making them first when they are missing or older than their source.

usage: with_hosts.py HOSTDIR CMD…      HOSTDIR lies in the build directory; CMD finds it as {hosts}
Made by the first test that needs them, so that a plain build does not pay for 19000 files.
"""
import fcntl
import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
hosts, cmd = sys.argv[1], sys.argv[2:]
sources = [os.path.join(here, n) for n in ("hosts.py", "pcibytes.py", "rpmbytes.py")]
stamp = hosts + ".stamp"
os.makedirs(os.path.dirname(hosts), exist_ok=True)
with open(hosts + ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < max(map(os.path.getmtime, sources)):
        subprocess.run([sys.executable, "-B", sources[0], hosts], check=True)
        open(stamp, "w").close()
sys.exit(subprocess.run([c.replace("{hosts}", hosts) for c in cmd]).returncode)
