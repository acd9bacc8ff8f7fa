/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "redact.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const mode_name[MODES] = {"passthrough", "mig", "vgpu", "share", "bare"};
const char *const status_name[STATUSES] = {"pass",    "fail",    "warn",    "info", "notapplicable",
					   "unknown", "skipped", "error"};

int status_exit(const size_t count[STATUSES])
{
	if (count[ST_FAIL])
		return 2;
	if (count[ST_UNKNOWN] || count[ST_ERROR])
		return 3;
	return count[ST_WARN] ? 1 : 0;
}

const struct check *check_find(const char *id)
{
	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++)
			if (!strcasecmp(check_groups[g]->check[i].id, id))
				return &check_groups[g]->check[i];
	return NULL;
}

bool check_declares(const struct check *c, enum status st)
{
	static const char letter[STATUSES] = {[ST_PASS] = 'p', [ST_FAIL] = 'f', [ST_WARN] = 'w', [ST_INFO] = 'i', [ST_NA] = 'n',
					      [ST_UNKNOWN] = 'u', [ST_SKIPPED] = 's', [ST_ERROR] = '!'};

	return strchr(c->results, letter[st]);
}

const struct check_group *check_group_of(const struct check *c)
{
	for (size_t g = 0; g < check_ngroups; g++)
		if (c >= check_groups[g]->check && c < check_groups[g]->check + check_groups[g]->n)
			return check_groups[g];
	return NULL;
}

size_t check_count(void)
{
	size_t n = 0;

	for (size_t g = 0; g < check_ngroups; g++)
		n += check_groups[g]->n;
	return n;
}

/* ---- notes ---- */

static struct ref *note(struct audit *a, const struct ev_item *it)
{
	for (size_t i = 0; i < a->nref; i++)
		if (a->ref[i].item == it)
			return &a->ref[i];
	if (a->nref == AUD_REFS) { /* keep the newest: a problem must never fall off the end */
		a->ref[AUD_REFS - 1].item = it;
		return &a->ref[AUD_REFS - 1];
	}
	memset(&a->ref[a->nref], 0, sizeof(*a->ref));
	a->ref[a->nref].item = it;
	return &a->ref[a->nref++];
}

void aud_note(struct audit *a, const struct ev_item *it, const char *problem)
{
	struct ref *r = note(a, it);

	if (problem && !r->problem)
		r->problem = problem;
}

/* Copies the quote as one printable line: evidence is the audited host's text, not ours. */
void aud_quote(struct audit *a, const struct ev_item *it, const char *excerpt)
{
	struct ref *r = note(a, it);
	size_t n = 0;

	for (; *excerpt && n < sizeof(r->excerpt) - 1; excerpt++)
		r->excerpt[n++] = (uint8_t)*excerpt < 0x20 || *excerpt == 0x7f ? ' ' : *excerpt;
	while (n && ((uint8_t)excerpt[0] & 0xc0) == 0x80 && ((uint8_t)r->excerpt[n - 1] & 0x80))
		n--; /* not half a UTF-8 character */
	r->excerpt[n] = 0;
}

void aud_common(struct audit *a)
{
	a->ncommon = a->nref;
}

static const struct ev_item *get_v(struct audit *a, enum ev_op op, const char *fmt, va_list ap)
{
	char path[PATH_MAX];

	vsnprintf(path, sizeof(path), fmt, ap);
	return ev_get(a->ev, op, path);
}

/* Absence (no such file, no such directory above it) is an answer; every other error is none. */
static enum got judge(struct audit *a, const struct ev_item *it, const char *problem)
{
	if (it->err == ENOENT || it->err == ENOTDIR) {
		aud_note(a, it, NULL);
		return GOT_ABSENT;
	}
	aud_note(a, it, problem);
	return problem ? GOT_NOTHING : GOT_VALUE;
}

enum got aud_line(struct audit *a, const char **out, const char *fmt, ...)
{
	const struct ev_item *it;
	const char *problem;
	enum got g;
	va_list ap;

	va_start(ap, fmt);
	it = get_v(a, EV_READ, fmt, ap);
	va_end(ap);
	problem = ev_text_problem(it);
	if (!problem && !it->line)
		problem = "more than one line";
	g = judge(a, it, problem);
	if (g == GOT_VALUE)
		aud_quote(a, it, it->line);
	*out = g == GOT_VALUE ? it->line : "";
	return g;
}

enum got aud_long(struct audit *a, long long *out, const char *fmt, ...)
{
	const struct ev_item *it;
	enum got g;
	va_list ap;
	char *end;

	*out = 0;
	va_start(ap, fmt);
	it = get_v(a, EV_READ, fmt, ap);
	va_end(ap);
	g = judge(a, it, ev_text_problem(it));
	if (g != GOT_VALUE)
		return g;
	errno = 0;
	*out = it->line ? strtoll(it->line, &end, 0) : 0;
	if (!it->line || end == it->line || *end || errno) {
		aud_note(a, it, "not a number");
		return GOT_NOTHING;
	}
	aud_quote(a, it, it->line);
	return g;
}

enum got aud_text(struct audit *a, const struct ev_item **out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	*out = get_v(a, EV_READ, fmt, ap);
	va_end(ap);
	return judge(a, *out, ev_text_problem(*out));
}

enum got aud_list(struct audit *a, const struct ev_item **out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	*out = get_v(a, EV_LIST, fmt, ap);
	va_end(ap);
	return judge(a, *out, (*out)->err ? ((*out)->err == ENODATA ? "not in the bundle" : strerror((*out)->err)) : NULL);
}

bool aud_anchor(struct audit *a, const char *dir)
{
	const struct ev_item *it = ev_get(a->ev, EV_LIST, dir);

	aud_note(a, it, it->err == ENOENT ? "not there, so nothing below it can be called absent"
			: it->err	  ? strerror(it->err)
					  : NULL);
	return !it->err;
}

int aud_module(struct audit *a, const char *name)
{
	const struct ev_item *it = ev_get(a->ev, EV_LIST, "/sys/module");

	if (!aud_anchor(a, "/sys/module"))
		return -1;
	return ev_has_name(it, name);
}

enum got aud_param(struct audit *a, const char **out, const char *module, const char *param)
{
	int loaded = aud_module(a, module);

	*out = "";
	if (loaded <= 0)
		return loaded < 0 ? GOT_NOTHING : GOT_ABSENT;
	return aud_line(a, out, "/sys/module/%s/parameters/%s", module, param);
}

bool is_on(const char *s)
{
	return s[0] && !s[1] && strchr("Yy1", s[0]);
}

/* ---- results ---- */

static char cur_severity(const struct audit *a)
{
	return a->cur->severity[a->mode];
}

static enum status finding(char severity)
{
	return strchr("CH", severity) ? ST_FAIL : strchr("ML", severity) ? ST_WARN : ST_INFO;
}

static void push(struct audit *a, enum status st, char severity, const char *subject, char *message)
{
	struct result *r;

	if (!(a->nresult & (a->nresult + 1))) {
		a->result = realloc(a->result, (2 * a->nresult + 2) * sizeof(*r));
		if (!a->result)
			abort();
	}
	r = &a->result[a->nresult++];
	/* What is only information has no severity to speak of. */
	*r = (struct result){.check = a->cur, .status = st, .severity = st == ST_INFO ? 'I' : severity, .message = message};
	r->subject = strdup(subject);
	r->nref = a->nref;
	r->ref = a->nref ? malloc(a->nref * sizeof(*r->ref)) : NULL;
	if (!r->subject || !message || (a->nref && !r->ref))
		abort();
	/* Names and values come from the audited host: no secret of it goes into a report. */
	if (a->nref)
		memcpy(r->ref, a->ref, a->nref * sizeof(*r->ref));
	redact_in_place(message, strlen(message) + 1);
	redact_in_place(r->subject, strlen(r->subject) + 1);
	for (size_t i = 0; i < r->nref; i++)
		redact_in_place(r->ref[i].excerpt, sizeof(r->ref[i].excerpt));
	a->count[st]++;
	a->nref = a->ncommon;
	a->emitted = true;
}

static const struct ref *first_problem(const struct audit *a)
{
	for (size_t i = 0; i < a->nref; i++)
		if (a->ref[i].problem)
			return &a->ref[i];
	return NULL;
}

bool aud_hidden(const struct audit *a)
{
	return first_problem(a);
}

static void emit_v(struct audit *a, enum status st, char severity, const char *subject,
		   const char *fmt, va_list ap)
{
	const struct ref *bad = first_problem(a);
	char *msg = NULL;

	if (bad && (st == ST_PASS || st == ST_INFO || st == ST_NA || st == ST_UNKNOWN)) {
		if (asprintf(&msg, "cannot tell: %s: %s%s", bad->item->path, bad->problem,
			     bad->item->err == EACCES || bad->item->err == EPERM ? " (root could read it)" : "") < 0)
			abort();
		push(a, ST_UNKNOWN, severity, subject, msg);
		return;
	}
	if (vasprintf(&msg, fmt, ap) < 0)
		abort();
	push(a, st == ST_BAD ? finding(severity) : st, severity, subject, msg);
}

void emit(struct audit *a, enum status st, const char *subject, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit_v(a, st, cur_severity(a), subject, fmt, ap);
	va_end(ap);
}

void emit_sev(struct audit *a, char severity, const char *subject, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit_v(a, ST_BAD, severity, subject, fmt, ap);
	va_end(ap);
}

/* id equals an element of the list, or an element is its prefix up to '-'. */
static bool listed(const char *list, const char *id)
{
	while (list && *list) {
		size_t n = strcspn(list, ",");

		if (n && !strncasecmp(list, id, n) && (!id[n] || id[n] == '-'))
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

static void run_one(struct audit *a, const struct check *c, const char *only, const char *skip)
{
	a->cur = c;
	a->nref = a->ncommon = 0;
	a->emitted = false;
	if ((only && !listed(only, c->id)) || listed(skip, c->id))
		emit(a, ST_SKIPPED, "host", "not asked for");
	else if (c->severity[a->mode] == '-')
		emit(a, ST_NA, "host", "does not matter in mode %s", mode_name[a->mode]);
	else
		c->run(a);
	if (!a->emitted)
		emit(a, ST_ERROR, "host", "the check came to no result: a defect of the doctor");
}

void audit_run(struct audit *a, const char *only, const char *skip)
{
	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++)
			run_one(a, &check_groups[g]->check[i], only, skip);
}

void audit_recount(struct audit *a)
{
	memset(a->count, 0, sizeof(a->count));
	for (size_t i = 0; i < a->nresult; i++)
		a->count[a->result[i].status]++;
}

void audit_free(struct audit *a)
{
	for (size_t i = 0; i < a->nresult; i++) {
		free(a->result[i].subject);
		free(a->result[i].message);
		free(a->result[i].ref);
		free(a->result[i].waived_by);
	}
	free(a->result);
	a->result = NULL;
	a->nresult = 0;
}
