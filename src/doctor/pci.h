/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI functions as sysfs shows them: identity, place in the tree, and what their configuration
 * space says. Offsets and bits are PCI's; addresses (bdf) are strings as the kernel spells them,
 * with any domain ("10000:00:05.0" has five digits).
 */
#ifndef DOCTOR_PCI_H
#define DOCTOR_PCI_H

#include "evidence.h"

#define PCI_EXT_START 0x100u
#define PCI_CFG_FULL  4096u

/* ACS capability and control bits. */
enum {
	ACS_SV = 0x01, /* source validation */
	ACS_TB = 0x02, /* translation blocking */
	ACS_RR = 0x04, /* request redirect */
	ACS_CR = 0x08, /* completion redirect */
	ACS_UF = 0x10, /* upstream forwarding */
	/* What the kernel demands of every component before it calls a path isolated. */
	ACS_NEEDED = ACS_SV | ACS_RR | ACS_CR | ACS_UF
};

enum { PCIE_ENDPOINT = 0, PCIE_LEG_ENDPOINT = 1, PCIE_ROOT_PORT = 4, PCIE_UPSTREAM = 5,
       PCIE_DOWNSTREAM = 6, PCIE_TO_PCI = 7, PCIE_RC_END = 9, PCIE_RC_EC = 10 };

/* Where a capability is missing its offset is 0; what lies beyond the bytes given is "unseen". */
struct pci_config {
	bool valid;  /* at least the 64-byte header, and it is one */
	bool caps;   /* the capability list could be followed (more than 64 bytes) */
	bool ext;    /* extended capabilities could be followed (all 4096 bytes) */
	uint16_t vendor, device, command;
	uint32_t class; /* 24 bits */
	uint8_t header; /* 0 function, 1 bridge */
	bool multi;
	uint8_t secondary, subordinate;
	uint16_t pcie;  /* offset of the PCI Express capability */
	uint8_t port;   /* PCIE_* */
	bool flr;
	uint8_t max_speed, max_width, speed, width; /* generation number, lanes */
	uint16_t aer, acs, ats, sriov, pri, rebar, pasid, ari, dsn;
	uint16_t acs_cap, acs_ctl;
	bool ats_on, pri_on, pasid_on;
	uint64_t rebar_sizes; /* bit n: 1 MiB << n possible, first resizable BAR */
	uint8_t rebar_bar, rebar_size; /* BAR index, current 1 MiB << size */
	uint16_t sriov_total, sriov_num;
	uint64_t serial; /* device serial number, 0: none */
};

/* Any bytes are accepted; false when they are no configuration header at all. */
bool pci_decode(struct pci_config *c, const uint8_t *bytes, size_t len);

#define PCI_RES_MEM      0x00000200ull
#define PCI_RES_PREFETCH 0x00002000ull
#define PCI_RES_64       0x00100000ull
#define PCI_RES_DISABLED 0x10000000ull
#define PCI_RES_UNSET    0x20000000ull

struct pci_bar {
	uint64_t start, size, flags; /* size 0: no such BAR */
};

struct pci_dev {
	char bdf[24];
	uint16_t vendor, device;
	uint32_t class; /* 24 bits */
	struct pci_config cfg;
	const struct ev_item *cfg_item, *list_item, *link_item, *group_item, *driver_item, *vf_item;
	const struct ev_item *id_item[3]; /* vendor, device, class */
	bool id_known;	/* vendor, device and class */
	bool class_known; /* enough to say that it is no GPU */
	const char *driver;  /* NULL: none */
	const char *group;   /* group number as text; NULL: none */
	struct pci_dev *parent;   /* bridge above; NULL: on a root bus or unknown */
	struct pci_dev *physfn;   /* this is a virtual function of */
	bool is_vf;
	bool place_known; /* the link that tells the parent was readable */
	const char *link; /* target of the device link */
};

/* The functions in ascending order of address. list->err tells whether they are all. */
struct pci {
	const struct ev_item *list;
	struct pci_dev *dev;
	size_t n;
};

void pci_collect(struct pci *p, struct ev *ev);
void pci_free(struct pci *p);
struct pci_dev *pci_find(const struct pci *p, const char *bdf);

/* Graphics or accelerator of NVIDIA or AMD, or a discrete Intel one; never a BMC's VGA. */
bool pci_is_gpu(const struct pci_dev *d);
bool pci_is_nvswitch(const struct pci_dev *d);
bool pci_is_bridge(const struct pci_dev *d);
/* Same domain, bus and device number, other function. */
bool pci_same_slot(const struct pci_dev *a, const struct pci_dev *b);
/* The root bus a device hangs below, e.g. "pci0000:00"; NULL unknown. buf >= 24 bytes. */
const char *pci_root_bus(const struct pci_dev *d, char *buf, size_t size);

/* The resource file: 7 (or 13, 17) lines of start end flags. False when it is none. */
bool pci_resources(const char *text, struct pci_bar bar[6]);

#endif
