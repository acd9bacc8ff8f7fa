# SPDX-License-Identifier: Apache-2.0
"""rpm package headers and the two databases that hold them, as rpm writes them."""
import os
import sqlite3
import struct
import tempfile

INT32, STRING, STRING_ARRAY = 4, 6, 8


def rpm_header(name, version, files, release="1"):
    """files: (path, SHA-256 in hex)."""
    dirs = sorted({os.path.dirname(p) + "/" for p, _ in files})
    tags = [(1000, STRING, [name]), (1001, STRING, [version]), (1002, STRING, [release])]
    if files:
        tags += [(1035, STRING_ARRAY, [d for _, d in files]), (1116, INT32, [dirs.index(os.path.dirname(p) + "/") for p, _ in files]),
                 (1117, STRING_ARRAY, [os.path.basename(p) for p, _ in files]), (1118, STRING_ARRAY, dirs), (5011, INT32, [8])]
    index, data = b"", b""
    for tag, kind, values in tags:
        if kind == INT32:
            data += bytes(-len(data) % 4)
        index += struct.pack(">IIII", tag, kind, len(data), len(values))
        data += b"".join(struct.pack(">I", v) if kind == INT32 else v.encode() + b"\0" for v in values)
    return name, struct.pack(">II", len(tags), len(data)) + index + data


def rpm_sqlite(packages):
    with tempfile.TemporaryDirectory() as d:
        db = sqlite3.connect(d + "/rpmdb.sqlite")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        db.execute("CREATE TABLE Name (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)")
        for name, header in packages:
            n = db.execute("INSERT INTO Packages (blob) VALUES (?)", (header,)).lastrowid
            db.execute("INSERT INTO Name VALUES (?, ?, 0)", (name, n))
        db.commit()
        db.close()
        with open(d + "/rpmdb.sqlite", "rb") as f:
            return f.read()


def rpm_ndb(packages):
    """One page of slots (the header takes the first two), then blobs in blocks of 16 bytes."""
    slots, blobs, block = b"", b"", 4096 // 16
    for i, (_, header) in enumerate(packages, 1):
        blob = b"BlbS" + struct.pack("<III", i, 1, len(header)) + header
        blob += bytes(-(len(blob) + 12) % 16) + struct.pack("<II", 0, len(header)) + b"BlbE"
        slots += b"Slot" + struct.pack("<III", i, block, len(blob) // 16)
        blobs += blob
        block += len(blob) // 16
    slots += (b"Slot" + bytes(12)) * ((4096 - 32 - len(slots)) // 16)
    return struct.pack("<4sIIII12x", b"RpmP", 0, 1, 1, len(packages) + 1) + slots + blobs
