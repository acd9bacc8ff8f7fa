#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A driver library exports exactly the names of names.txt. usage: names.py nm names.txt LIBRARY"""
import subprocess
import sys

nm, names, library = sys.argv[1:]
want = {line.split()[0] for line in open(names) if line.strip() and not line.startswith("#")}
out = subprocess.run([nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
have = {line.split()[-1].split("@")[0] for line in out.splitlines() if line.split()[1] in "TWBDRiV"}
print(f"{len(want)} names wanted, {len(have)} exported")
print("missing:", sorted(want - have))
print("beyond the list:", sorted(have - want))
sys.exit(0 if len(want) == 670 and want == have else 1)
