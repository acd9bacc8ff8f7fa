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
	".sum td{border-top:4px solid #ccc}.sum .fail{border-top-color:#b3261e}.sum .warn{border-top-color:#b26a00}.sum .unknown{border-top-color:#6a3fa0}"
	".sum .pass{border-top-color:#2e7d32}.sum .info{border-top-color:#1565c0}.sum .zero{color:#888}"
	"details.all{border:0;padding:0}details.all>summary h2{display:inline-block;border:0}.sub{margin-top:.6em;padding-left:.5em;border-left:3px solid #ccc}"
	".chip{display:inline-block;margin:1px;padding:0 .4em;border-radius:3px;color:#fff;text-decoration:none}.chip.fail{background:#b3261e}.chip.warn{background:#8a5200}"
	".mx .q{color:#666;font-style:italic;font-weight:400}"
	".mx td{border:1px solid #fff;width:9em;height:3.4em;vertical-align:top;padding:.3em;font-size:12px}.mx th{font-weight:600;padding:.3em;font-size:12px}"
	".ev{color:#444;font-size:13px;margin:.3em 0}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif}"
	"@media (prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}.ev{color:#bbb}h2{border-color:#444}details{border-color:#333}.sum td{border-color:#444}"
	"svg text{fill:#1a1a1a}svg text.o{fill:#e6e6e6}.mx td{color:#1a1a1a;border-color:#161616}}";

static void summary(const struct report *r, FILE *f)
{
	static const enum status shown[] = {ST_FAIL, ST_UNKNOWN, ST_WARN, ST_INFO, ST_PASS, ST_NA, ST_SKIPPED};

	fputs("<table class=\"sum\"><tr>", f);
	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		fprintf(f, "<td class=\"%s\"><b>%zu</b>%s</td>", r->a->count[shown[i]] ? status_name[shown[i]] : "zero",
			r->a->count[shown[i]] + (shown[i] == ST_UNKNOWN ? r->a->count[ST_ERROR] : 0), status_name[shown[i]]);
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

	fprintf(f, "<td style=\"background:%s\"%s>", cell_colour(impact, likelihood), likelihood == 3 && impact == 3 ? " class=\"mid\"" : "");
	for (size_t i = 0; i < r->a->nresult; i++) {
		const struct result *x = &r->a->result[i];

		if ((x->status != ST_FAIL && x->status != ST_WARN) || x->check == last || x->check->impact != impact || x->check->likelihood != likelihood)
			continue;
		last = x->check;
		fprintf(f, "<a class=\"chip %s\" href=\"#%s\">%s</a> ", status_name[x->status], x->check->id, x->check->id);
	}
	fputs("</td>", f);
}

static void matrix(const struct report *r, FILE *f)
{
	fputs("<h2 id=\"risk\">Risk matrix</h2>\n<p>Checks that failed (red) or warn (amber), by impact and probability.</p>\n<table class=\"mx\">"
	      "<tr><th></th><th class=\"q\" colspan=\"2\">plan against</th><th></th><th class=\"q\" colspan=\"2\">treat at once</th></tr>\n", f);
	for (int impact = 5; impact >= 1; impact--) {
		fprintf(f, "<tr><th>%s%d</th>", impact == 5 ? "impact " : "", impact);
		for (int p = 1; p <= 5; p++)
			cell(r, f, impact, p);
		fputs("</tr>\n", f);
	}
	fputs("<tr><th></th><th>probability 1</th><th>2</th><th>3</th><th>4</th><th>5</th></tr>"
	      "<tr><th></th><th class=\"q\" colspan=\"2\">accept or note</th><th></th><th class=\"q\" colspan=\"2\">with the next change</th></tr></table>\n", f);
}

/* ---- findings ---- */

static const char rank[] = "CHMLI-";

static bool alike(const struct result *a, const struct result *b)
{
	return a->check == b->check && a->status == b->status && a->severity == b->severity;
}

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

static void waived(FILE *f, const struct result *r)
{
	if (!r->waived_by)
		return;
	fputs(" <i>waived: ", f);
	put_escaped(f, r->waived_by);
	fputs("</i>", f);
}

static void subject(FILE *f, const struct result *r)
{
	fputs("<b>", f);
	put_escaped(f, r->subject);
	fputs("</b>: ", f);
	put_escaped(f, r->message);
	waived(f, r);
}

static void about(FILE *f, const struct check *c)
{
	const struct check_group *g = check_group_of(c);

	fputs("<p><b>", f);
	put_escaped(f, c->title);
	fputs(".</b> ", f);
	put_escaped(f, c->rationale);
	fputs("</p><p><b>Remedy:</b> ", f);
	put_escaped(f, c->remedy);
	fprintf(f, "</p><p class=\"ev\">Impact %u, probability %u. NIST 800-53 %s; PCI DSS %s; HIPAA %s; ISO 27001 %s</p>\n", c->impact, c->likelihood,
		g->nist, g->pci, g->hipaa, g->iso);
}

/* The results of one check that came out alike, from the first of them on: one fold. */
static void fold(const struct audit *a, FILE *f, size_t first, bool anchor)
{
	const struct result *r = &a->result[first];
	size_t n = 0;

	for (size_t i = first; i < a->nresult; i++)
		n += alike(&a->result[i], r);
	fprintf(f, "<details class=\"%s\"%s%s%s><summary><span class=\"tag\">%s</span> <b>%s</b> ", status_name[r->status], anchor ? " id=\"" : "",
		anchor ? r->check->id : "", anchor ? "\"" : "", severity_word(r->severity), r->check->id);
	if (n == 1) {
		subject(f, r);
	} else {
		put_escaped(f, r->check->title);
		fprintf(f, ": %zu subjects", n);
	}
	fputs("</summary>", f);
	about(f, r->check);
	for (size_t i = first; i < a->nresult; i++) {
		if (!alike(&a->result[i], r))
			continue;
		if (n > 1) {
			fprintf(f, "<div class=\"sub %s\">", status_name[r->status]);
			subject(f, &a->result[i]);
			fputs("</div>", f);
		}
		evidence(f, &a->result[i]);
	}
	fputs("</details>\n", f);
}

/* The matrix and the topology link to a check's worst result: what section() prints first. */
static bool is_anchor(const struct audit *a, size_t i)
{
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

/* folded: what nobody need act on is shut away as a whole. */
static void section(const struct report *r, FILE *f, const char *title, enum status st, bool folded)
{
	const struct audit *a = r->a;

	if (!a->count[st])
		return;
	fprintf(f, folded ? "<details class=\"all\" id=\"%s\"><summary><h2>%s (%zu)</h2></summary>\n" : "<h2 id=\"%s\">%s (%zu)</h2>\n", status_name[st], title,
		a->count[st]);
	for (const char *s = rank; *s; s++)
		for (size_t i = 0; i < a->nresult; i++) {
			bool first = a->result[i].status == st && a->result[i].severity == *s;

			for (size_t k = 0; k < i && first; k++)
				first = !alike(&a->result[k], &a->result[i]);
			if (first)
				fold(a, f, i, is_anchor(a, i));
		}
	if (folded)
		fputs("</details>\n", f);
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
	render_topology(r, f);
	section(r, f, "Failures", ST_FAIL, false);
	section(r, f, "Could not be told", ST_UNKNOWN, false);
	section(r, f, "Errors", ST_ERROR, false);
	section(r, f, "Warnings", ST_WARN, false);
	section(r, f, "Information", ST_INFO, true);
	section(r, f, "Passed", ST_PASS, true);
	section(r, f, "Not applicable", ST_NA, true);
	fputs("</body></html>\n", f);
}
