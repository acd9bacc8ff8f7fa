/* SPDX-License-Identifier: Apache-2.0 */
#include "pci.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- configuration space ---- */

struct span {
	const uint8_t *p;
	size_t len;
};

/* Little-endian reads; beyond the end is all ones, as a missing device answers. */
static uint32_t get(struct span s, size_t off, unsigned bytes)
{
	uint32_t v = 0;

	if (off + bytes > s.len)
		return bytes == 4 ? 0xffffffffu : (1u << (8 * bytes)) - 1;
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint32_t)s.p[off + i] << (8 * i);
	return v;
}

static void cap_express(struct pci_config *c, struct span s, uint16_t at)
{
	uint32_t link_cap = get(s, at + 0x0c, 4), link_sta = get(s, at + 0x12, 2);

	if (at + 0x14u > s.len)
		return;
	c->pcie = at;
	c->port = (get(s, at + 2, 2) >> 4) & 15;
	c->flr = get(s, at + 4, 4) >> 28 & 1;
	c->max_speed = link_cap & 15;
	c->max_width = link_cap >> 4 & 63;
	c->speed = link_sta & 15;
	c->width = link_sta >> 4 & 63;
}

static void walk_caps(struct pci_config *c, struct span s)
{
	uint8_t at = (uint8_t)(get(s, 0x34, 1) & ~3u);

	if (!(get(s, 6, 2) & 0x10)) { /* status: no list */
		c->caps = s.len > 64;
		return;
	}
	if (s.len < 256)
		return;
	c->caps = true;
	for (int i = 0; at >= 0x40 && i < 48; i++) { /* 48 × 4 bytes fill the space: a loop ends here */
		uint8_t id = (uint8_t)get(s, at, 1);

		if (id == 0xff)
			break;
		if (id == 0x10)
			cap_express(c, s, at);
		at = (uint8_t)(get(s, at + 1, 1) & ~3u);
	}
}

static void ext_acs(struct pci_config *c, struct span s, uint16_t at)
{
	c->acs = at;
	c->acs_cap = (uint16_t)get(s, at + 4, 2);
	c->acs_ctl = (uint16_t)get(s, at + 6, 2);
}

static void ext_ats(struct pci_config *c, struct span s, uint16_t at)
{
	c->ats = at;
	c->ats_on = get(s, at + 6, 2) >> 15 & 1;
}

static void ext_pri(struct pci_config *c, struct span s, uint16_t at)
{
	c->pri = at;
	c->pri_on = get(s, at + 4, 2) & 1;
}

static void ext_pasid(struct pci_config *c, struct span s, uint16_t at)
{
	c->pasid = at;
	c->pasid_on = get(s, at + 6, 2) & 1;
}

static void ext_sriov(struct pci_config *c, struct span s, uint16_t at)
{
	c->sriov = at;
	c->sriov_total = (uint16_t)get(s, at + 0x0e, 2);
	c->sriov_num = (uint16_t)get(s, at + 0x10, 2);
}

static void ext_rebar(struct pci_config *c, struct span s, uint16_t at)
{
	uint32_t cap = get(s, at + 4, 4), ctl = get(s, at + 8, 4);

	c->rebar = at;
	c->rebar_sizes = (cap >> 4) | (uint64_t)(ctl >> 16) << 28;
	c->rebar_bar = ctl & 7;
	c->rebar_size = ctl >> 8 & 31;
}

static void ext_dsn(struct pci_config *c, struct span s, uint16_t at)
{
	c->dsn = at;
	c->serial = get(s, at + 4, 4) | (uint64_t)get(s, at + 8, 4) << 32;
}

static void ext_aer(struct pci_config *c, struct span s, uint16_t at)
{
	(void)s;
	c->aer = at;
}

static void ext_ari(struct pci_config *c, struct span s, uint16_t at)
{
	(void)s;
	c->ari = at;
}

static const struct {
	uint16_t id;
	uint16_t bytes; /* what the handler reads; a capability that does not fit is not believed */
	void (*take)(struct pci_config *, struct span, uint16_t);
} ext_caps[] = {
	{0x0001, 4, ext_aer},  {0x0003, 12, ext_dsn},	{0x000d, 8, ext_acs},	{0x000e, 8, ext_ari},
	{0x000f, 8, ext_ats},  {0x0010, 0x40, ext_sriov}, {0x0013, 8, ext_pri}, {0x0015, 12, ext_rebar},
	{0x001b, 8, ext_pasid},
};

static void walk_ext(struct pci_config *c, struct span s)
{
	uint16_t at = PCI_EXT_START;

	if (s.len < PCI_CFG_FULL)
		return;
	c->ext = true;
	for (int i = 0; at >= PCI_EXT_START && i < 480; i++) {
		uint32_t head = get(s, at, 4);

		if (!head || head == 0xffffffffu)
			break;
		for (size_t k = 0; k < sizeof(ext_caps) / sizeof(*ext_caps); k++)
			if (ext_caps[k].id == (head & 0xffff) && at + ext_caps[k].bytes <= s.len)
				ext_caps[k].take(c, s, at);
		at = head >> 20 & 0xffc;
	}
}

bool pci_decode(struct pci_config *c, const uint8_t *bytes, size_t len)
{
	struct span s = {bytes, len};

	memset(c, 0, sizeof(*c));
	if (len < 64)
		return false;
	c->vendor = (uint16_t)get(s, 0, 2);
	c->device = (uint16_t)get(s, 2, 2);
	c->command = (uint16_t)get(s, 4, 2);
	c->class = get(s, 8, 4) >> 8;
	c->header = get(s, 0x0e, 1) & 0x7f;
	c->multi = get(s, 0x0e, 1) >> 7;
	/* A virtual function's ids read as ones; an absent device reads as ones altogether. */
	if ((c->vendor == 0xffff && c->class == 0xffffff) || c->header > 2)
		return false;
	if (c->header == 1) {
		c->secondary = (uint8_t)get(s, 0x19, 1);
		c->subordinate = (uint8_t)get(s, 0x1a, 1);
	}
	c->valid = true;
	walk_caps(c, s);
	if (c->pcie)
		walk_ext(c, s);
	else
		c->ext = c->caps; /* conventional PCI has none, which is then known */
	return true;
}

/* ---- sysfs ---- */

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool hex_id(const struct ev_item *it, uint32_t *out)
{
	char *end;

	if (!it->text || !it->line || strncmp(it->line, "0x", 2))
		return false;
	*out = (uint32_t)strtoul(it->line, &end, 16);
	return !*end && end > it->line + 2;
}

static const char *link_base(const struct ev_item *it)
{
	return !it->err && it->text && it->line ? base(it->line) : NULL;
}

/* Garbage in one of the two sources shows as a contradiction; then neither is believed. */
static void decode_config(struct pci_dev *d)
{
	const struct ev_item *it = d->cfg_item;

	if (it->err || it->cut || !pci_decode(&d->cfg, (const uint8_t *)it->data, it->len))
		return;
	if (d->id_known && d->cfg.vendor != 0xffff && (d->cfg.vendor != d->vendor || d->cfg.device != d->device))
		memset(&d->cfg, 0, sizeof(d->cfg));
}

static void collect_one(struct pci_dev *d, struct ev *ev)
{
	static const char *const id[3] = {"vendor", "device", "class"};
	uint32_t v[3] = {0};

	d->id_known = true;
	for (int i = 0; i < 3; i++) {
		d->id_item[i] = ev_getf(ev, EV_READ, "/sys/bus/pci/devices/%s/%s", d->bdf, id[i]);
		if (!hex_id(d->id_item[i], &v[i]))
			d->id_known = false;
	}
	d->class_known = hex_id(d->id_item[2], &v[2]);
	d->vendor = (uint16_t)v[0];
	d->device = (uint16_t)v[1];
	d->class = v[2] & 0xffffff;
	d->cfg_item = ev_getf(ev, EV_READ, "/sys/bus/pci/devices/%s/config", d->bdf);
	decode_config(d);
	d->link_item = ev_getf(ev, EV_LINK, "/sys/bus/pci/devices/%s", d->bdf);
	d->place_known = d->link_item->text && d->link_item->line;
	d->link = d->place_known ? d->link_item->line : "";
	d->group_item = ev_getf(ev, EV_LINK, "/sys/bus/pci/devices/%s/iommu_group", d->bdf);
	d->group = link_base(d->group_item);
	d->driver_item = ev_getf(ev, EV_LINK, "/sys/bus/pci/devices/%s/driver", d->bdf);
	d->driver = link_base(d->driver_item);
}

/* ".../0000:00:01.0/0000:01:00.0": the component before the last is the bridge above. */
static void place(struct pci *p, struct pci_dev *d)
{
	const char *end = strrchr(d->link, '/'), *start = end;
	char up[24];

	while (start && start > d->link && start[-1] != '/')
		start--;
	if (!start || (size_t)(end - start) >= sizeof(up))
		return;
	memcpy(up, start, (size_t)(end - start));
	up[end - start] = 0;
	d->parent = pci_find(p, up);
}

static int by_bdf(const void *a, const void *b)
{
	const char *x = ((const struct pci_dev *)a)->bdf, *y = ((const struct pci_dev *)b)->bdf;
	size_t nx = strcspn(x, ":"), ny = strcspn(y, ":");

	return nx != ny ? (nx < ny ? -1 : 1) : strcmp(x, y);
}

/* domain of 4 to 8 digits, bus, device, function */
static bool bdf_ok(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");
	unsigned bus, dev, fn;
	int used = 0;

	return n >= 4 && n <= 8 && strlen(s) == n + 8 &&
	       sscanf(s + n, ":%2x:%2x.%1x%n", &bus, &dev, &fn, &used) == 3 && used == 8;
}

void pci_collect(struct pci *p, struct ev *ev)
{
	size_t cap = 0;

	p->list = ev_get(ev, EV_LIST, "/sys/bus/pci/devices");
	for (const char *n = ev_name(p->list, NULL); n; n = ev_name(p->list, n))
		cap++;
	p->dev = calloc(cap + 1, sizeof(*p->dev));
	if (!p->dev)
		abort();
	for (const char *n = ev_name(p->list, NULL); n; n = ev_name(p->list, n))
		if (bdf_ok(n))
			strcpy(p->dev[p->n++].bdf, n);
	qsort(p->dev, p->n, sizeof(*p->dev), by_bdf);
	for (size_t i = 0; i < p->n; i++) {
		p->dev[i].list_item = p->list;
		collect_one(&p->dev[i], ev);
	}
	for (size_t i = 0; i < p->n; i++) {
		struct pci_dev *d = &p->dev[i];

		place(p, d);
		/* Only graphics and accelerators have virtual functions that concern us. */
		if (d->class >> 16 == 0x03 || d->class >> 16 == 0x12) {
			const struct ev_item *pf =
				ev_getf(ev, EV_LINK, "/sys/bus/pci/devices/%s/physfn", d->bdf);

			d->vf_item = pf;
			d->is_vf = !pf->err;
			d->physfn = link_base(pf) ? pci_find(p, link_base(pf)) : NULL;
		}
	}
}

void pci_free(struct pci *p)
{
	free(p->dev);
}

struct pci_dev *pci_find(const struct pci *p, const char *bdf)
{
	struct pci_dev key = {0};

	if (strlen(bdf) >= sizeof(key.bdf))
		return NULL;
	strcpy(key.bdf, bdf);
	return bsearch(&key, p->dev, p->n, sizeof(key), by_bdf);
}

bool pci_is_gpu(const struct pci_dev *d)
{
	uint32_t base_class = d->class >> 16;

	if (!d->id_known || (base_class != 0x03 && base_class != 0x12))
		return false;
	if (d->vendor == 0x10de || d->vendor == 0x1002)
		return true;
	return d->vendor == 0x8086 && d->parent; /* on a root bus it is the processor's own */
}

bool pci_is_nvswitch(const struct pci_dev *d)
{
	return d->id_known && d->vendor == 0x10de && d->class >> 8 == 0x0680;
}

bool pci_is_bridge(const struct pci_dev *d)
{
	return d->id_known && d->class >> 8 == 0x0604;
}

bool pci_same_slot(const struct pci_dev *a, const struct pci_dev *b)
{
	size_t n = strlen(a->bdf);

	return a != b && n == strlen(b->bdf) && n > 2 && !strncmp(a->bdf, b->bdf, n - 1);
}

const char *pci_root_bus(const struct pci_dev *d, char *buf, size_t size)
{
	const char *s = strstr(d->link, "/pci");
	size_t n = s ? strcspn(s + 1, "/") : 0;

	if (!n || n >= size)
		return NULL;
	memcpy(buf, s + 1, n);
	buf[n] = 0;
	return buf;
}

bool pci_resources(const char *text, struct pci_bar bar[6])
{
	int lines = 0;

	memset(bar, 0, 6 * sizeof(*bar));
	for (; *text; lines++) {
		uint64_t start, end, flags;
		int used = 0;

		if (sscanf(text, "0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64 "%n", &start, &end, &flags,
			   &used) != 3 || text[used] != '\n' || end < start)
			return false;
		text += used + 1;
		if (lines >= 6)
			continue;
		bar[lines] = (struct pci_bar){start, flags ? end - start + 1 : 0, flags};
	}
	return lines >= 6;
}
