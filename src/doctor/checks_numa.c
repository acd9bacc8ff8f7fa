/* SPDX-License-Identifier: Apache-2.0 */
/* Group NUMA: processors and memory beside the GPU, and enough of them. */
#include "host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NUMA_NODES 64u

/* Calls judge for each domain with a GPU; not applicable without one. */
static void each_domain(struct audit *a, void (*judge)(struct audit *, const struct domain *, const struct pci_dev *))
{
	const struct host *h = a->host;
	bool any = false;
	unsigned n;

	note_domains(a);
	if (!h->dom.n && !aud_anchor(a, "/etc")) {
		emit(a, ST_UNKNOWN, "host", "configuration not visible");
		return;
	}
	aud_common(a);
	for (size_t i = 0; i < h->dom.n; i++) {
		const struct domain *d = &h->dom.d[i];
		const struct pci_dev *gpu = NULL;

		if (!domain_gpus(h, d, &n))
			continue;
		for (unsigned k = 0; k < d->nhostdev && !gpu; k++) {
			struct pci_dev *p = pci_find(&h->pci, d->hostdev[k]);

			gpu = p && pci_is_gpu(p) ? p : NULL;
		}
		any = true;
		aud_note(a, d->src, NULL);
		judge(a, d, gpu);
	}
	if (!any)
		emit(a, ST_NA, "host", "no libvirt domain with a GPU");
}

static unsigned nodes(struct audit *a)
{
	const struct ev_item *list;
	unsigned n = 0;

	if (aud_list(a, &list, "/sys/devices/system/node") != GOT_VALUE)
		return 0;
	for (const char *p = ev_name(list, NULL); p; p = ev_name(list, p))
		n += !strncmp(p, "node", 4) && p[4] >= '0' && p[4] <= '9';
	return n;
}

static void node_known(struct audit *a)
{
	const struct host *h = a->host;
	unsigned n;

	if (!need_gpus(a))
		return;
	n = nodes(a);
	if (!n)
		aud_anchor(a, "/sys/devices/system/node");
	if (n < 2) {
		emit(a, n ? ST_PASS : ST_UNKNOWN, "host", "one NUMA node");
		return;
	}
	aud_common(a);
	for (size_t i = 0; i < h->ngpu; i++) {
		long long node;
		enum got g = aud_long(a, &node, "/sys/bus/pci/devices/%s/numa_node", h->gpu[i]->bdf);

		if (g == GOT_VALUE && node >= 0)
			emit(a, ST_PASS, h->gpu[i]->bdf, "on node %lld", node);
		else
			emit(a, g == GOT_NOTHING ? ST_UNKNOWN : ST_BAD, h->gpu[i]->bdf, "the firmware does not say which node it is on");
	}
}

/* CPUs beside the GPU; false: unknown (noted). */
static bool local_cpus(struct audit *a, const struct pci_dev *gpu, struct numset *s)
{
	const char *v;

	if (aud_line(a, &v, "/sys/bus/pci/devices/%s/local_cpulist", gpu->bdf) == GOT_VALUE && *v && numset_parse(s, v))
		return true;
	aud_note(a, ev_getf(a->ev, EV_READ, "/sys/bus/pci/devices/%s/local_cpulist", gpu->bdf), "no list of processors");
	return false;
}

static void near_one(struct audit *a, const struct domain *d, const struct pci_dev *gpu)
{
	struct numset local;

	if (!local_cpus(a, gpu, &local))
		emit(a, ST_UNKNOWN, d->name, "the GPU's processors are not visible");
	else if (!d->npin)
		emit(a, ST_NA, d->name, "not pinned (NUMA-003)");
	else if (!numset_subset(&d->pinned, &local))
		emit(a, ST_BAD, d->name, "vCPUs are pinned to processors of another node than GPU %s", gpu->bdf);
	else
		emit(a, ST_PASS, d->name, "vCPUs run beside GPU %s", gpu->bdf);
}

static void cpus_near(struct audit *a)
{
	each_domain(a, near_one);
}

static void pinned_one(struct audit *a, const struct domain *d, const struct pci_dev *gpu)
{
	(void)gpu;
	if (d->npin >= d->vcpus && d->npin)
		emit(a, ST_PASS, d->name, "%u of %u vCPUs pinned", d->npin, d->vcpus);
	else
		emit(a, ST_BAD, d->name, "%u of %u vCPUs pinned", d->npin, d->vcpus);
}

static void cpus_pinned(struct audit *a)
{
	each_domain(a, pinned_one);
}

/* The SMT siblings of every CPU in the set; false: topology not readable. */
static bool with_siblings(struct audit *a, const struct numset *s, struct numset *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned c = 0; c < NUMSET_MAX; c++) {
		struct numset sib;
		const char *v;

		if (!numset_has(s, c))
			continue;
		if (aud_line(a, &v, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", c) != GOT_VALUE || !*v || !numset_parse(&sib, v)) {
			aud_note(a, ev_getf(a->ev, EV_READ, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", c), "no topology");
			return false;
		}
		for (unsigned i = 0; i < NUMSET_MAX / 64; i++)
			out->w[i] |= sib.w[i];
	}
	return true;
}

static void pin_one(struct audit *a, const struct domain *d, const struct pci_dev *gpu)
{
	const struct domains *ds = &a->host->dom;
	struct numset cores;

	(void)gpu;
	if (!d->npin) {
		emit(a, ST_NA, d->name, "not pinned (NUMA-003)");
		return;
	}
	if (numset_has(&d->pinned, 0)) {
		emit_sev(a, 'M', d->name, "a vCPU is pinned to processor 0, which serves the host's interrupts");
		return;
	}
	if (!with_siblings(a, &d->pinned, &cores)) {
		emit(a, ST_UNKNOWN, d->name, "processor topology not visible");
		return;
	}
	for (size_t i = 0; i < ds->n; i++) {
		const struct domain *o = &ds->d[i];

		if (!strcmp(o->name, d->name) || !o->npin)
			continue;
		aud_note(a, o->src, NULL);
		if (numset_meets(&d->pinned, &o->pinned)) {
			emit_sev(a, 'M', d->name, "shares pinned processors with VM %s", o->name);
			return;
		}
		if (numset_meets(&cores, &o->pinned)) {
			emit(a, ST_BAD, d->name, "shares cores (SMT siblings) with VM %s: a side channel between tenants", o->name);
			return;
		}
	}
	emit(a, ST_PASS, d->name, "pinned to processors of its own");
}

static void bad_pin(struct audit *a)
{
	each_domain(a, pin_one);
}

static void memory_one(struct audit *a, const struct domain *d, const struct pci_dev *gpu)
{
	long long node;
	enum got g = aud_long(a, &node, "/sys/bus/pci/devices/%s/numa_node", gpu->bdf);

	if (g != GOT_VALUE || node < 0)
		emit(a, g == GOT_NOTHING ? ST_UNKNOWN : ST_NA, d->name, "the GPU's node is not known");
	else if (strcmp(d->numa_mode, "strict") || numset_count(&d->numa_nodes) != 1 || !numset_has(&d->numa_nodes, (unsigned)node))
		emit(a, ST_BAD, d->name, "memory is not bound to the GPU's node %lld", node);
	else
		emit(a, ST_PASS, d->name, "memory is bound to node %lld", node);
}

/* "N0=5120 … kernelpagesize_kB=1048576" lines of a process: KiB by node. The file has a line per mapping;
 * the sums are what is kept. */
static void sum_nodes(struct ev *ev, struct ev_item *item, void *arg)
{
	int fd = ev_fd(ev, arg);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	uint64_t kib[NUMA_NODES] = {0};
	char *line = NULL, text[NUMA_NODES * 40] = "";
	size_t cap = 0;

	item->err = fd < 0 ? -fd : f ? 0 : ENOMEM;
	while (f && getline(&line, &cap, f) > 0) {
		const char *size = strstr(line, "kernelpagesize_kB=");
		uint64_t page = size ? strtoull(size + 18, NULL, 10) : 4;

		for (const char *p = line; (p = strstr(p, " N")); p += 2) {
			unsigned node;
			uint64_t pages;

			if (sscanf(p, " N%u=%" SCNu64, &node, &pages) == 2 && node < NUMA_NODES)
				kib[node] += pages * page;
		}
	}
	for (unsigned n = 0; n < NUMA_NODES; n++)
		if (kib[n])
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "N%u=%" PRIu64 "\n", n, kib[n]);
	free(line);
	if (f)
		fclose(f);
	if (!item->err)
		ev_set_data(item, text, strlen(text));
}

/* The nodes of the GPUs a process holds through VFIO. */
static void held_nodes(struct audit *a, const struct proc *p, struct numset *out)
{
	const struct host *h = a->host;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < h->ngpu; i++)
		for (unsigned k = 0; k < p->nvfio; k++) {
			long long node;

			if (h->gpu[i]->group && !strcmp(h->gpu[i]->group, p->vfio[k]) &&
			    aud_long(a, &node, "/sys/bus/pci/devices/%s/numa_node", h->gpu[i]->bdf) == GOT_VALUE && node >= 0 && node < NUMSET_MAX)
				numset_add(out, (unsigned)node);
		}
}

/* What a running guest's memory came to be on, whatever its definition says. */
static void running_one(struct audit *a, const struct proc *p)
{
	char maps[64], name[80], who[64];
	const struct ev_item *it;
	uint64_t total = 0, far = 0;
	struct numset near;

	held_nodes(a, p, &near);
	if (!numset_count(&near))
		return;
	snprintf(maps, sizeof(maps), "/proc/%u/numa_maps", p->pid);
	snprintf(name, sizeof(name), "nodes:%s", maps);
	snprintf(who, sizeof(who), "%s(%u)", p->comm, p->pid);
	it = ev_derive(a->ev, name, sum_nodes, maps);
	aud_note(a, it, it->err ? strerror(it->err) : it->len ? ev_text_problem(it) : "no memory by node");
	for (const char *s = it->text ? it->data : ""; *s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : "") {
		unsigned node;
		uint64_t kib;

		if (sscanf(s, "N%u=%" SCNu64, &node, &kib) != 2) {
			aud_note(a, it, "no memory by node");
			break;
		}
		total += kib;
		far += numset_has(&near, node) ? 0 : kib;
	}
	if (total && far > total / 20) /* QEMU's own and shared libraries' pages may lie anywhere */
		emit(a, ST_BAD, who, "%" PRIu64 " of %" PRIu64 " MiB are not on its GPU's node", far >> 10, total >> 10);
	else
		emit(a, total ? ST_PASS : ST_UNKNOWN, who, "its memory is on its GPU's node");
}

static void memory_near(struct audit *a)
{
	const struct procs *ps = &a->host->procs;

	each_domain(a, memory_one);
	a->nref = a->ncommon = 0;
	for (size_t i = 0; i < ps->n; i++)
		if (ps->p[i].qemu && ps->p[i].nvfio)
			running_one(a, &ps->p[i]);
}

static void huge_one(struct audit *a, const struct domain *d, const struct pci_dev *gpu)
{
	long long node = 0, have;
	uint64_t need = d->memory_kib >> 20;

	aud_long(a, &node, "/sys/bus/pci/devices/%s/numa_node", gpu->bdf);
	if (!d->hugepages) {
		emit(a, ST_BAD, d->name, "memory is not on huge pages");
		return;
	}
	if (aud_long(a, &have, "/sys/devices/system/node/node%lld/hugepages/hugepages-1048576kB/nr_hugepages", node < 0 ? 0 : node) != GOT_VALUE)
		emit(a, ST_UNKNOWN, d->name, "huge pages not visible");
	else if ((uint64_t)have < need)
		emit(a, ST_BAD, d->name, "needs %" PRIu64 " pages of 1 GiB on node %lld, which has %lld", need, node, have);
	else
		emit(a, ST_PASS, d->name, "%lld pages of 1 GiB on node %lld for %" PRIu64 " GiB", have, node, need);
}

static void hugepages(struct audit *a)
{
	each_domain(a, huge_one);
}

static void governor(struct audit *a)
{
	const struct ev_item *list;
	unsigned n = 0, other = 0;
	char name[64] = "";

	if (aud_list(a, &list, "/sys/devices/system/cpu") != GOT_VALUE || !list->len) {
		aud_note(a, list, "nothing there");
		emit(a, ST_UNKNOWN, "host", "processors not visible");
		return;
	}
	for (const char *c = ev_name(list, NULL); c; c = ev_name(list, c)) {
		const char *v;

		if (strncmp(c, "cpu", 3) || c[3] < '0' || c[3] > '9')
			continue;
		if (aud_line(a, &v, "/sys/devices/system/cpu/%s/cpufreq/scaling_governor", c) != GOT_VALUE)
			continue;
		n++;
		if (strcmp(v, "performance")) {
			other++;
			snprintf(name, sizeof(name), "%s", v);
		}
	}
	if (other)
		emit(a, ST_BAD, "host", "%u of %u processors use governor %s", other, n, name);
	else
		emit(a, n ? ST_PASS : ST_NA, "host", n ? "every processor uses governor performance" : "no frequency control");
}

static void memlock(struct audit *a)
{
	const struct host *h = a->host;
	uint64_t need = 0;
	bool any = false;

	note_domains(a);
	if (!aud_anchor(a, "/proc")) {
		emit(a, ST_UNKNOWN, "host", "processes not visible");
		return;
	}
	aud_common(a);
	for (size_t i = 0; i < h->dom.n; i++)
		if (h->dom.d[i].nhostdev && h->dom.d[i].memory_kib > need)
			need = h->dom.d[i].memory_kib;
	need = need ? (need << 10) + (1ull << 30) : 0;
	for (size_t i = 0; i < h->procs.n; i++) {
		const struct proc *p = &h->procs.p[i];
		char who[64];

		if (!p->qemu)
			continue;
		any = true;
		snprintf(who, sizeof(who), "%s(%u)", p->comm, p->pid);
		aud_note(a, p->limits, p->memlock ? NULL : p->limits->err ? strerror(p->limits->err) : "no limit found");
		aud_note(a, p->fds, p->fds_known ? NULL : strerror(p->fds->err));
		if (p->memlock && p->fds_known && !p->nvfio)
			emit(a, ST_NA, who, "holds no VFIO device");
		else if (p->memlock && p->memlock < need)
			emit(a, ST_BAD, who, "may lock %" PRIu64 " MiB, the largest VM with a device needs %" PRIu64, p->memlock >> 20, need >> 20);
		else
			emit(a, p->memlock ? ST_PASS : ST_UNKNOWN, who, "may lock enough memory");
	}
	if (!any)
		emit(a, ST_NA, "host", "no QEMU process");
}

static void dma_entries(struct audit *a)
{
	const char *v;
	enum got g = aud_param(a, &v, "vfio_iommu_type1", "dma_entry_limit");
	char *end;
	unsigned long n = strtoul(v, &end, 10);

	if (g == GOT_VALUE && (*end || end == v)) {
		aud_note(a, ev_get(a->ev, EV_READ, "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"), "not a number");
		emit(a, ST_UNKNOWN, "host", "not visible");
	} else if (g == GOT_VALUE && n < 65535)
		emit(a, ST_BAD, "host", "dma_entry_limit %lu is below the kernel's default of 65535", n);
	else
		emit(a, g == GOT_VALUE ? ST_PASS : ST_NA, "host", g == GOT_VALUE ? "dma_entry_limit %lu" : "vfio_iommu_type1 is not loaded", n);
}

static bool mem_total(struct audit *a, uint64_t *kib)
{
	const char *p = a->host->meminfo->text ? strstr(a->host->meminfo->data, "MemTotal:") : NULL;

	*kib = p ? strtoull(p + 9, NULL, 10) : 0;
	aud_note(a, a->host->meminfo, *kib ? NULL : a->host->meminfo->err ? strerror(a->host->meminfo->err) : "no MemTotal");
	return *kib;
}

static void overcommit(struct audit *a)
{
	const struct host *h = a->host;
	uint64_t total, sum = 0;
	const struct domain *balloon = NULL;
	unsigned n;

	note_domains(a);
	for (size_t i = 0; i < h->dom.n; i++) {
		bool again = false;

		for (size_t k = 0; k < i; k++)
			again |= !strcmp(h->dom.d[k].name, h->dom.d[i].name);
		if (again || !domain_gpus(h, &h->dom.d[i], &n))
			continue;
		aud_note(a, h->dom.d[i].src, NULL);
		sum += h->dom.d[i].memory_kib;
		if (h->dom.d[i].balloon)
			balloon = &h->dom.d[i];
	}
	if (!mem_total(a, &total))
		emit(a, ST_UNKNOWN, "host", "memory size not visible");
	else if (!sum)
		emit(a, ST_NA, "host", "no libvirt domain with a GPU");
	else if (sum + (4u << 20) > total) /* 4 GiB for the host itself */
		emit(a, ST_BAD, "host", "VMs with devices pin %" PRIu64 " GiB, the host has %" PRIu64, sum >> 20, total >> 20);
	else if (balloon)
		emit_sev(a, 'M', balloon->name, "has a memory balloon, which pinned memory makes meaningless");
	else
		emit(a, ST_PASS, "host", "VMs with devices pin %" PRIu64 " of %" PRIu64 " GiB", sum >> 20, total >> 20);
}

static void one_value(struct audit *a, const char *dir, const char *file, long long bad, const char *bad_text, const char *good_text)
{
	long long v;
	enum got g = aud_long(a, &v, "%s/%s", dir, file);

	if (g == GOT_ABSENT) {
		aud_anchor(a, dir);
		emit(a, ST_NA, "host", "this kernel has no such feature");
	} else {
		emit(a, g == GOT_NOTHING ? ST_UNKNOWN : v == bad ? ST_BAD : ST_PASS, "host", "%s", v == bad ? bad_text : good_text);
	}
}

static void ksm(struct audit *a)
{
	one_value(a, "/sys/kernel/mm", "ksm/run", 1, "KSM merges equal pages of different guests: a side channel", "KSM does not run");
}

static void balancing(struct audit *a)
{
	one_value(a, "/proc/sys/kernel", "numa_balancing", 1, "automatic NUMA balancing moves pages of pinned guests about",
		  "automatic NUMA balancing is off");
}

/* Lines "  40:  …  vfio-msix[0](0000:10:00.0)" of /proc/interrupts. */
static void irq_near(struct audit *a)
{
	const struct ev_item *irq;
	unsigned n = 0, far = 0;
	char first[32] = "";

	if (aud_text(a, &irq, "/proc/interrupts") != GOT_VALUE || !irq->len) {
		aud_note(a, irq, "not there");
		emit(a, ST_UNKNOWN, "host", "interrupts not visible");
		return;
	}
	for (const char *p = irq->data; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		const char *nl = strchr(p, '\n'), *dev = strstr(p, "](");
		struct numset local, mask;
		const struct pci_dev *d;
		char bdf[24] = "";
		const char *v;
		unsigned num;

		if (!nl || !dev || dev > nl || !memmem(p, (size_t)(nl - p), "vfio-msi", 8) || sscanf(p, " %u:", &num) != 1 ||
		    sscanf(dev, "](%23[0-9a-f:.])", bdf) != 1 || !(d = pci_find(&a->host->pci, bdf)))
			continue;
		if (!local_cpus(a, d, &local) || aud_line(a, &v, "/proc/irq/%u/smp_affinity_list", num) != GOT_VALUE || !*v || !numset_parse(&mask, v)) {
			aud_note(a, ev_getf(a->ev, EV_READ, "/proc/irq/%u/smp_affinity_list", num), "no affinity");
			continue;
		}
		n++;
		if (!numset_meets(&mask, &local)) {
			far++;
			snprintf(first, sizeof(first), "%u", num);
		}
	}
	if (far)
		emit(a, ST_BAD, "host", "%u of %u VFIO interrupts go to another node, e.g. %s", far, n, first);
	else
		emit(a, n ? ST_PASS : ST_NA, "host", n ? "VFIO interrupts go to the devices' nodes" : "no VFIO interrupt in use");
}

/* Whole disks in 512-byte sectors; what is made of them (dm, md, loop, zram) is not counted again. */
static bool disk_gib(struct audit *a, uint64_t *gib)
{
	static const char *const made[] = {"loop", "ram", "zram", "dm-", "md", "sr", "nbd", "zd"};
	const struct ev_item *list;
	uint64_t sectors = 0;

	*gib = 0;
	if (aud_list(a, &list, "/sys/block") != GOT_VALUE) {
		aud_note(a, list, "not there");
		return false;
	}
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		long long size;
		bool skip = false;

		for (size_t i = 0; i < sizeof(made) / sizeof(*made); i++)
			skip |= !strncmp(n, made[i], strlen(made[i]));
		if (!skip && aud_long(a, &size, "/sys/block/%s/size", n) == GOT_VALUE && size > 0)
			sectors += (uint64_t)size;
	}
	*gib = sectors >> 21;
	return true;
}

/* The least a GPU virtualisation host should have, unless the site's list says otherwise. */
static const struct {
	const char *key, *what;
	long long least;
} minima_table[] = {{"processors", "processor(s)", 16}, {"memory_gib", "GiB of memory", 64}, {"gpus", "GPU(s)", 2}, {"disk_gb", "GB of disks", 1000}};

static void minima(struct audit *a)
{
	const struct host *h = a->host;
	const json_t *list;
	uint64_t memory, disk;
	char less[200] = "", have[200] = "";
	bool bad, known;

	aud_note(a, h->cpuinfo, h->cpus ? NULL : h->cpuinfo->err ? strerror(h->cpuinfo->err) : "no processors listed");
	aud_anchor(a, "/sys/bus/pci/devices");
	list = site_section(a, "minima", &bad);
	known = mem_total(a, &memory);
	known = disk_gib(a, &disk) && known && h->cpus; /* both are noted */
	/* Firmware keeps up to 2 GiB; a terabyte on the label is 931 GiB. */
	long long value[] = {h->cpus, (long long)(memory >> 20) + 2, (long long)h->ngpu, (long long)(disk * 1074 / 1000)};

	for (size_t i = 0; i < sizeof(minima_table) / sizeof(*minima_table); i++) {
		long long least = list ? site_number(list, minima_table[i].key, minima_table[i].least) : minima_table[i].least;
		long long shown = value[i] - (i == 1 ? 2 : 0);
		char *to = value[i] < least ? less : have;

		snprintf(to + strlen(to), sizeof(less) - strlen(to), "%s%lld %s", *to ? ", " : "", shown, minima_table[i].what);
		if (value[i] < least)
			snprintf(to + strlen(to), sizeof(less) - strlen(to), " of %lld", least);
	}
	if (!known)
		emit(a, ST_UNKNOWN, "host", "size not visible");
	else if (*less)
		emit(a, ST_BAD, "host", "less than a host needs: %s", less);
	else
		emit(a, ST_PASS, "host", "%s", have);
}

static const struct check checks[] = {
	{"NUMA-001", "F01", "Each GPU's NUMA node is known", "MMMML", 2, 2, node_known, "Without it nothing can be placed beside the GPU.",
	 "numa_node", "Firmware update or setting (SRAT, sub-NUMA clustering).", "", "pwnu"},
	{"NUMA-002", "F02", "vCPUs run beside their GPU", "M-M--", 3, 3, cpus_near, "Each access across the socket link costs time and bandwidth.",
	 "libvirt XML, local_cpulist", "<vcpupin> to the GPU's node.", "", "pwnu"},
	{"NUMA-003", "F03", "vCPUs are pinned", "M-L--", 2, 3, cpus_pinned, "Unpinned vCPUs wander between sockets.", "libvirt XML", "<cputune><vcpupin>.", "", "pwnu"},
	{"NUMA-004", "F04", "Pins are sound", "H-H--", 4, 3, bad_pin, "SMT siblings of two tenants on one core observe each other; processor 0 serves the host.",
	 "libvirt XML, CPU topology", "Whole cores per VM, without processor 0; core scheduling.", "", "pfwnu"},
	{"NUMA-005", "F05", "Memory is on the GPU's node", "M-M--", 3, 3, memory_near, "DMA across the socket link is slower.", "libvirt XML, /proc/*/numa_maps", "<numatune><memory mode='strict' nodeset=…>.", "", "pwnu"},
	{"NUMA-006", "F06", "Huge pages suffice", "M-M--", 2, 3, hugepages, "VFIO pins all memory; small pages make starts slow and IOMMU tables large.",
	 "libvirt XML, node hugepages", "Reserve at boot: hugepagesz=1G hugepages=N.", "", "pwnu"},
	{"NUMA-007", "F07", "Governor is performance", "LLLLL", 1, 4, governor, "Slow clocks delay doorbells and copies.", "cpufreq", "tuned or cpupower.", "", "pwnu"},
	{"NUMA-008", "F08", "QEMU may lock the guest's memory", "H-H--", 3, 2, memlock, "Otherwise VFIO_MAP_DMA fails.", "/proc/*/limits", "<memtune><hard_limit> or LimitMEMLOCK.", "", "pfnu"},
	{"NUMA-009", "F09", "VFIO has enough DMA entries", "L-L--", 2, 1, dma_entries, "Guests with many small mappings run out.", "vfio_iommu_type1 parameter", "dma_entry_limit=65535 or more.", "", "pwnu"},
	{"NUMA-010", "F10", "Pinned memory is not overcommitted", "H-H--", 4, 2, overcommit, "It cannot be swapped: the host runs out.", "libvirt XML, /proc/meminfo",
	 "Fewer or smaller VMs; no balloon.", "", "pfwnu"},
	{"NUMA-011", "F11", "KSM is off", "MMMML", 3, 2, ksm, "Merged pages tell one tenant what another holds.", "/sys/kernel/mm/ksm/run", "echo 2 > run; disable ksmtuned.", "", "pwnu"},
	{"NUMA-012", "F12", "NUMA balancing is off", "LLLLL", 1, 3, balancing, "It works against pinning.", "/proc/sys/kernel/numa_balancing", "sysctl kernel.numa_balancing=0.", "", "pwnu"},
	{"NUMA-013", "F13", "Device interrupts go to the device's node", "L-L--", 1, 3, irq_near, "Remote interrupts cost latency.", "/proc/interrupts, /proc/irq", "irqbalance policy or smp_affinity_list.", "", "pwnu"},
	{"NUMA-014", "F14", "The host is large enough", "MMMMI", 2, 2, minima, "Fewer than 16 processors, 64 GiB, two GPUs or a terabyte of disks leave little for guests; the site list may set other minima.",
	 "/proc/cpuinfo, /proc/meminfo, PCI, /sys/block", "Another host, or other minima in the site list.", "", "pwiu"},
};

const struct check_group numa_group = {
	"NUMA", "Processors, memory, NUMA", checks, sizeof(checks) / sizeof(*checks), "SC-5 SC-6 CP-2", "", "164.308(a)(7)", "A.8.6", ""};
