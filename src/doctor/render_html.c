/* SPDX-License-Identifier: Apache-2.0 */
/* One self-contained HTML file: summary, risk matrix, topology, findings with evidence folded. No
 * script, no outside reference: it can be mailed and opened anywhere. */
#include "host.h"
#include "markup.h"
#include "render.h"

#include <string.h>
#include <time.h>

static const char style[] =
	"body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#1a1a1a;background:#fff}"
	"h1{font-size:1.5em}h2{margin-top:2em;border-bottom:1px solid #ccc}table{border-collapse:collapse}"
	".sum td{padding:.3em 1em;text-align:center;border:1px solid #ccc;min-width:5em}.sum b{display:block;font-size:1.6em}"
	"details{border:1px solid #ddd;border-left:6px solid #888;margin:.4em 0;padding:.4em .8em;border-radius:3px}"
	"details.fail{border-left-color:#b3261e}details.warn{border-left-color:#b26a00}details.unknown,details.error{border-left-color:#6a3fa0}"
	"details.pass{border-left-color:#2e7d32}details.info{border-left-color:#1565c0}summary{cursor:pointer}"
	"code,pre{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}.tag{display:inline-block;min-width:5.5em;font-weight:600}"
	".mx td{border:1px solid #fff;width:9em;height:4em;vertical-align:top;padding:.3em;font-size:12px}.mx th{font-weight:600;padding:.3em;font-size:12px}"
	".ev{color:#444;font-size:13px;margin:.3em 0}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif}"
	"@media (prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}.ev{color:#bbb}h2{border-color:#444}details{border-color:#333}.sum td{border-color:#444}"
	"svg text{fill:#1a1a1a}svg text.o{fill:#e6e6e6}.mx td{color:#1a1a1a;border-color:#161616}}";

static void summary(const struct report *r, FILE *f)
{
	static const enum status shown[] = {ST_FAIL, ST_UNKNOWN, ST_WARN, ST_INFO, ST_PASS, ST_NA, ST_SKIPPED};

	fputs("<table class=\"sum\"><tr>", f);
	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		fprintf(f, "<td><b>%zu</b>%s</td>", r->a->count[shown[i]] + (shown[i] == ST_UNKNOWN ? r->a->count[ST_ERROR] : 0), status_name[shown[i]]);
	fputs("</tr></table>\n", f);
}

/* ---- risk matrix ---- */

static const char *cell_colour(int impact, int likelihood)
{
	int risk = impact * likelihood;

	return risk >= 15 ? "#ef9a9a" : risk >= 10 ? "#ffcc80" : risk >= 5 ? "#fff59d" : "#c5e1a5";
}

static void cell(const struct report *r, FILE *f, int impact, int likelihood)
{
	const struct check *last = NULL;

	fprintf(f, "<td style=\"background:%s\">", cell_colour(impact, likelihood));
	for (size_t i = 0; i < r->a->nresult; i++) {
		const struct result *x = &r->a->result[i];

		if ((x->status != ST_FAIL && x->status != ST_WARN) || x->check == last || x->check->impact != impact || x->check->likelihood != likelihood)
			continue;
		last = x->check;
		fprintf(f, "<a href=\"#%s\" style=\"color:#1a1a1a\">%s</a> ", x->check->id, x->check->id);
	}
	fputs("</td>", f);
}

static void matrix(const struct report *r, FILE *f)
{
	fputs("<h2 id=\"risk\">Risk matrix</h2>\n<p>Failures and warnings by impact and probability. Upper right: treat at once; upper left: plan against; "
	      "lower right: put right with the next change; lower left: accept or note.</p>\n<table class=\"mx\">", f);
	for (int impact = 5; impact >= 1; impact--) {
		fprintf(f, "<tr><th>impact %d</th>", impact);
		for (int p = 1; p <= 5; p++)
			cell(r, f, impact, p);
		fputs("</tr>\n", f);
	}
	fputs("<tr><th></th><th>probability 1</th><th>2</th><th>3</th><th>4</th><th>5</th></tr></table>\n", f);
}

/* ---- topology ---- */

#define BOX_W 150
#define BOX_H 34
#define COL   190
#define ROW   46

struct drawing {
	const struct host *h;
	FILE *f;
	int y; /* next free row */
};

static bool drawn(const struct pci_dev *d)
{
	return (pci_is_gpu(d) && !d->is_vf) || pci_is_nvswitch(d);
}

/* Whether anything below d is drawn. */
static bool leads(const struct host *h, const struct pci_dev *d)
{
	for (size_t i = 0; i < h->ngpu + h->nnvswitch; i++) {
		const struct pci_dev *x = i < h->ngpu ? h->gpu[i] : h->nvswitch[i - h->ngpu];

		for (; x; x = x->parent)
			if (x == d)
				return true;
	}
	return false;
}

static void box(struct drawing *w, const struct pci_dev *d, int x, int y)
{
	/* One colour per IOMMU group, from its number. */
	unsigned hue = 0;

	for (const char *p = d->group ? d->group : ""; *p; p++)
		hue = hue * 10 + (unsigned)(*p - '0');
	fprintf(w->f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" fill=\"hsl(%u,60%%,82%%)\" stroke=\"%s\" stroke-width=\"%d\"/>", x, y,
		BOX_W, BOX_H, hue * 47 % 360, d->group ? "#666" : "#b3261e", drawn(d) ? 2 : 1);
	fprintf(w->f, "<text x=\"%d\" y=\"%d\"><tspan font-weight=\"600\">", x + 6, y + 14);
	put_escaped(w->f, d->bdf);
	fprintf(w->f, "</tspan></text><text x=\"%d\" y=\"%d\">%s %s%s</text>\n", x + 6, y + 28,
		pci_is_nvswitch(d) ? "NVSwitch" : drawn(d) ? "GPU" : "bridge", d->group ? "group " : "no group", d->group ? d->group : "");
}

static int draw(struct drawing *w, const struct pci_dev *d, int depth)
{
	int x = 10 + depth * COL, first = -1, last = -1, y;

	for (size_t i = 0; i < w->h->pci.n && depth < 12; i++) {
		const struct pci_dev *c = &w->h->pci.dev[i];

		if (c->parent != d || !leads(w->h, c))
			continue;
		last = draw(w, c, depth + 1);
		first = first < 0 ? last : first;
		fprintf(w->f, "<path d=\"M%d %d h20\" stroke=\"#888\" fill=\"none\"/>", x + COL - 20, last + BOX_H / 2);
	}
	if (first < 0) {
		y = w->y;
		w->y += ROW;
	} else {
		y = (first + last) / 2;
		fprintf(w->f, "<path d=\"M%d %d V%d M%d %d h20\" stroke=\"#888\" fill=\"none\"/>", x + COL - 20, first + BOX_H / 2, last + BOX_H / 2,
			x + BOX_W, y + BOX_H / 2);
	}
	box(w, d, x, y);
	return y;
}

static void nvlink_bar(struct drawing *w)
{
	const struct nvml *n = &w->h->nvml;
	int links = 0, up = 0;

	for (size_t i = 0; i < n->n; i++) {
		links += n->gpu[i].links > 0 ? n->gpu[i].links : 0;
		up += n->gpu[i].links_up > 0 ? n->gpu[i].links_up : 0;
	}
	if (links)
		fprintf(w->f, "<rect x=\"10\" y=\"%d\" width=\"%d\" height=\"24\" rx=\"4\" fill=\"%s\"/><text x=\"18\" y=\"%d\">NVLink: %d of %d links up%s</text>\n",
			w->y + 6, COL * 4, up < links ? "#ffcc80" : "#c5e1a5", w->y + 22, up, links, w->h->nnvswitch ? ", through NVSwitch" : "");
	w->y += links ? 40 : 0;
}

static void topology(const struct report *r, FILE *f)
{
	struct drawing w = {.h = r->a->host, .f = f, .y = 40};
	char *svg = NULL;
	size_t size = 0;
	FILE *mem = open_memstream(&svg, &size);

	fputs("<h2 id=\"topology\">Topology</h2>\n", f);
	if (!mem || !(w.h->ngpu + w.h->nnvswitch)) {
		fputs("<p>No GPU in this host.</p>\n", f);
		if (mem)
			fclose(mem);
		free(svg);
		return;
	}
	w.f = mem;
	for (size_t i = 0; i < w.h->pci.n; i++) {
		const struct pci_dev *d = &w.h->pci.dev[i];
		char bus[24];
		const char *node = "?";

		if (d->parent || !leads(w.h, d))
			continue;
		const struct ev_item *it = ev_getf(r->a->ev, EV_READ, "/sys/bus/pci/devices/%s/numa_node", d->bdf);

		node = it->line ? it->line : "?";
		fprintf(mem, "<text class=\"o\" x=\"10\" y=\"%d\">%s, NUMA node ", w.y - 4, pci_root_bus(d, bus, sizeof(bus)) ? bus : "root bus");
		put_escaped(mem, node);
		fputs("</text>\n", mem);
		draw(&w, d, 0);
		w.y += 22;
	}
	nvlink_bar(&w);
	fclose(mem);
	fprintf(f, "<p>One colour is one IOMMU group: what shares a colour goes to one guest together.</p>\n<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" "
		"aria-label=\"PCIe topology\">%s</svg>\n", COL * 5, w.y + 10, COL * 5, svg);
	free(svg);
}

/* ---- findings ---- */

static void evidence(FILE *f, const struct result *r)
{
	for (size_t i = 0; i < r->nref; i++) {
		const struct ref *e = &r->ref[i];
		char sum[65];

		fprintf(f, "<div class=\"ev\">%s <code>", ev_op_name[e->item->op]);
		put_escaped(f, e->item->path);
		fputs("</code> ", f);
		if (e->problem || *e->excerpt)
			put_escaped(f, e->problem ? e->problem : e->excerpt);
		else if (e->item->err)
			put_escaped(f, strerror(e->item->err));
		if (!e->item->err && e->item->op == EV_READ) {
			item_sha256(e->item, sum);
			fprintf(f, " <small>sha256 %.16s…</small>", sum);
		}
		fputs("</div>\n", f);
	}
}

static void one(FILE *f, const struct result *r, bool anchor)
{
	const struct check_group *g = check_group_of(r->check);

	fprintf(f, "<details class=\"%s\"%s%s%s><summary><span class=\"tag\">%s</span> <b>%s</b> ", status_name[r->status], anchor ? " id=\"" : "",
		anchor ? r->check->id : "", anchor ? "\"" : "", severity_word(r->severity), r->check->id);
	put_escaped(f, r->subject);
	fputs(": ", f);
	put_escaped(f, r->message);
	if (r->waived_by) {
		fputs(" <i>waived: ", f);
		put_escaped(f, r->waived_by);
		fputs("</i>", f);
	}
	fputs("</summary><p><b>", f);
	put_escaped(f, r->check->title);
	fputs(".</b> ", f);
	put_escaped(f, r->check->rationale);
	fputs("</p><p><b>Remedy:</b> ", f);
	put_escaped(f, r->check->remedy);
	fprintf(f, "</p><p class=\"ev\">Impact %u, probability %u. NIST 800-53 %s; PCI DSS %s; HIPAA %s; ISO 27001 %s</p>\n", r->check->impact,
		r->check->likelihood, g->nist, g->pci, g->hipaa, g->iso);
	evidence(f, r);
	fputs("</details>\n", f);
}

/* The matrix links to a check's worst result: the one section() prints first. */
static bool is_anchor(const struct audit *a, size_t i)
{
	static const char rank[] = "CHMLI-";
	const struct result *r = &a->result[i];

	if (r->status != ST_FAIL && r->status != ST_WARN)
		return false;
	for (size_t k = 0; k < a->nresult; k++) {
		const struct result *o = &a->result[k];
		long d = o->status != r->status ? (o->status == ST_FAIL ? -1 : 1) : strchr(rank, o->severity) - strchr(rank, r->severity);

		if (o->check == r->check && (o->status == ST_FAIL || o->status == ST_WARN) && (d < 0 || (d == 0 && k < i)))
			return false;
	}
	return true;
}

static void section(const struct report *r, FILE *f, const char *title, enum status st)
{
	static const char rank[] = "CHMLI-";

	if (!r->a->count[st])
		return;
	fprintf(f, "<h2>%s (%zu)</h2>\n", title, r->a->count[st]);
	for (const char *s = rank; *s; s++)
		for (size_t i = 0; i < r->a->nresult; i++)
			if (r->a->result[i].status == st && r->a->result[i].severity == *s)
				one(f, &r->a->result[i], is_anchor(r->a, i));
}

void render_html(const struct report *r, FILE *f)
{
	const struct host *h = r->a->host;
	char date[32];
	time_t t = (time_t)r->time;
	struct tm tm;

	strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", gmtime_r(&t, &tm));
	fprintf(f, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
		"<title>vgpu-doctor report</title><style>%s</style></head><body>\n<h1>vgpu-doctor: GPU host audit</h1>\n<p>", style);
	put_escaped(f, r->source);
	fprintf(f, ", %s. Mode <b>%s</b>%s", date, mode_name[r->a->mode], r->a->mode_given ? "" : ", detected: ");
	if (!r->a->mode_given)
		put_escaped(f, r->a->mode_reason);
	fprintf(f, ". %zu GPU(s), %zu virtual function(s), %zu NVSwitch(es), kernel ", h->ngpu, h->nvf, h->nnvswitch);
	put_escaped(f, *h->release ? h->release : "unknown");
	fprintf(f, ", %s. Exit status %d.</p>\n", distro_name[h->distro], status_exit(r->a->count));
	summary(r, f);
	if (r->limits) {
		fputs("<p><b>Limits:</b> ", f);
		put_escaped(f, r->limits);
		fputs("</p>\n", f);
	}
	matrix(r, f);
	topology(r, f);
	section(r, f, "Failures", ST_FAIL);
	section(r, f, "Could not be told", ST_UNKNOWN);
	section(r, f, "Errors", ST_ERROR);
	section(r, f, "Warnings", ST_WARN);
	section(r, f, "Information", ST_INFO);
	section(r, f, "Passed", ST_PASS);
	section(r, f, "Not applicable", ST_NA);
	fputs("</body></html>\n", f);
}
