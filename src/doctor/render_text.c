/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"
#include "render.h"

#include <string.h>

const char *severity_word(char s)
{
	switch (s) {
	case 'C':
		return "critical";
	case 'H':
		return "high";
	case 'M':
		return "medium";
	case 'L':
		return "low";
	case 'I':
		return "info";
	default:
		return "none";
	}
}

bool is_finding(const struct result *r)
{
	return r->status == ST_FAIL || r->status == ST_WARN || r->status == ST_UNKNOWN || r->status == ST_ERROR;
}

static const char *const colour[STATUSES] = {"32", "31", "33", "36", "2", "35", "2", "31"};
static const char *const label[STATUSES] = {"PASS", "FAIL", "WARN", "INFO", "N/A", "UNKNOWN", "SKIPPED", "ERROR"};

static void status(const struct report *r, FILE *f, const struct result *res)
{
	if (r->colour)
		fprintf(f, "\033[%sm%-7s\033[0m", colour[res->status], label[res->status]);
	else
		fprintf(f, "%-7s", label[res->status]);
}

static void evidence(FILE *f, const struct result *res)
{
	for (size_t i = 0; i < res->nref && i < 12; i++) {
		const struct ref *e = &res->ref[i];

		fprintf(f, "          %s %s", ev_op_name[e->item->op], e->item->path);
		if (e->problem)
			fprintf(f, ": %s", e->problem);
		else if (*e->excerpt)
			fprintf(f, ": %s", e->excerpt);
		else if (e->item->err)
			fprintf(f, ": %s", strerror(e->item->err));
		fputc('\n', f);
	}
	if (res->nref > 12)
		fprintf(f, "          and %zu more\n", res->nref - 12);
}

static void one(const struct report *r, FILE *f, const struct result *res)
{
	status(r, f, res);
	fprintf(f, " %-10s %-8s %s: %s%s%s\n", res->check->id, severity_word(res->severity), res->subject, res->message,
		res->waived_by ? "  [waived: " : "", res->waived_by ? res->waived_by : "");
	if (!is_finding(res) && !r->verbose)
		return;
	fprintf(f, "          %s\n", res->check->title);
	if (res->status == ST_FAIL || res->status == ST_WARN)
		fprintf(f, "          remedy: %s\n", res->check->remedy);
	if (r->verbose)
		evidence(f, res);
}

void render_text(const struct report *r, FILE *f)
{
	/* What needs a person first. */
	static const enum status order[] = {ST_FAIL, ST_ERROR, ST_UNKNOWN, ST_WARN, ST_INFO, ST_PASS, ST_NA, ST_SKIPPED};
	static const char rank[] = "CHMLI-";
	const struct audit *a = r->a;
	const struct host *h = a->host;

	fprintf(f, "vgpu-doctor: %s, mode %s%s%s%s\n", r->source, mode_name[a->mode], a->mode_given ? "" : " (detected: ",
		a->mode_given ? "" : a->mode_reason, a->mode_given ? "" : ")");
	fprintf(f, "%zu GPU(s), %zu virtual function(s), %zu NVSwitch(es); kernel %s, %s\n\n", h->ngpu, h->nvf, h->nnvswitch,
		*h->release ? h->release : "unknown", distro_name[h->distro]);
	for (size_t o = 0; o < sizeof(order) / sizeof(*order); o++) {
		if (!r->verbose && (order[o] == ST_PASS || order[o] == ST_NA || order[o] == ST_SKIPPED))
			continue;
		for (const char *s = rank; *s; s++)
			for (size_t i = 0; i < a->nresult; i++)
				if (a->result[i].status == order[o] && a->result[i].severity == *s)
					one(r, f, &a->result[i]);
	}
	fprintf(f, "\n%zu failed, %zu unknown, %zu warnings, %zu info, %zu passed, %zu not applicable, %zu skipped\n",
		a->count[ST_FAIL], a->count[ST_UNKNOWN] + a->count[ST_ERROR], a->count[ST_WARN], a->count[ST_INFO],
		a->count[ST_PASS], a->count[ST_NA], a->count[ST_SKIPPED]);
	if (r->limits)
		fprintf(f, "%s\n", r->limits);
	if (!r->verbose)
		fputs("-v shows what passed and the evidence; explain ID says why a check matters.\n", f);
}
