/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt domains as their XML describes them, live ones (/run/libvirt/qemu) and defined ones
 * (/etc/libvirt/qemu). Memory in KiB. A file with a DTD is refused: libvirt writes none.
 */
#ifndef DOCTOR_DOMAIN_H
#define DOCTOR_DOMAIN_H

#include "evidence.h"
#include "numset.h"

#define DOM_PINS    512
#define DOM_DEVICES 64

struct domain {
	const struct ev_item *src;
	bool live;
	char name[128];
	char machine[64];       /* "pc-q35-7.2" */
	uint64_t memory_kib, hard_limit_kib; /* 0: not given */
	unsigned vcpus;
	unsigned npin;
	struct numset pin[DOM_PINS]; /* of the vCPUs that have one */
	struct numset pinned;        /* their union */
	char numa_mode[16];          /* "strict", "" none */
	struct numset numa_nodes;
	bool hugepages, locked, ovmf, host_phys_bits, balloon, kvm_hidden, hv_vendor, romfile;
	bool secret_listen; /* a display listens off the loopback address */
	bool monitor_tcp;
	bool seclabel_none;
	uint64_t mmio64_mb; /* opt/ovmf/X-PciMmio64Mb, 0: not given */
	char hostdev[DOM_DEVICES][24]; /* PCI addresses */
	bool managed[DOM_DEVICES];
	unsigned nhostdev;
	unsigned nmdev, nshmem;
};

struct domains {
	struct domain *d;
	size_t n;
	const struct ev_item *source[2];      /* the two directories */
	const struct ev_item *unreadable[32]; /* files there that gave no domain */
	size_t nunreadable;
};

void domains_collect(struct domains *d, struct ev *ev);
void domains_free(struct domains *d);
/* False when the text is no domain. */
bool domain_parse(struct domain *d, const char *xml, size_t len);

#endif
