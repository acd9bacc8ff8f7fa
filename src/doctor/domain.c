/* SPDX-License-Identifier: Apache-2.0 */
#include "domain.h"

#include <errno.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#define DOMAINS_MAX 512

static bool is(const xmlNode *n, const char *name)
{
	return n->type == XML_ELEMENT_NODE && !strcmp((const char *)n->name, name);
}

static const xmlNode *child(const xmlNode *n, const char *name)
{
	for (n = n ? n->children : NULL; n; n = n->next)
		if (is(n, name))
			return n;
	return NULL;
}

/* An attribute's first text; "" when absent. Valid as long as the document. */
static const char *attr(const xmlNode *n, const char *name)
{
	for (const xmlAttr *a = n ? n->properties : NULL; a; a = a->next)
		if (!strcmp((const char *)a->name, name) && a->children && a->children->content)
			return (const char *)a->children->content;
	return "";
}

static const char *text(const xmlNode *n)
{
	return n && n->children && n->children->content ? (const char *)n->children->content : "";
}

static void copy(char *out, size_t size, const char *s)
{
	size_t n = strlen(s);

	n = n < size ? n : size - 1;
	memcpy(out, s, n);
	out[n] = 0;
}

/* libvirt's memory units; KiB when none is given. */
static uint64_t kib(const xmlNode *n)
{
	static const struct {
		const char *unit;
		uint64_t num, den;
	} units[] = {{"b", 1, 1024},	 {"bytes", 1, 1024}, {"KB", 1000, 1024},      {"k", 1, 1},
		     {"KiB", 1, 1},	 {"MB", 1000000, 1024}, {"M", 1024, 1},	      {"MiB", 1024, 1},
		     {"GB", 1000000000, 1024}, {"G", 1u << 20, 1}, {"GiB", 1u << 20, 1},
		     {"T", 1u << 30, 1}, {"TiB", 1u << 30, 1}};
	uint64_t v = strtoull(text(n), NULL, 10);
	const char *u = attr(n, "unit");

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (!strcmp(u, units[i].unit))
			return v > UINT64_MAX / units[i].num ? 0 : v * units[i].num / units[i].den;
	return v;
}

static void take_cputune(struct domain *d, const xmlNode *n)
{
	for (n = n ? n->children : NULL; n; n = n->next) {
		if (!is(n, "vcpupin") || d->npin == DOM_PINS)
			continue;
		if (numset_parse(&d->pin[d->npin], attr(n, "cpuset"))) {
			for (unsigned i = 0; i < NUMSET_MAX / 64; i++)
				d->pinned.w[i] |= d->pin[d->npin].w[i];
			d->npin++;
		}
	}
}

static void take_hostdev(struct domain *d, const xmlNode *n)
{
	const xmlNode *a = child(child(n, "source"), "address");
	unsigned long part[4];
	static const char *const name[4] = {"domain", "bus", "slot", "function"};

	if (!strcmp(attr(n, "type"), "mdev")) {
		d->nmdev++;
		return;
	}
	if (strcmp(attr(n, "type"), "pci") || !a || d->nhostdev == DOM_DEVICES)
		return;
	for (int i = 0; i < 4; i++)
		part[i] = strtoul(attr(a, name[i]), NULL, 0);
	if (part[0] > 0xffffffff || part[1] > 0xff || part[2] > 31 || part[3] > 7)
		return;
	if (child(n, "rom") && *attr(child(n, "rom"), "file"))
		d->romfile = true;
	d->managed[d->nhostdev] = !strcmp(attr(n, "managed"), "yes");
	snprintf(d->hostdev[d->nhostdev++], sizeof(d->hostdev[0]), "%04lx:%02lx:%02lx.%lx", part[0],
		 part[1], part[2], part[3]);
}

static bool loopback(const char *s)
{
	return !*s || !strncmp(s, "127.", 4) || !strcmp(s, "::1") || !strcmp(s, "localhost");
}

static void take_graphics(struct domain *d, const xmlNode *n)
{
	if (!strcmp(attr(n, "type"), "vnc") || !strcmp(attr(n, "type"), "spice")) {
		if (!loopback(attr(n, "listen")))
			d->secret_listen = true;
		for (const xmlNode *l = n->children; l; l = l->next)
			if (is(l, "listen") && !loopback(attr(l, "address")))
				d->secret_listen = true;
	}
}

static void take_devices(struct domain *d, const xmlNode *n)
{
	for (n = n ? n->children : NULL; n; n = n->next) {
		if (is(n, "hostdev"))
			take_hostdev(d, n);
		else if (is(n, "graphics"))
			take_graphics(d, n);
		else if (is(n, "memballoon"))
			d->balloon = strcmp(attr(n, "model"), "none") != 0;
		else if (is(n, "shmem"))
			d->nshmem++;
	}
}

static void take_qemu_args(struct domain *d, const xmlNode *n)
{
	for (n = n ? n->children : NULL; n; n = n->next) {
		const char *v = attr(n, "value"), *p = strstr(v, "X-PciMmio64Mb,string=");

		if (!is(n, "arg"))
			continue;
		if (p)
			d->mmio64_mb = strtoull(p + strlen("X-PciMmio64Mb,string="), NULL, 10);
		if (!strncmp(v, "tcp:", 4) && strncmp(v, "tcp:127.", 8) && strncmp(v, "tcp:localhost", 13))
			d->monitor_tcp = true;
		if (strstr(v, "host-phys-bits=on"))
			d->host_phys_bits = true;
	}
}

static void take_features(struct domain *d, const xmlNode *n)
{
	d->kvm_hidden = !strcmp(attr(child(child(n, "kvm"), "hidden"), "state"), "on");
	d->hv_vendor = !strcmp(attr(child(child(n, "hyperv"), "vendor_id"), "state"), "on");
}

static void take_domain(struct domain *d, const xmlNode *dom)
{
	const xmlNode *os = child(dom, "os"), *cpu = child(dom, "cpu");
	const xmlNode *backing = child(dom, "memoryBacking"), *numa = child(child(dom, "numatune"), "memory");

	copy(d->name, sizeof(d->name), text(child(dom, "name")));
	copy(d->machine, sizeof(d->machine), attr(child(os, "type"), "machine"));
	d->memory_kib = kib(child(dom, "memory"));
	d->hard_limit_kib = child(child(dom, "memtune"), "hard_limit")
				    ? kib(child(child(dom, "memtune"), "hard_limit")) : 0;
	d->vcpus = (unsigned)strtoul(text(child(dom, "vcpu")), NULL, 10);
	copy(d->numa_mode, sizeof(d->numa_mode), attr(numa, "mode"));
	if (!numset_parse(&d->numa_nodes, attr(numa, "nodeset")))
		memset(&d->numa_nodes, 0, sizeof(d->numa_nodes));
	d->hugepages = child(backing, "hugepages");
	d->locked = child(backing, "locked");
	d->ovmf = !strcmp(attr(child(os, "loader"), "type"), "pflash") || !strcmp(attr(os, "firmware"), "efi");
	d->host_phys_bits = !strcmp(attr(child(cpu, "maxphysaddr"), "mode"), "passthrough") ||
			    !strcmp(attr(cpu, "mode"), "host-passthrough");
	d->balloon = true; /* libvirt adds one unless told "none" */
	d->seclabel_none = !strcmp(attr(child(dom, "seclabel"), "type"), "none");
	take_features(d, child(dom, "features"));
	take_cputune(d, child(dom, "cputune"));
	take_devices(d, child(dom, "devices"));
	take_qemu_args(d, child(dom, "commandline"));
}

bool domain_parse(struct domain *d, const char *xml, size_t len)
{
	xmlDoc *doc;
	const xmlNode *root;
	bool ok = false;

	memset(d, 0, sizeof(*d));
	if (len > (1u << 20))
		return false;
	doc = xmlReadMemory(xml, (int)len, "domain.xml", NULL,
			    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (!doc)
		return false;
	root = xmlDocGetRootElement(doc);
	if (root && is(root, "domstatus")) /* the live file wraps the domain */
		root = child(root, "domain");
	if (!doc->intSubset && root && is(root, "domain") && child(root, "name")) {
		take_domain(d, root);
		ok = true;
	}
	xmlFreeDoc(doc);
	return ok;
}

static void take_dir(struct domains *d, struct ev *ev, const char *dir, int index)
{
	const struct ev_item *list = ev_get(ev, EV_LIST, dir);

	d->source[index] = list;
	for (const char *n = ev_name(list, NULL); n && d->n < DOMAINS_MAX; n = ev_name(list, n)) {
		const struct ev_item *it;

		if (strlen(n) < 5 || strcmp(n + strlen(n) - 4, ".xml"))
			continue;
		it = ev_getf(ev, EV_READ, "%s/%s", dir, n);
		if (!(d->n & (d->n + 1))) {
			d->d = realloc(d->d, (2 * d->n + 2) * sizeof(*d->d));
			if (!d->d)
				abort();
		}
		if (it->text && domain_parse(&d->d[d->n], it->data, it->len)) {
			d->d[d->n].src = it;
			d->d[d->n++].live = index == 0;
		} else if (d->nunreadable < 32) {
			d->unreadable[d->nunreadable++] = it;
		}
	}
}

void domains_collect(struct domains *d, struct ev *ev)
{
	take_dir(d, ev, "/run/libvirt/qemu", 0);
	take_dir(d, ev, "/etc/libvirt/qemu", 1);
}

void domains_free(struct domains *d)
{
	free(d->d);
}
