/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host model: everything that needs parsing, parsed once. Single values are read by the checks
 * themselves through the audit's accessors.
 */
#ifndef DOCTOR_HOST_H
#define DOCTOR_HOST_H

#include "acpi.h"
#include "check.h"
#include "cmdline.h"
#include "domain.h"
#include "initramfs.h"
#include "klog.h"
#include "modprobe.h"
#include "nvml.h"
#include "packages.h"
#include "pci.h"
#include "proc.h"
#include "site.h"

enum cpu_vendor { CPU_UNKNOWN, CPU_INTEL, CPU_AMD, CPU_ARM, CPU_POWER, CPU_OTHER };
enum distro { DIST_UNKNOWN, DIST_DEBIAN, DIST_RHEL, DIST_SUSE, DIST_ARCH, DIST_PROXMOX };
extern const char *const distro_name[];

struct host {
	struct pci pci;
	const struct ev_item *cmd_item;
	struct cmdline cmd;
	bool cmd_known;
	struct boot boot;
	struct modconf mod;
	struct klog log;
	const struct ev_item *dmar_item, *ivrs_item, *iort_item, *acpi_list;
	struct acpi_dmar dmar;
	struct acpi_ivrs ivrs;
	const char *dmar_problem, *ivrs_problem; /* NULL: table absent or fine */
	const struct ev_item *cpuinfo, *groups, *iommus, *meminfo;
	enum cpu_vendor cpu;
	bool cpu_virt;    /* vmx or svm */
	bool in_guest;    /* the "hypervisor" flag: this host is itself a VM */
	bool in_container;
	unsigned cpus;
	unsigned phys_bits; /* 0: unknown */
	const struct ev_item *release_item;
	char release[128]; /* kernel release, "" unknown */
	unsigned kver;     /* major × 1000 + minor, 0 unknown */
	enum distro distro;
	struct domains dom;
	struct initrd initrd;
	struct procs procs;
	struct nvml nvml;
	struct site site;
	const struct ev_item *verified; /* packages_verify's, NULL: not asked for */
	/* GPUs, physical functions only, and their virtual functions */
	struct pci_dev **gpu, **vf, **nvswitch;
	size_t ngpu, nvf, nnvswitch;
};

/* What takes longer than the rest together. */
enum host_slow { HOST_INITRD = 1 /* look into the initramfs */, HOST_VERIFY = 2 /* hash the driver's files */ };
void host_collect(struct host *h, struct ev *ev, unsigned slow);
void host_free(struct host *h);
/* The mode the host seems meant for, and why. */
enum mode host_guess_mode(struct host *h, struct ev *ev, const char **reason);

/* ---- what check functions share ---- */

/* Notes the PCI listing; emits the result when there is no GPU (not applicable or unknown). */
bool need_gpus(struct audit *a);
/* Runs judge for every GPU, with what was noted so far common to all; its identity is noted. */
void each_gpu(struct audit *a, void (*judge)(struct audit *, const struct pci_dev *));
/* Notes a device's identity; used before judging it. */
void note_dev(struct audit *a, const struct pci_dev *d);
/* Notes every graphics function of which cannot be told whether it is a virtual one. */
void note_vfs(struct audit *a);
/* Notes the configuration space and whether its extended part could be seen. */
bool note_config(struct audit *a, const struct pci_dev *d);
/* Running command line: 1 and *value (never NULL) when the token is there, 0 absent, -1 unknown. */
int cmd_token(struct audit *a, const char *name, const char **value);
/* A kernel log hit by rule name, noted; NULL none. Its absence proves nothing. */
const struct klog_hit *log_hit(struct audit *a, const char *rule, const struct klog_hit *after);
/* True when a kernel log could be read; else its sources are noted as unreadable. */
bool note_log(struct audit *a);
/* Notes all modprobe.d sources; false when one could not be read. */
bool note_modconf(struct audit *a);
void note_mod_line(struct audit *a, const struct mod_line *l);
/* Value of CONFIG_name: 'y', 'm', 'n' (not set), 0 unknown. Notes the config file. */
char kernel_config(struct audit *a, const char *name);
/* A section of the site's list, noted; NULL where there is no list, or it lacks the section. *bad is set
 * when a list is there that cannot be used (noted as such). */
const json_t *site_section(struct audit *a, const char *name, bool *bad);
/* Names of the site's advisories that concern the product's version, in out; false: there are none to ask. */
bool advisories(struct audit *a, const char *product, const char *version, char *out, size_t size);
/* Whether systemd starts the unit at boot: 1, 0, -1 cannot be told; noted. */
int unit_enabled(struct audit *a, const char *unit);
/* 1: NVML answered; 0: no NVIDIA driver on the host, where NVML has nothing to say (emitted as not
 * applicable); -1: emitted as unknown. */
int need_nvml(struct audit *a);
/* Notes NVML's answer; a broken one as unreadable. That there is none (no library) is no defect. */
void note_nvml(struct audit *a);
/* The value of KEY=value, KEY: value or key = "value" in a configuration text; false if absent. */
bool config_value(const char *text, const char *key, char *out, size_t size);
/* Notes what the list of domains, and which of their devices are GPUs, rests on. */
void note_domains(struct audit *a);
/* True when a domain is given a GPU; its GPUs' number in *n. */
bool domain_gpus(const struct host *h, const struct domain *d, unsigned *n);
/* Whether the IOMMU translates: groups and IOMMUs in sysfs. 1, 0, -1; noted. */
int iommu_active(struct audit *a);

#endif
