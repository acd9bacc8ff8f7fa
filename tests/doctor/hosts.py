#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small complete host trees for vgpu-doctor's tests.

usage: hosts.py OUTDIR     writes OUTDIR/NAME/… for every host, and OUTDIR/hosts.json

A host is a healthy one plus the one thing that is wrong with it. `expect` names the results that
must come out (id → result, for the worst subject); `exit` the exit status. `shape` says where a host's
shape comes from; every byte and number is made here, nothing is a copy of a capture.
"""
import gzip
import hashlib
import json
import lzma
import os
import shutil
import sys

from rpmbytes import rpm_header, rpm_ndb, rpm_sqlite
from pcibytes import ACS_FULL, ACS_ON, DOWNSTREAM, ROOT_PORT, UPSTREAM, config, cpio, dmar, ivrs, pe

GIB = 1 << 30
KERNEL = "6.12.48+deb13-amd64"
H200_SXM, H200_NVL, H100_SXM, NVSWITCH = 0x2335, 0x233B, 0x2330, 0x22A3
MEM64 = 0x14220C  # memory, prefetchable, 64 bits, as the kernel prints it


class Host:
    def __init__(self, mode, shape):
        self.files, self.links, self.modes, self.mtimes = {}, {}, {}, {}
        self.mode, self.shape, self.expect, self.exit = mode, shape, {}, None
        self.groups = {}
        self.next_bar = 0x200000000000
        self.devpath = {}

    # ---- plain files ----
    def put(self, path, data, mode=0o644):
        self.files[path] = data.encode() if isinstance(data, str) else data
        self.modes[path] = mode

    def line(self, path, value):
        self.put(path, "%s\n" % value)

    def link(self, path, target):
        self.links[path] = target

    def drop(self, prefix):
        for d in (self.files, self.links):
            for p in [p for p in d if p == prefix or p.startswith(prefix + "/")]:
                del d[p]

    def dir(self, path):
        self.put(path + "/", b"")

    # ---- PCI ----
    def pci(self, bdf, vendor, device, cls, *, parent=None, bars=(), driver=None, group=None, node=0, boot_vga=None,
            subsystem=(0x10DE, 0x1839), vf_of=None, link=("32.0 GT/s PCIe", 16), attrs=None, **cfg):
        root = "/sys/devices/pci" + bdf[:bdf.rindex(":")]
        real = (self.devpath[parent] if parent else root) + "/" + bdf
        self.devpath[bdf] = real
        self.link("/sys/bus/pci/devices/" + bdf, "../../.." + real[4:])
        p = lambda name: real + "/" + name
        self.line(p("vendor"), "0x%04x" % vendor)
        self.line(p("device"), "0x%04x" % device)
        self.line(p("class"), "0x%06x" % cls)
        self.line(p("subsystem_vendor"), "0x%04x" % subsystem[0])
        self.line(p("subsystem_device"), "0x%04x" % subsystem[1])
        self.line(p("revision"), "0xa1")
        self.line(p("numa_node"), node)
        self.line(p("irq"), 0)
        cpus = {0: "0-3,8-11", 1: "4-7,12-15"}.get(node, "0-15")
        self.line(p("local_cpulist"), cpus)
        self.put(p("config"), config(vendor, device, cls, subsystem=subsystem, **cfg))
        res = ""
        for i in range(7):
            size, flags = bars[i] if i < len(bars) else (0, 0)
            start = 0
            if size:
                start = (self.next_bar + size - 1) // size * size
                self.next_bar = start + size
            res += "0x%016x 0x%016x 0x%016x\n" % (start, start + size - 1 if size else 0, flags)
        self.put(p("resource"), res)
        if link:
            for which in ("current", "max"):
                self.line(p(which + "_link_speed"), link[0])
                self.line(p(which + "_link_width"), link[1])
        for kind, names in (("correctable", ("RxErr", "BadTLP")), ("nonfatal", ("TLP", "CmpltTO")), ("fatal", ("DLP", "TLP"))):
            total = {"correctable": "TOTAL_ERR_COR", "nonfatal": "TOTAL_ERR_NONFATAL", "fatal": "TOTAL_ERR_FATAL"}[kind]
            self.put(p("aer_dev_" + kind), "".join("%s 0\n" % n for n in names) + total + " 0\n")
        if cfg.get("header") != 1:
            self.line(p("reset_method"), "flr bus")
            self.line(p("power/control"), "on")
            self.line(p("d3cold_allowed"), "0")
        if boot_vga is not None:
            self.line(p("boot_vga"), boot_vga)
        for name, value in (attrs or {}).items():
            self.line(p(name), value)
        if driver:
            self.link(p("driver"), "/sys/bus/pci/drivers/" + driver)
        if vf_of:
            self.link(p("physfn"), "../" + vf_of)
        if group is not None:
            self.group(bdf, group)

    def group(self, bdf, group):
        real = self.devpath[bdf]
        base = "/sys/kernel/iommu_groups/%s" % group
        self.link(real + "/iommu_group", base)
        self.link("%s/devices/%s" % (base, bdf), real)
        self.line(base + "/type", "DMA")
        self.put(base + "/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n")

    def attr(self, bdf, name, value):
        self.line(self.devpath[bdf] + "/" + name, value)

    def reconfig(self, bdf, **cfg):
        old = self.files[self.devpath[bdf] + "/config"]
        vendor, device = int.from_bytes(old[0:2], "little"), int.from_bytes(old[2:4], "little")
        self.put(self.devpath[bdf] + "/config", config(vendor, device, int.from_bytes(old[9:12], "little"), **cfg))

    # ---- the common part ----
    def base(self, cpu="intel", kernel=KERNEL, cmdline="", distro="debian"):
        self.cmd = "BOOT_IMAGE=/boot/vmlinuz-%s root=UUID=11111111-2222-3333-4444-555555555555 ro %s" % (kernel, cmdline)
        self.kernel = kernel
        self.line("/proc/cmdline", self.cmd)
        vendor, flag = {"intel": ("GenuineIntel", "vmx"), "amd": ("AuthenticAMD", "svm")}[cpu]
        self.put("/proc/cpuinfo", "".join(
            "processor\t: %d\nvendor_id\t: %s\nmodel name\t: Fixture CPU\nphysical id\t: %d\nflags\t\t: fpu %s sse2\n"
            "address sizes\t: 52 bits physical, 57 bits virtual\n\n" % (i, vendor, i // 4 % 2, flag) for i in range(16)))
        chip = "IR-PCI-MSIX-0000:01:00.0" if cpu == "intel" else "IR-PCI-MSI"
        self.put("/proc/interrupts", "            CPU0       CPU1\n   1:          9          0  IR-IO-APIC   1-edge      i8042\n"
                 "  40:       1234          0  %s    0-edge      vfio\n" % chip)
        self.put("/proc/meminfo", "MemTotal:       2113929216 kB\nMemFree:        1900000000 kB\nMemAvailable:   2000000000 kB\n"
                 "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:    1048576 kB\n")
        self.line("/proc/sys/kernel/osrelease", kernel)
        self.line("/proc/sys/kernel/hostname", "fixturehost")
        self.line("/proc/sys/kernel/tainted", 0)
        self.line("/proc/sys/kernel/numa_balancing", 0)
        self.line("/proc/1/comm", "systemd")
        self.line("/sys/block/nvme0n1/size", 7501476528)
        self.line("/sys/block/loop0/size", 999999999999)
        self.dir("/run/lock")
        self.put("/proc/net/tcp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n")
        self.put("/proc/net/tcp6", "  sl  local_address                         remote_address                        st tx_queue\n")
        for i in range(2):
            self.line("/sys/devices/system/node/node%d/cpulist" % i, "0-3,8-11" if i == 0 else "4-7,12-15")
            self.line("/sys/devices/system/node/node%d/hugepages/hugepages-1048576kB/nr_hugepages" % i, 512)
            self.line("/sys/devices/system/node/node%d/hugepages/hugepages-1048576kB/free_hugepages" % i, 512)
        for i in range(16):
            self.line("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor" % i, "performance")
            self.line("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % i, "%d,%d" % (i % 8, i % 8 + 8))
        self.line("/sys/devices/system/cpu/smt/control", "on")
        for name in ("meltdown", "spectre_v1", "spectre_v2", "mds", "retbleed"):
            self.line("/sys/devices/system/cpu/vulnerabilities/" + name, "Not affected" if name == "meltdown" else "Mitigation: fixture")
        self.line("/sys/kernel/mm/ksm/run", 0)
        self.line("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
        self.line("/sys/class/dmi/id/bios_date", "03/14/2025")
        self.line("/sys/class/dmi/id/bios_version", "2.4")
        self.line("/sys/class/dmi/id/board_name", "FIXTURE")
        self.put("/sys/firmware/dmi/tables/DMI", bytes([3, 0x16, 0, 3, 1, 0x17, 0, 0, 0, 3, 3, 3, 3]) + bytes(9) + b"Maker\0SER123\0\0")
        self.put("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", bytes([6, 0, 0, 0, 1]))
        self.line("/sys/kernel/security/lockdown", "none [integrity] confidentiality")
        self.dir("/sys/bus/thunderbolt/devices")
        self.files.pop("/sys/bus/thunderbolt/devices/")
        if cpu == "intel":
            self.put("/sys/firmware/acpi/tables/DMAR", dmar(), 0o400)
            for i in range(2):
                self.line("/sys/class/iommu/dmar%d/intel-iommu/cap" % i, "19ed008c40780c66")
                self.line("/sys/class/iommu/dmar%d/intel-iommu/ecap" % i, "3ee9e86f050df")
            self.line("/sys/module/kvm_intel/parameters/enable_apicv", "Y")
            self.line("/sys/module/kvm_intel/parameters/nested", "N")
        else:
            self.put("/sys/firmware/acpi/tables/IVRS", ivrs(), 0o400)
            for i in range(2):
                self.line("/sys/class/iommu/ivhd%d/amd-iommu/features" % i, "58f77ef22294ade")
            self.line("/sys/module/kvm_amd/parameters/avic", "Y")
        self.line("/sys/module/kvm/parameters/ignore_msrs", "N")
        self.put("/dev/kvm", b"", 0o660)
        self.put("/dev/kmsg", "6,1,0,-;Linux version %s\n6,2,10,-;Command line: %s\n6,300,900,-;%s\n" % (
            kernel, self.cmd, "DMAR-IR: Enabled IRQ remapping in x2apic mode" if cpu == "intel" else "AMD-Vi: Interrupt remapping enabled"))
        self.put("/boot/config-" + kernel, "# Linux\nCONFIG_INTEL_IOMMU=y\nCONFIG_INTEL_IOMMU_DEFAULT_ON=y\nCONFIG_STRICT_DEVMEM=y\n"
                 "# CONFIG_VFIO_NOIOMMU is not set\n")
        self.put("/boot/vmlinuz-" + kernel, b"MZ fixture")
        self.put("/boot/vmlinuz-6.12.41+deb13-amd64", b"MZ fixture")
        self.put("/lib/modules/%s/modules.builtin" % kernel, "kernel/drivers/pci/pci-stub.ko\n")
        os_id = {"debian": "ID=debian\nVERSION_ID=13\n", "rhel": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
                 "suse": 'ID="sles"\nID_LIKE="suse"\n', "arch": "ID=arch\n", "proxmox": "ID=debian\n"}[distro]
        self.put("/etc/os-release", os_id)
        if distro in ("debian", "suse"):
            self.put("/etc/default/grub", 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="%s"\n' % cmdline)
        elif distro == "rhel":
            self.put("/boot/loader/entries/fixture.conf", "title Rocky\nversion %s\nlinux /vmlinuz\noptions root=/dev/vda1 ro %s\n" % (kernel, cmdline))
        elif distro == "proxmox":
            self.dir("/etc/pve")
            self.put("/etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 %s\n" % cmdline)
        else:
            self.put("/efi/EFI/Linux/arch.efi", pe({".osrel": b"ID=arch\n", ".cmdline": ("root=/dev/nvme0n1p2 rw %s" % cmdline).encode() + b"\0"}))
        if distro in ("rhel", "suse"):
            packages = [rpm_header(n, v, []) for n, v in (("nvidia-container-toolkit", "1.17.9"), ("qemu-kvm-core", "10.0.0"), ("libvirt-daemon", "11.3.0"), ("bash", "5.2"))]
            if distro == "rhel":
                self.put("/var/lib/rpm/rpmdb.sqlite", rpm_sqlite(packages))
            else:
                self.put("/usr/lib/sysimage/rpm/Packages.db", rpm_ndb(packages))
        elif distro != "arch":
            self.put("/var/lib/dpkg/status", "Package: nvidia-container-toolkit\nStatus: install ok installed\nVersion: 1.17.9-1\n\n"
                     "Package: qemu-system-x86\nStatus: install ok installed\nVersion: 1:10.0.2+ds-2\n\n"
                     "Package: libvirt-daemon\nStatus: install ok installed\nVersion: 11.3.0-3\n")
        if distro == "arch":
            for n in ("nvidia-container-toolkit-1.17.9-1", "qemu-base-10.0.2-1", "libvirt-11.3.0-1"):
                self.put("/var/lib/pacman/local/%s/desc" % n, "%NAME%\n")
        self.put("/etc/systemd/system/multi-user.target.wants/ssh.service", "[Service]\n")
        self.put("/etc/modprobe.d/fixture.conf", "# fixture\n")
        self.put("/etc/modules", "# fixture\n")
        self.put("/etc/chrony/chrony.conf", "pool fixture iburst\n")
        self.put("/etc/audit/rules.d/audit.rules", "-w /etc/modprobe.d -p wa\n-w /dev/vfio -p rwa\n")
        self.put("/var/log/journal/0123456789abcdef0123456789abcdef/system.journal", b"LPKSHHRH")

    def initramfs(self, modules, conf=None, pack="gzip"):
        early = cpio({"kernel/x86/microcode/GenuineIntel.bin": b"\1" * 64})
        files = {"usr/lib/modules/%s/kernel/%s.ko" % (self.kernel, m): b"\x7fELF" for m in modules}
        files.update(conf if conf is not None else {
            p[1:]: d for p, d in self.files.items() if p.startswith("/etc/modprobe.d/")})
        main = cpio(files)
        packed = {"gzip": lambda b: gzip.compress(b, mtime=0), "xz": lambda b: lzma.compress(b, check=lzma.CHECK_CRC32)}[pack](main)
        path = "/boot/initrd.img-" + self.kernel
        self.put(path, early + bytes(512 - len(early) % 512) + packed)
        self.mtimes[path] = 2000000000

    def vfio(self):
        self.line("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N")
        self.line("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N")
        self.line("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", 65535)
        self.line("/sys/module/vfio_pci/parameters/disable_idle_d3", "N")
        self.put("/dev/vfio/vfio", b"", 0o666)

    def nvidia(self, version="570.172.08", mig=False):
        self.line("/sys/module/nvidia/version", version)
        self.line("/sys/module/nvidia/taint", "PO")
        self.line("/proc/sys/kernel/tainted", 1 | 1 << 12)
        self.put("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  %s  Fixture\n" % version)
        self.put("/proc/driver/nvidia/params", "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 44\n"
                 "DeviceFileMode: 432\nInitializeSystemMemoryAllocations: 1\nEnableGpuFirmware: 18\nRmProfilingAdminOnly: 1\n")
        self.put("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so." + version, b"\x7fELF")
        self.put("/var/lib/dpkg/info/libnvidia-ml1:amd64.md5sums", "%s  usr/lib/x86_64-linux-gnu/libnvidia-ml.so.%s\n" % (
            hashlib.md5(b"\x7fELF").hexdigest(), version))
        for n in ("nvidia0", "nvidiactl", "nvidia-uvm"):
            self.put("/dev/" + n, b"", 0o660)
        self.put("/etc/systemd/system/multi-user.target.wants/nvidia-persistenced.service", "[Service]\n")
        self.put("/etc/systemd/system/multi-user.target.wants/nvidia-dcgm.service", "[Service]\n")

    def nvml(self, version="570.172.08", mig=0, cc=0, **kw):
        """An answer of NVML, recorded; field names are the doctor's own."""
        gpus = [b for b in sorted(self.devpath) if self.files[self.devpath[b] + "/vendor"] == b"0x10de\n" and
                self.files[self.devpath[b] + "/class"] == b"0x030200\n" and self.devpath[b] + "/physfn" not in self.links]
        one = dict({"memory": 150754820096, "reserved": 650000000, "used": 700000000, "bar1": 274877906944, "mig": mig, "mig_pending": mig,
                    "ecc": 1, "ecc_pending": 1, "persistence": 1, "virt_mode": 0, "links": 18, "links_up": 18, "fabric_state": 3,
                    "fabric_status": 0, "vbios": "96.00.A5.00.01", "name": "NVIDIA H200"}, **kw)
        self.put("/var/lib/vgpu-doctor/nvml.json", json.dumps({"init": 0, "driver": version, "nvml": "12." + version, "cc_feature": cc, "gpus": [
            dict(one, bus_id="0000%s" % b.upper(), uuid="GPU-%08x-0000-0000-0000-000000000000" % i) for i, b in enumerate(gpus)]}))

    def port(self, n, child_bus, group, parent=None, kind=ROOT_PORT, acs=(ACS_FULL, ACS_ON), bdf=None, node=0):
        bdf = bdf or "0000:00:%02x.0" % n
        self.pci(bdf, 0x8086 if kind == ROOT_PORT else 0x1000, 0x352A if kind == ROOT_PORT else 0xC030, 0x060400, parent=parent,
                 header=1, port=kind, acs=acs, secondary=(child_bus, child_bus), driver="pcieport", group=group, node=node,
                 subsystem=(0, 0))
        return bdf

    def gpu(self, bdf, parent, group, device=H200_NVL, driver="vfio-pci", node=0, cls=0x030200, vram=256, **kw):
        kw.setdefault("sriov", (32, 0))
        attrs = {"sriov_totalvfs": 32, "sriov_numvfs": 0}
        attrs.update(kw.pop("attrs", {}))
        self.pci(bdf, 0x10DE, device, cls, parent=parent, driver=driver, group=group, node=node, attrs=attrs,
                 bars=((16 << 20, 0x14220C), (0, 0), (vram * GIB, MEM64), (0, 0), (32 << 20, MEM64)), ats=False,
                 dsn=0x48B02DFFFE000000 + int(bdf[-7:-5], 16), **kw)

    # ---- writing ----
    def write(self, top):
        for path, data in self.files.items():
            full = top + path
            if path.endswith("/"):
                os.makedirs(full, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as f:
                f.write(data)
            os.chmod(full, self.modes[path] | 0o400)
            os.utime(full, (self.mtimes.get(path, 1700000000),) * 2)
        for path, target in self.links.items():
            full = top + path
            os.makedirs(os.path.dirname(full), exist_ok=True)
            os.symlink(target, full)


def domain(name, bdfs, extra="", pins=True, machine="pc-q35-9.2", memory_gib=128):
    host = ""
    for b in bdfs:
        dom, bus, rest = b.split(":")
        slot, fn = rest.split(".")
        host += ("<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x%s' bus='0x%s' slot='0x%s' "
                 "function='0x%s'/></source></hostdev>" % (dom, bus, slot, fn))
    pin = "".join("<vcpupin vcpu='%d' cpuset='%d'/>" % (i, 2 + i % 2 * 8 + i // 2) for i in range(4)) if pins else ""
    return ("<domain type='kvm'><name>%s</name><memory unit='GiB'>%d</memory><vcpu>4</vcpu>"
            "<memoryBacking><hugepages><page size='1' unit='G'/></hugepages></memoryBacking>"
            "<cputune>%s</cputune><numatune><memory mode='strict' nodeset='0'/></numatune>"
            "<os firmware='efi'><type arch='x86_64' machine='%s'>hvm</type></os><cpu mode='host-passthrough'/>"
            "<devices>%s<memballoon model='none'/>%s</devices></domain>\n" % (name, memory_gib, pin, machine, host, extra))


def passthrough(cpu="intel", distro="debian", cmdline="", gpus=2):
    """Two H200 NVL, each behind its own root port."""
    h = Host("passthrough", "PCIe server with NVL cards: layout of the PCIe H200 NVL reference, numbers from the host-check catalogue")
    h.base(cpu, cmdline=cmdline, distro=distro)
    h.vfio()
    h.put("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:233b\nsoftdep nvidia pre: vfio-pci\nsoftdep nouveau pre: vfio-pci\n"
          "blacklist nouveau\n")
    h.put("/etc/modules-load.d/vfio.conf", "vfio-pci\n")
    for i in range(gpus):
        h.port(i + 1, 0x10 * (i + 1), 10 + i)
        h.gpu("0000:%02x:00.0" % (0x10 * (i + 1)), "0000:00:%02x.0" % (i + 1), 20 + i)
        h.put("/dev/vfio/%d" % (20 + i), b"", 0o600)
    h.pci("0000:00:1f.0", 0x8086, 0x1B81, 0x060100, group=30, link=None, acs=None, subsystem=(0x15D9, 1))
    h.port(5, 0x05, 14)
    h.pci("0000:05:00.0", 0x1A03, 0x2000, 0x030000, parent="0000:00:05.0", driver="ast", group=31, boot_vga=1, link=None, subsystem=(0x15D9, 2))
    h.initramfs(["vfio-pci", "vfio", "vfio_iommu_type1"])
    h.put("/etc/libvirt/qemu/alpha.xml", domain("alpha", ["0000:10:00.0"]))
    h.put("/etc/libvirt/qemu.conf", 'security_driver = "apparmor"\nuser = "libvirt-qemu"\n')
    return h


def hgx(device=H200_SXM, mode="share", gpus=8, switches=4):
    """Eight SXM GPUs behind PCIe switches, four NVSwitches, host driver."""
    h = Host(mode, "HGX baseboard: two GPUs per PCIe switch, NVSwitches behind one; counts from the Fabric Manager guide")
    h.base("intel")
    h.nvidia()
    group = 40
    for i in range(gpus):
        node = i * 2 // gpus
        if i % 2 == 0:
            rp = h.port(1 + i // 2, 0x10 + 0x10 * (i // 2), group, bdf="0000:%02x:01.0" % (0x01 + i // 2), node=node)
            up = h.port(0, 0, group + 1, parent=rp, kind=UPSTREAM, acs=None, bdf="0000:%02x:00.0" % (0x10 + 0x10 * (i // 2)), node=node)
            group += 2
        dn = h.port(0, 0, group, parent=up, kind=DOWNSTREAM, bdf="0000:%02x:%02x.0" % (0x11 + 0x10 * (i // 2), i % 2), node=node)
        h.gpu("0000:%02x:00.0" % (0x12 + 0x10 * (i // 2) + i % 2), dn, group + 1, device=device, driver="nvidia", node=node)
        group += 2
    if switches:
        rp = h.port(0, 0xC0, group, bdf="0000:0c:01.0", node=1)
        up = h.port(0, 0, group + 1, parent=rp, kind=UPSTREAM, acs=None, bdf="0000:c0:00.0", node=1)
        group += 2
        for i in range(switches):
            dn = h.port(0, 0, group, parent=up, kind=DOWNSTREAM, bdf="0000:c1:%02x.0" % i, node=1)
            h.pci("0000:%02x:00.0" % (0xC2 + i), 0x10DE, NVSWITCH, 0x068000, parent=dn, driver="nvidia-nvswitch", group=group + 1, node=1)
            group += 2
        h.put("/usr/share/nvidia/nvswitch/fabricmanager.cfg", "FABRIC_MODE=0\nFM_CMD_BIND_INTERFACE=127.0.0.1\nSTATE_FILE_NAME=/var/lib/nvidia/fabricmanager.state\n")
        h.put("/usr/bin/nv-fabricmanager", b"\x7fELF")
        h.put("/etc/systemd/system/multi-user.target.wants/nvidia-fabricmanager.service", "[Service]\n")
        h.line("/proc/900/comm", "nv-fabricmanage")
        h.put("/proc/900/status", "Name:\tnv-fabricmanage\nUid:\t0\t0\t0\t0\nCpus_allowed_list:\t0-15\n")
        h.put("/proc/900/limits", "Limit                     Soft Limit           Hard Limit           Units     \nMax locked memory         unlimited            unlimited            bytes     \n")
        h.dir("/proc/900/fd")
    h.initramfs(["nvme"])
    h.nvml()
    h.put("/var/lib/docker/containers/%s/hostconfig.json" % ("ab" * 32), json.dumps({"Privileged": False, "Runtime": "runc", "Binds": ["/srv:/data"],
        "DeviceRequests": [{"Driver": "nvidia", "Count": 1, "Capabilities": [["gpu"]]}]}))
    h.put("/etc/nvidia-container-runtime/config.toml", "accept-nvidia-visible-devices-envvar-when-unprivileged = false\n")
    return h


HOSTS = {}


def host(name, expect, exit=None):
    def wrap(fn):
        h = fn()
        h.expect, h.exit = expect, exit
        HOSTS[name] = h
        return fn
    return wrap


@host("intel-passthrough", {"IOMMU-003": "pass", "IOMMU-008": "pass", "ACS-001": "pass", "ACS-004": "pass", "PCI-002": "pass",
                            "BIND-001": "pass", "BIND-006": "pass", "BIND-008": "pass", "ACS-006": "pass"})
def _():
    return passthrough()


@host("amd-passthrough", {"IOMMU-003": "pass", "IOMMU-008": "pass", "IOMMU-018": "pass", "IOMMU-007": "info"})
def _():
    return passthrough("amd", cmdline="amd_iommu=on")


@host("rhel-passthrough", {"IOMMU-003": "pass", "KPARAM-006": "pass"})
def _():
    return passthrough(distro="rhel")


@host("suse-passthrough", {"KPARAM-006": "pass"})
def _():
    return passthrough(distro="suse")


@host("arch-uki", {"KPARAM-006": "pass"})
def _():
    return passthrough(distro="arch")


@host("proxmox-override", {"ACS-006": "fail", "ACS-007": "fail", "ACS-004": "fail", "ACS-008": "fail"}, 2)
def _():
    h = passthrough(distro="proxmox", cmdline="pcie_acs_override=downstream,multifunction")
    # Both cards behind one switch without ACS, yet each alone in its group.
    h.port(9, 0x90, 50, acs=(ACS_FULL, ACS_ON))
    h.port(0, 0, 51, parent="0000:00:09.0", kind=UPSTREAM, acs=None, bdf="0000:90:00.0")
    for i in range(2):
        dn = h.port(0, 0, 52 + i, parent="0000:90:00.0", kind=DOWNSTREAM, acs=None, bdf="0000:91:%02x.0" % i)
        h.gpu("0000:%02x:00.0" % (0x92 + i), dn, 60 + i)
    h.put("/dev/kmsg", h.files["/dev/kmsg"] + b"4,900,1,-;Warning: PCIe ACS overrides enabled; This may allow non-IOMMU protected peer-to-peer DMA\n")
    return h


@host("iommu-off", {"IOMMU-003": "fail", "IOMMU-004": "fail", "IOMMU-008": "fail"}, 2)
def _():
    h = passthrough(cmdline="intel_iommu=off")
    for p in list(h.links):
        if "iommu_group" in p:
            del h.links[p]
    h.drop("/sys/kernel/iommu_groups")
    h.drop("/sys/class/iommu")
    h.dir("/sys/kernel/iommu_groups")
    h.dir("/sys/class/iommu")
    h.put("/proc/interrupts", "            CPU0\n   1:          9  IO-APIC   1-edge      i8042\n")
    h.put("/dev/kmsg", "6,1,0,-;Linux version %s\n" % h.kernel)
    h.expect = {}
    return h


@host("no-dmar", {"IOMMU-002": "fail"}, 2)
def _():
    h = passthrough()
    h.drop("/sys/firmware/acpi/tables/DMAR")
    h.put("/sys/firmware/acpi/tables/FACP", b"FACP")
    return h


@host("unsafe-interrupts", {"IOMMU-011": "fail"}, 2)
def _():
    h = passthrough()
    h.line("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y")
    return h


@host("noiommu-mode", {"IOMMU-012": "fail"}, 2)
def _():
    h = passthrough()
    h.line("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
    return h


@host("two-gpus-one-group", {"ACS-001": "fail", "ACS-004": "fail"}, 2)
def _():
    h = passthrough(gpus=0)
    h.port(1, 0x10, 10, acs=None)
    for i, b in enumerate(("0000:10:00.0", "0000:10:01.0")):
        h.gpu(b, "0000:00:01.0", 20)
    return h


@host("nic-in-group", {"ACS-001": "fail"}, 2)
def _():
    h = passthrough()
    h.pci("0000:10:01.0", 0x15B3, 0x1021, 0x020000, parent="0000:00:01.0", driver="mlx5_core", group=20, subsystem=(0x15B3, 1))
    return h


@host("acs-cleared", {"ACS-004": "fail", "ACS-009": "fail"}, 2)
def _():
    h = passthrough()
    h.reconfig("0000:00:01.0", header=1, port=ROOT_PORT, acs=(ACS_FULL, 0), secondary=(0x10, 0x10))
    return h


@host("bar-unassigned", {"PCI-001": "fail", "PCI-005": "fail"}, 2)
def _():
    h = passthrough()
    p = h.devpath["0000:10:00.0"] + "/resource"
    lines = h.files[p].decode().splitlines()
    lines[2] = "0x0000000000000000 0x%016x 0x000000002014220c" % (256 * GIB - 1)
    h.put(p, "\n".join(lines) + "\n")
    h.put("/dev/kmsg", h.files["/dev/kmsg"] + b"3,900,1,-;NVRM: BAR2 is 262144M @ 0x0 (PCI:0000:10:00.0)\n")
    return h


@host("small-bar1", {"PCI-002": "fail"}, 2)
def _():
    h = passthrough(gpus=0)
    h.port(1, 0x10, 10)
    h.gpu("0000:10:00.0", "0000:00:01.0", 20, vram=64)
    return h


@host("nouveau-loaded", {"BIND-003": "fail", "BIND-001": "fail"}, 2)
def _():
    h = passthrough()
    h.line("/sys/module/nouveau/parameters/modeset", "1")
    h.link(h.devpath["0000:10:00.0"] + "/driver", "/sys/bus/pci/drivers/nouveau")
    return h


@host("stale-initramfs", {"BIND-008": "fail", "BIND-009": "warn"}, 2)
def _():
    h = passthrough()
    h.initramfs(["vfio-pci"], conf={"etc/modprobe.d/vfio.conf": b"options vfio-pci ids=10de:2335\n"}, pack="xz")
    h.mtimes["/etc/modprobe.d/vfio.conf"] = 2100000000
    return h


@host("pci-domains", {"IOMMU-004": "pass", "BIND-001": "pass"})
def _():
    h = passthrough(gpus=0)
    h.shape = "segments other than 0000: Azure- and VMD-like addresses (10000: has five digits)"
    for i, dom in enumerate(("0001", "10000")):
        rp = h.port(1, 0x10, 70 + i, bdf="%s:00:01.0" % dom)
        h.gpu("%s:10:00.0" % dom, rp, 80 + i)
    return h


@host("hgx-h200-share", {"BIND-001": "pass", "BIND-004": "pass", "BIND-015": "pass", "ACS-011": "pass"})
def _():
    return hgx()


@host("hgx-h100-mig", {"BIND-016": "pass"})
def _():
    h = hgx(H100_SXM, "mig")
    for i in range(8):
        h.put("/proc/driver/nvidia/capabilities/gpu%d/mig/gi7/access" % i, "DeviceFileMinor: 30\nDeviceFileMode: 256\nDeviceFileModify: 1\n")
    for n in ("config", "monitor"):
        h.put("/proc/driver/nvidia/capabilities/mig/" + n, "DeviceFileMinor: 1\nDeviceFileMode: 256\nDeviceFileModify: 1\n")
    h.put("/etc/systemd/system/multi-user.target.wants/nvidia-mig-manager.service", "[Service]\n")
    h.put("/etc/nvidia-mig-manager/config.yaml", 'version: v1\nmig-configs:\n  half:\n    - devices: all\n      mig-enabled: true\n      mig-devices:\n        "3g.40gb": 2\n')
    h.nvml(mig=1)
    return h


@host("blanket-blacklist", {"BIND-004": "fail"}, 2)
def _():
    h = hgx()
    h.put("/etc/modprobe.d/blacklist-nvidia.conf", "blacklist nouveau\nblacklist nvidia\nblacklist nvidia_uvm\n")
    return h


@host("placebo", {"BIND-020": "warn", "BIND-021": "fail"}, 2)
def _():
    h = hgx()
    h.put("/etc/modprobe.d/hardening.conf", "options nvidia NVreg_EnableFIPSMode=1 NVreg_EnableGpuFirmware=0\n")
    return h


@host("version-skew", {"BIND-015": "fail"}, 2)
def _():
    h = hgx()
    h.drop("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.570.172.08")
    h.nvml("575.57.08")
    h.put("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.575.57.08", b"\x7fELF")
    return h


@host("old-driver", {"BIND-016": "fail"}, 2)
def _():
    h = hgx()
    h.nvidia("535.183.01")
    h.nvml("535.183.01")
    h.drop("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.570.172.08")
    return h


@host("vgpu-vendor-vfio", {"ACS-010": "pass", "BIND-028": "pass"})
def _():
    h = hgx(H200_SXM, "vgpu", gpus=2, switches=0)
    h.shape = "vendor VFIO on Hopper: VFs stay with nvidia, types in <VF>/nvidia (vgpu-device-manager's documentation)"
    gpu = "0000:12:00.0"
    h.attr(gpu, "sriov_numvfs", 4)
    for i in range(4):
        bdf = "0000:12:%02x.%d" % (i // 8, i % 8 + 2)
        h.pci(bdf, 0x10DE, H200_SXM, 0x030200, parent="0000:11:00.0", driver="nvidia", group=100 + i, vf_of=gpu, link=None)
        h.put(h.devpath[bdf] + "/nvidia/creatable_vgpu_types", "1414 : NVIDIA H200X-1-18C\n1428 : NVIDIA H200X-141C\n")
        h.line(h.devpath[bdf] + "/nvidia/current_vgpu_type", 0)
    h.vfio()
    h.line("/sys/module/nvidia_vgpu_vfio/refcnt", 0)
    h.put("/etc/systemd/system/sriov.service", "[Service]\nExecStart=/usr/lib/nvidia/sriov-manage -e ALL\n")
    for u in ("nvidia-vgpud", "nvidia-vgpu-mgr"):
        h.put("/etc/systemd/system/multi-user.target.wants/%s.service" % u, "[Service]\n")
    return h


@host("vf-on-vfio-pci", {"BIND-028": "fail"}, 2)
def _():
    h = hgx(H200_SXM, "vgpu", gpus=2, switches=0)
    h.vfio()
    bdf = "0000:12:00.2"
    h.pci(bdf, 0x10DE, H200_SXM, 0x030200, parent="0000:11:00.0", driver="vfio-pci", group=100, vf_of="0000:12:00.0", link=None)
    return h


@host("no-gpu", {"IOMMU-004": "notapplicable", "PCI-001": "notapplicable"})
def _():
    h = passthrough(gpus=0)
    h.mode = "bare"
    h.drop("/etc/libvirt")
    return h


@host("vm-guest", {"IOMMU-003": "notapplicable", "IOMMU-008": "notapplicable"})
def _():
    h = passthrough(gpus=1)
    h.shape = "a guest with one assigned GPU, as the captured H200 VM of the reference data shows it"
    h.drop("/sys/kernel/iommu_groups")
    h.drop("/sys/class/iommu")
    h.dir("/sys/kernel/iommu_groups")
    h.put("/proc/cpuinfo", h.files["/proc/cpuinfo"].replace(b"fpu vmx", b"fpu hypervisor"))
    h.mode = "bare"
    return h


@host("container", {"IOMMU-003": "unknown"}, None)
def _():
    h = hgx(gpus=2, switches=0)
    h.shape = "container runtime: masked /sys/firmware and no /sys/kernel"
    h.line("/run/systemd/container", "docker")
    h.drop("/sys/firmware")
    h.drop("/sys/kernel")
    h.drop("/sys/class/iommu")
    return h


@host("rmrr", {"IOMMU-015": "fail"}, 2)
def _():
    h = passthrough()
    h.put("/sys/kernel/iommu_groups/20/reserved_regions", "0x000000007b000000 0x000000007b7fffff direct\n0x00000000fee00000 0x00000000feefffff msi\n")
    return h


@host("xid-storm", {"BIND-026": "fail", "IOMMU-017": "warn"}, 2)
def _():
    h = hgx()
    h.put("/dev/kmsg", h.files["/dev/kmsg"] + b"".join(
        b"3,%d,%d,-;NVRM: Xid (PCI:0000:12:00): 94, pid=4711, name=python3, Contained: SM (0x1)\n" % (900 + i, i) for i in range(8)) +
        b"3,990,99,-;DMAR: [DMA Read NO_PASID] Request device [12:00.0] fault addr 0xdead000 [fault reason 0x06] PTE Read access is not set\n")
    return h


@host("privileged-container", {"EXPO-012": "fail"}, 2)
def _():
    """containerd: one privileged container with GPUs, one that mounts the host's /dev, and a secret in an environment."""
    h = hgx()
    oci = {"process": {"env": ["NVIDIA_VISIBLE_DEVICES=all", "TOKEN=CANARY10"], "capabilities": {"effective": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}},
           "mounts": [{"destination": "/proc", "source": "proc"}], "linux": {"resources": {"devices": [{"allow": True, "access": "rwm"}]}}}
    h.put("/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s/config.json" % ("cd" * 32), json.dumps(oci))
    plain = {"process": {"capabilities": {"effective": []}}, "mounts": [{"destination": "/host/dev", "source": "/dev"}], "linux": {}}
    h.put("/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s/config.json" % ("ef" * 32), json.dumps(plain))
    return h


@host("tampered-library", {"BIND-023": "pass"})
def _():
    """libnvidia-ml is not the one its package installed: --verify shows it."""
    h = hgx()
    h.put("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.570.172.08", b"\x7fELF altered")
    return h


@host("rhel-driver", {"BIND-015": "pass"})
def _():
    """The driver from rpm packages, with digests in an rpm database."""
    h = hgx(gpus=2, switches=0)
    h.shape = "RHEL family: rpmdb.sqlite as rpm 4.16 and later write it"
    lib = "/usr/lib64/libnvidia-ml.so.570.172.08"
    h.drop("/var/lib/dpkg")
    h.drop("/usr/lib/x86_64-linux-gnu")
    h.put(lib, b"\x7fELF rpm")
    h.put("/etc/os-release", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n')
    h.put("/var/lib/rpm/rpmdb.sqlite", rpm_sqlite([
        rpm_header("nvidia-driver-libs", "570.172.08", [(lib, hashlib.sha256(b"\x7fELF rpm").hexdigest()), ("/usr/share/doc/x", "0" * 64)]),
        rpm_header("nvidia-container-toolkit", "1.16.1", [])]))
    return h


@host("canary", {"IOMMU-003": "pass"})
def _():
    """Secrets in every place a doctor looks at; CANARY must never come out again."""
    h = passthrough(cmdline="password=CANARY1")
    h.put("/etc/libvirt/qemu/secret.xml", domain("secret", ["0000:20:00.0"], "<graphics type='vnc' passwd='CANARY2' listen='0.0.0.0'/>"
          "<interface type='network'><mac address='52:54:00:ca:4a:4e'/></interface>"))
    h.put("/boot/grub/grub.cfg", "set superusers=\"root\"\npassword_pbkdf2 root grub.pbkdf2.sha512.10000.CANARY3ABCDEF\n"
          "menuentry x {\n linux /vmlinuz root=/dev/sda1 password=CANARY4\n}\n")
    h.put("/etc/modprobe.d/token.conf", "# token: CANARY5\noptions vfio-pci ids=10de:233b api_key=CANARY6\n")
    h.put("/etc/default/grub", h.files["/etc/default/grub"].decode() + "# -----BEGIN PRIVATE KEY-----\nCANARY7\n# -----END PRIVATE KEY-----\n")
    h.put("/dev/kmsg", h.files["/dev/kmsg"] + b"6,700,70,-;audit: Authorization: Bearer CANARY8\n"
          b"4,701,71,-;Unknown kernel command line parameters \"password=CANARY9\", will be passed to user space.\n")
    return h


def main():
    out = sys.argv[1]
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    for name, h in HOSTS.items():
        h.write(os.path.join(out, name))
    with open(os.path.join(out, "hosts.json"), "w") as f:
        json.dump({n: {"mode": h.mode, "shape": h.shape, "expect": h.expect, "exit": h.exit} for n, h in HOSTS.items()}, f, indent=1)


if __name__ == "__main__":
    main()
