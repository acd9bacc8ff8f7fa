# SPDX-License-Identifier: Apache-2.0
"""Bytes of PCI configuration space and ACPI tables, from the field values PCI and ACPI define."""
import struct

ROOT_PORT, UPSTREAM, DOWNSTREAM, ENDPOINT = 4, 5, 6, 0
ACS_FULL = 0x1F  # SV TB RR CR UF
ACS_ON = 0x1D    # what the kernel turns on: SV RR CR UF


def config(vendor, device, cls, *, port=ENDPOINT, header=0, multi=False, subsystem=(0, 0), speed=(5, 5), width=(16, 16),
           flr=True, acs=None, ats=None, sriov=None, rebar=None, dsn=None, aer=True, secondary=(0, 0), command=0x0406):
    """4096 bytes. speed, width: (maximum, current). acs: (capability, control). ats: enabled or None.
    sriov: (total, number). rebar: (sizes bit mask of 1 MiB << n, BAR, size). dsn: 64-bit serial."""
    c = bytearray(4096)
    struct.pack_into("<HHHH", c, 0, vendor, device, command, 0x0010)
    struct.pack_into("<I", c, 8, cls << 8 | 0xA1)
    c[0x0E] = header | (0x80 if multi else 0)
    if header == 1:
        c[0x19], c[0x1A] = secondary
    else:
        struct.pack_into("<HH", c, 0x2C, *subsystem)
    c[0x34] = 0x60
    # Power management at 0x60, MSI at 0x68, PCI Express at 0x78: the order NVIDIA's functions have.
    struct.pack_into("<BBHH", c, 0x60, 0x01, 0x68, 0x0003, 0x0008)
    struct.pack_into("<BBH", c, 0x68, 0x05, 0x78, 0x0080)
    struct.pack_into("<BBH", c, 0x78, 0x10, 0x00, 0x0002 | port << 4)
    struct.pack_into("<I", c, 0x7C, (1 << 28 if flr and port == ENDPOINT else 0) | 0x8000)
    struct.pack_into("<I", c, 0x84, speed[0] | width[0] << 4)
    struct.pack_into("<H", c, 0x8A, speed[1] | width[1] << 4)
    caps = []
    if aer:
        caps.append((0x0001, 2, bytes(0x44)))
    if dsn is not None:
        caps.append((0x0003, 1, struct.pack("<Q", dsn)))
    if acs is not None:
        caps.append((0x000D, 1, struct.pack("<HH", *acs)))
    if ats is not None:
        caps.append((0x000F, 1, struct.pack("<HH", 0x0020, 0x8000 if ats else 0)))
    if sriov is not None:
        body = bytearray(0x3C)
        struct.pack_into("<HHHH", body, 0x08, sriov[0], sriov[0], sriov[1], 0)
        caps.append((0x0010, 1, bytes(body)))
    if rebar is not None:
        sizes, bar, size = rebar
        caps.append((0x0015, 1, struct.pack("<II", sizes << 4, bar | 1 << 5 | size << 8)))
    at = 0x100
    for i, (ident, version, body) in enumerate(caps):
        end = (at + 4 + len(body) + 15) & ~15
        struct.pack_into("<I", c, at, ident | version << 16 | (end if i + 1 < len(caps) else 0) << 20)
        c[at + 4:at + 4 + len(body)] = body
        at = end
    return bytes(c)


def acpi(signature, body):
    """A table: 36-byte header, body, checksum."""
    t = bytearray(struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), 1, 0, b"TESTED", b"FIXTURE ", 1, b"TEST", 1) + body)
    t[9] = -sum(t) & 0xFF
    return bytes(t)


def dmar(width=52, flags=1, drhd=2, rmrr=()):
    body = struct.pack("<BB10x", width - 1, flags)
    for i in range(drhd):
        body += struct.pack("<HHBBHQ", 0, 16, 1 if i == drhd - 1 else 0, 0, 0, 0xFED90000 + 0x1000 * i)
    for base, limit in rmrr:
        body += struct.pack("<HHHHQQ", 1, 24, 0, 0, base, limit)
    return acpi(b"DMAR", body)


def ivrs(ivhd=2):
    body = struct.pack("<I8x", 52 << 8 | 64 << 15)
    for i in range(ivhd):
        body += struct.pack("<BBHHHQHHI", 0x10, 0, 24, 2, 0x40, 0xFD000000 + 0x100000 * i, 0, 0, 0)
    return acpi(b"IVRS", body)


def cpio(files):
    """newc archive of {name: bytes}."""
    out = b""
    for i, (name, data) in enumerate(list(files.items()) + [("TRAILER!!!", b"")]):
        n = name.encode() + b"\0"
        head = "070701" + "".join("%08x" % v for v in (i + 1, 0o100644 if name != "TRAILER!!!" else 0, 0, 0, 1, 0, len(data),
                                                       0, 0, 0, 0, len(n), 0))
        for part in (head.encode() + n, data):
            out += part + bytes(-len(part) % 4)
    return out


def pe(sections):
    """A PE image with these sections and nothing that runs."""
    head = bytearray(0x400)
    head[0:2] = b"MZ"
    struct.pack_into("<I", head, 60, 0x80)
    head[0x80:0x84] = b"PE\0\0"
    struct.pack_into("<HH", head, 0x84, 0x8664, len(sections))
    struct.pack_into("<H", head, 0x80 + 20, 0)
    body = b""
    for i, (name, data) in enumerate(sections.items()):
        struct.pack_into("<8sIIII", head, 0x98 + 40 * i, name.encode(), len(data), 0, len(data), 0x400 + len(body))
        body += data
    return bytes(head) + body
