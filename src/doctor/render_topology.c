/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topology as an SVG: one band per NUMA node, in it the PCIe paths from root port to GPU, NVSwitch
 * and whatever shares a GPU's IOMMU group, and NVLink at the right. A coloured edge marks a group of
 * several; a red or amber frame a device with a finding, which it links to.
 */
#include "host.h"
#include "markup.h"
#include "models.h"
#include "render.h"

#include <stdlib.h>
#include <string.h>

#define BOX_W  178
#define COL    208
#define LEAF_H 52 /* three lines of text */
#define PORT_H 36 /* two */
#define ROW    62
#define MARGIN 14
#define DEPTH  12

struct drawing {
	const struct audit *a;
	const struct host *h;
	FILE *f;
	int y;	   /* of the next leaf */
	int depth; /* of the deepest device */
	int bus_top, bus_bottom; /* of what has NVLinks; top < 0: nothing has */
};

/* A stranger in a GPU's group goes along with it, or holds it back. */
static bool stranger(const struct host *h, const struct pci_dev *d)
{
	for (size_t i = 0; d->group && !pci_is_bridge(d) && i < h->ngpu; i++)
		if (h->gpu[i]->group && !strcmp(h->gpu[i]->group, d->group) && !pci_same_slot(h->gpu[i], d) && d->physfn != h->gpu[i])
			return true;
	return false;
}

static bool leaf(const struct host *h, const struct pci_dev *d)
{
	return (pci_is_gpu(d) && !d->is_vf) || pci_is_nvswitch(d) || stranger(h, d);
}

/* Marks, by index, everything on the path of a leaf; returns the greatest depth. */
static int mark(const struct host *h, bool *shown)
{
	int deepest = 0;

	for (size_t i = 0; i < h->pci.n; i++) {
		int n = 0;

		if (!leaf(h, &h->pci.dev[i]))
			continue;
		for (const struct pci_dev *d = &h->pci.dev[i]; d && n < DEPTH; d = d->parent, n++)
			shown[d - h->pci.dev] = true;
		deepest = n > deepest ? n : deepest;
	}
	return deepest;
}

/* How many shown devices share d's group. */
static unsigned sharers(const struct host *h, const bool *shown, const struct pci_dev *d)
{
	unsigned n = 0;

	for (size_t i = 0; d->group && i < h->pci.n; i++)
		n += shown[i] && h->pci.dev[i].group && !strcmp(h->pci.dev[i].group, d->group);
	return n;
}

/* The worst finding about a device, or one that names it. */
static const struct result *finding(const struct audit *a, const struct pci_dev *d)
{
	const struct result *worst = NULL;

	for (size_t i = 0; i < a->nresult; i++) {
		const struct result *r = &a->result[i];
		bool about = !strcmp(r->subject, d->bdf) || (r->status == ST_FAIL && strstr(r->message, d->bdf));

		if (about && (r->status == ST_FAIL || (r->status == ST_WARN && !worst)) && (!worst || worst->status != ST_FAIL))
			worst = r;
	}
	return worst;
}

static const char *kind(const struct host *h, const struct pci_dev *d)
{
	const struct gpu_model *m = gpu_model(d);
	uint32_t base = d->class >> 16;

	if (pci_is_gpu(d))
		return m ? m->name : "GPU";
	if (pci_is_nvswitch(d))
		return "NVSwitch";
	if (leaf(h, d))
		return base == 0x01 ? "storage" : base == 0x02 ? "network" : "device";
	return d->cfg.port == PCIE_ROOT_PORT && d->cfg.pcie ? "root port" : d->cfg.port == PCIE_UPSTREAM ? "switch, up" : d->cfg.port == PCIE_DOWNSTREAM ? "switch, down" : "bridge";
}

static const char *fill(const struct host *h, const struct pci_dev *d)
{
	return pci_is_gpu(d) ? "#dcebfb" : pci_is_nvswitch(d) ? "#e9e0f7" : leaf(h, d) ? "#fdeacc" : "#f1f3f4";
}

static void frame(struct drawing *w, const bool *shown, const struct pci_dev *d, int x, int y, int height)
{
	const struct result *bad = finding(w->a, d);
	bool shared = sharers(w->h, shown, d) > 1;
	unsigned hue = 0;

	fprintf(w->f, "<rect class=\"dev\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" fill=\"%s\" stroke=\"%s\" stroke-width=\"%d\"/>", x, y,
		BOX_W, height, fill(w->h, d), !bad ? "#9aa0a6" : bad->status == ST_FAIL ? "#b3261e" : "#b26a00", bad ? 3 : 1);
	if (!shared)
		return;
	for (const char *p = d->group; *p; p++)
		hue = hue * 10 + (unsigned)(*p - '0');
	fprintf(w->f, "<rect x=\"%d\" y=\"%d\" width=\"8\" height=\"%d\" fill=\"hsl(%u,70%%,45%%)\"/>", x, y, height, hue * 67 % 360);
}

static void box(struct drawing *w, const bool *shown, const struct pci_dev *d, int x, int y)
{
	const struct result *bad = finding(w->a, d);
	bool end = leaf(w->h, d);

	if (bad)
		fprintf(w->f, "<a href=\"#%s\">", bad->check->id);
	frame(w, shown, d, x, y, end ? LEAF_H : PORT_H);
	fprintf(w->f, "<text x=\"%d\" y=\"%d\"><tspan font-weight=\"600\">", x + 14, y + 15);
	put_escaped(w->f, d->bdf);
	fprintf(w->f, "</tspan></text><text x=\"%d\" y=\"%d\">%s, %s%s</text>", x + 14, y + 30, kind(w->h, d), d->group ? "group " : "no group",
		d->group ? d->group : "");
	if (end) {
		fprintf(w->f, "<text x=\"%d\" y=\"%d\">", x + 14, y + 45);
		put_escaped(w->f, d->driver ? d->driver : "no driver");
		if (d->cfg.width && d->cfg.speed)
			fprintf(w->f, ", gen %u x%u", d->cfg.speed, d->cfg.width);
		fputs("</text>", w->f);
	}
	fputs(bad ? "</a>\n" : "\n", w->f);
}

/* A line to the NVLink bus, with the links that are up. */
static void nvlink(struct drawing *w, const struct pci_dev *d, int x, int y)
{
	const struct nvml_gpu *g = nvml_find(&w->h->nvml, d->bdf);
	int bus = MARGIN + w->depth * COL + 30;

	if (!pci_is_nvswitch(d) && (!g || g->links <= 0))
		return;
	w->bus_top = w->bus_top < 0 ? y : w->bus_top;
	w->bus_bottom = y;
	fprintf(w->f, "<path d=\"M%d %d H%d\" stroke=\"%s\" stroke-width=\"3\" fill=\"none\"/>", x + BOX_W, y, bus,
		g && g->links_up < g->links ? "#b26a00" : "#4f8a10");
	if (g && g->links > 0)
		fprintf(w->f, "<text class=\"o\" x=\"%d\" y=\"%d\">%d/%d</text>", x + BOX_W + 6, y - 4, g->links_up, g->links);
	fputc('\n', w->f);
}

/* Draws d and what hangs below it; returns the height of its middle. */
static int draw(struct drawing *w, const bool *shown, const struct pci_dev *d, int depth)
{
	int x = MARGIN + 10 + depth * COL, first = -1, last = -1, middle;
	int join = x + BOX_W + (COL - BOX_W) / 2;

	for (size_t i = 0; i < w->h->pci.n && depth < DEPTH; i++) {
		const struct pci_dev *c = &w->h->pci.dev[i];

		if (c->parent != d || !shown[i])
			continue;
		last = draw(w, shown, c, depth + 1);
		first = first < 0 ? last : first;
		fprintf(w->f, "<path d=\"M%d %d H%d\" stroke=\"#9aa0a6\" fill=\"none\"/>", join, last, x + COL);
	}
	if (first < 0) {
		middle = w->y + LEAF_H / 2;
		w->y += ROW;
		nvlink(w, d, x, middle);
	} else {
		middle = (first + last) / 2;
		fprintf(w->f, "<path d=\"M%d %d V%d M%d %d H%d\" stroke=\"#9aa0a6\" fill=\"none\"/>", join, first, last, x + BOX_W, middle, join);
	}
	box(w, shown, d, x, middle - (leaf(w->h, d) ? LEAF_H : PORT_H) / 2);
	return middle;
}

static const char *node_of(const struct audit *a, const struct pci_dev *d)
{
	const struct ev_item *it = ev_getf(a->ev, EV_READ, "/sys/bus/pci/devices/%s/numa_node", d->bdf);

	return it->line && *it->line && strcmp(it->line, "-1") ? it->line : "unknown";
}

/* All root ports of one node, in a band. done: by index, those that are drawn. */
static void band(struct drawing *w, const bool *shown, const char *node, bool *done)
{
	char *text = NULL;
	size_t size = 0;
	int top = w->y;
	FILE *out = w->f;

	w->f = open_memstream(&text, &size);
	if (!w->f)
		abort();
	w->y += 30;
	for (size_t i = 0; i < w->h->pci.n; i++) {
		const struct pci_dev *d = &w->h->pci.dev[i];

		if (!shown[i] || done[i] || d->parent || strcmp(node_of(w->a, d), node))
			continue;
		done[i] = true;
		draw(w, shown, d, 0);
	}
	fclose(w->f);
	w->f = out;
	fprintf(out, "<rect class=\"band\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"none\" stroke=\"#9aa0a6\" stroke-dasharray=\"4 3\"/>"
		"<text class=\"o\" x=\"%d\" y=\"%d\">NUMA node ", MARGIN / 2, top, w->depth * COL + 8, w->y - top, MARGIN, top + 17);
	put_escaped(out, node);
	fprintf(out, "</text>\n%s", text);
	free(text);
	w->y += 14;
}

static void bus(const struct drawing *w)
{
	int x = MARGIN + w->depth * COL + 30;

	if (w->bus_top < 0)
		return;
	fprintf(w->f, "<rect class=\"bus\" x=\"%d\" y=\"%d\" width=\"26\" height=\"%d\" rx=\"4\" fill=\"#d7ead0\" stroke=\"#4f8a10\"/>", x, w->bus_top - 20,
		w->bus_bottom - w->bus_top + 40);
	fprintf(w->f, "<text transform=\"translate(%d,%d) rotate(90)\" text-anchor=\"middle\">%s</text>\n", x + 9, (w->bus_top + w->bus_bottom) / 2,
		w->h->nnvswitch ? "NVLink, NVSwitch" : "NVLink");
}

void render_topology(const struct report *r, FILE *f)
{
	const struct host *h = r->a->host;
	bool *shown = calloc(h->pci.n + 1, 1), *done = calloc(h->pci.n + 1, 1);
	struct drawing w = {.a = r->a, .h = h, .y = 8, .bus_top = -1};
	char *svg = NULL;
	size_t size = 0;

	fputs("<h2 id=\"topology\">Topology</h2>\n", f);
	w.f = open_memstream(&svg, &size);
	if (!shown || !done || !w.f)
		abort();
	w.depth = mark(h, shown);
	for (size_t i = 0; i < h->pci.n; i++)
		if (shown[i] && !done[i] && !h->pci.dev[i].parent)
			band(&w, shown, node_of(r->a, &h->pci.dev[i]), done);
	bus(&w);
	fclose(w.f);
	if (w.depth)
		fprintf(f, "<p>A coloured edge marks an IOMMU group of several devices: they go to one guest together. A red or amber frame marks a device with a "
			   "finding, and leads to it.</p>\n<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" aria-label=\"PCIe topology\">%s</svg>\n",
			w.depth * COL + 100, w.y, w.depth * COL + 100, svg);
	else
		fputs("<p>No GPU in this host.</p>\n", f);
	free(svg);
	free(shown);
	free(done);
}
