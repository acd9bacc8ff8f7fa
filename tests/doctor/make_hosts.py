#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the host generator and leaves a stamp.  usage: make_hosts.py HOSTS.PY OUTDIR STAMP"""
import subprocess
import sys

subprocess.run([sys.executable, sys.argv[1], sys.argv[2]], check=True)
open(sys.argv[3], "w").close()
