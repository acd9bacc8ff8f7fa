/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One result of one check per case: a sound host, a few edits, the result that must come out. Fails too
 * when a result that the check table declares is shown by no case and no host, and when any host in any
 * mode comes to a result that is not declared. REPORT is the table of check, result, fixture.
 *
 * usage: cases HOSTDIR REPORT FILE…     lines of a case file:
 *   ID RESULT MODE HOST [SUBJECT]   starts a case ('#' comments); an edit per indented line:
 *     w PATH TEXT   file (\n, \t understood)        a PATH TEXT   append to the file
 *     d PATH        absent                      e PATH        permission denied
 *     l PATH TARGET symlink                     m PATH MODE   octal mode of a stat
 *     x PATH HEX    file of bytes               + DIR NAME    name in a listing
 *     p PATH OFFSET HEX   bytes of the file replaced     v NAME TEXT     derived evidence
 *     o no-initramfs | verify | now SECONDS           how the program is called, and when
 */
#include "tree.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How the case is audited: the program's options, and its clock. */
static struct {
	unsigned slow;
	int64_t now;
} option;

static struct ev *scratch; /* the untouched host, for what edits build upon */

static size_t unescape(char *s)
{
	char *w = s;

	for (; *s; s++) {
		if (*s == '\\' && (s[1] == 'n' || s[1] == 't')) {
			*w++ = s[1] == 'n' ? '\n' : '\t';
			s++;
		} else {
			*w++ = *s;
		}
	}
	*w = 0;
	return 1;
}

static size_t unhex(const char *s, char *out)
{
	size_t n = 0;
	unsigned v;

	for (; sscanf(s, "%2x", &v) == 1; s += 2)
		out[n++] = (char)v;
	return n;
}

/* The listing of dir with name added or taken away; later edits of one directory build on earlier. */
static void relist(struct ev *ev, const char *dir, const char *name, bool there)
{
	static struct ev_item *mine[64];
	static size_t n;
	struct ev_item *it = NULL;
	const struct ev_item *base;
	char buf[65536], *p = buf;
	bool done = !there;

	if (!dir) {
		n = 0;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!strcmp(mine[i]->path, dir))
			it = mine[i];
	base = it ? it : ev_get(scratch, EV_LIST, dir);
	for (const char *s = base->err ? NULL : ev_name(base, NULL); s; s = ev_name(base, s)) {
		if (!done && strcmp(s, name) >= 0) {
			p = stpcpy(p, name) + 1;
			done = true;
		}
		if (strcmp(s, name))
			p = stpcpy(p, s) + 1;
	}
	if (!done)
		p = stpcpy(p, name) + 1;
	if (it)
		ev_set_data(it, buf, (size_t)(p - buf));
	else if (n < 64)
		mine[n++] = ev_put(ev, EV_LIST, dir, 0, buf, (size_t)(p - buf));
}

static void in_parent(struct ev *ev, const char *path, bool there)
{
	char dir[4096];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	while ((slash = strrchr(dir, '/')) && slash > dir) {
		bool known;

		*slash = 0;
		known = !ev_get(scratch, EV_LIST, dir)->err;
		relist(ev, dir, slash + 1, there);
		if (known || !there)
			return;
	}
}

static void set_file(struct ev *ev, const char *path, const char *data, size_t len)
{
	struct ev_item *it = ev_put(ev, EV_READ, path, 0, data, len);

	ev_set_data(it, data, len);
	it->err = 0;
	ev_classify(it);
	ev_put(ev, EV_STAT, path, 0, NULL, 0)->mode = 0100644;
	in_parent(ev, path, true);
}

/* The file as earlier edits left it. */
static const struct ev_item *current(struct ev *ev, const char *path)
{
	const struct ev_item *base = ev_get(scratch, EV_READ, path);

	return ev_put(ev, EV_READ, path, base->err, base->data, base->len);
}

static void all_ops(struct ev *ev, const char *path, int err)
{
	for (int op = EV_READ; op < EV_OPS; op++)
		ev_put(ev, (enum ev_op)op, path, err, NULL, 0);
	if (err == ENOENT)
		in_parent(ev, path, false);
}

static bool edit(struct ev *ev, char *line)
{
	char what, path[2048], rest[16384], buf[16384];
	const struct ev_item *old;
	int n = 0;
	size_t len, at;

	*rest = 0;
	if (sscanf(line, " %c %2047s%n", &what, path, &n) < 2)
		return false;
	snprintf(rest, sizeof(rest), "%s", line[n] == ' ' ? line + n + 1 : line + n);
	switch (what) {
	case 'w':
		unescape(rest);
		set_file(ev, path, rest, strlen(rest));
		return true;
	case 'a':
		old = current(ev, path);
		unescape(rest);
		snprintf(buf, sizeof(buf), "%s%s", old->data, rest);
		set_file(ev, path, buf, strlen(buf));
		return true;
	case 'x':
		len = unhex(rest, buf);
		set_file(ev, path, buf, len);
		return true;
	case 'p':
		old = current(ev, path);
		if (sscanf(rest, "%zi %n", &at, &n) != 1 || old->len > sizeof(buf))
			return false;
		memcpy(buf, old->data, old->len);
		len = unhex(rest + n, rest);
		if (at + len > old->len)
			return false;
		memcpy(buf + at, rest, len);
		set_file(ev, path, buf, old->len);
		return true;
	case 'd':
		all_ops(ev, path, ENOENT);
		return true;
	case 'e':
		all_ops(ev, path, EACCES);
		return true;
	case 'l':
		ev_put(ev, EV_LINK, path, 0, rest, strlen(rest));
		in_parent(ev, path, true);
		return true;
	case 'm':
		ev_put(ev, EV_STAT, path, 0, NULL, 0)->mode = (uint32_t)strtoul(rest, NULL, 8);
		in_parent(ev, path, true);
		return true;
	case 'v':
		unescape(rest);
		ev_put(ev, EV_DERIVED, path, 0, rest, strlen(rest));
		return true;
	case 'o':
		if (!strcmp(path, "no-initramfs"))
			option.slow &= ~(unsigned)HOST_INITRD;
		else if (!strcmp(path, "verify"))
			option.slow |= HOST_VERIFY;
		else if (!strcmp(path, "now"))
			option.now = strtoll(rest, NULL, 10);
		else
			return false;
		return true;
	case '+':
		relist(ev, path, rest, true);
		return true;
	}
	return false;
}

struct expect {
	char id[32], result[16], mode[16], host[64], subject[128];
	unsigned line;
};

static int undeclared(const struct audit *a, const char *where);

static bool judge(struct ev *ev, const struct expect *e, const char *file)
{
	struct run r;
	bool found = false;
	char seen[512] = "";

	run_audit_at(&r, ev, e->mode, e->id, option.slow, option.now);
	for (size_t i = 0; i < r.audit.nresult; i++) {
		const struct result *x = &r.audit.result[i];

		if (strcmp(x->check->id, e->id) || (*e->subject && strcmp(x->subject, e->subject)))
			continue;
		found |= !strcmp(status_name[x->status], e->result);
		snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "\n    %s %s: %s", status_name[x->status], x->subject, x->message);
	}
	if (!found)
		printf("%s:%u: %s on %s in mode %s is not %s:%s\n", file, e->line, e->id, e->host, e->mode, e->result, seen);
	found &= !undeclared(&r.audit, file);
	run_free(&r);
	return found;
}

/* ---- is there a fixture for each result the check table declares? ---- */

/* By check, as in its declaration (pfwinus): the first fixture that shows the result. */
static char *shown[512][STATUSES];

static size_t number_of(const char *id)
{
	size_t n = 0;

	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++, n++)
			if (!strcmp(check_groups[g]->check[i].id, id))
				return n;
	return sizeof(shown) / sizeof(*shown) - 1;
}

static void show(const char *id, enum status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void show(const char *id, enum status st, const char *fmt, ...)
{
	char **slot = &shown[number_of(id)][st];
	va_list ap;

	va_start(ap, fmt);
	if (!*slot && vasprintf(slot, fmt, ap) < 0)
		abort();
	va_end(ap);
}

static enum status status_named(const char *name)
{
	int s = 0;

	while (s < STATUSES - 1 && strcmp(status_name[s], name))
		s++;
	return (enum status)s;
}

/* What the fixture hosts promise (test_hosts.py holds them to it). */
static void show_hosts(const char *dir)
{
	json_t *hosts = load_hosts(dir), *h, *v;
	const char *name, *id;

	json_object_foreach(hosts, name, h)
		json_object_foreach(json_object_get(h, "expect"), id, v)
			show(id, status_named(json_string_value(v)), "host %s", name);
	json_decref(hosts);
}

/* No audit, of whatever host in whatever mode, may come to a result its check does not declare. */
static int undeclared(const struct audit *a, const char *where)
{
	int bad = 0;

	for (size_t i = 0; i < a->nresult; i++) {
		const struct result *r = &a->result[i];

		if (r->severity == '-' || r->status == ST_SKIPPED || check_declares(r->check, r->status))
			continue;
		printf("%s: %s came to %s, which it does not declare (%s): %s\n", where, r->check->id, status_name[r->status],
		       r->check->results, r->message);
		bad++;
	}
	return bad;
}

static int all_hosts(const char *dir)
{
	json_t *hosts = load_hosts(dir), *h;
	const char *name;
	int bad = 0;

	json_object_foreach(hosts, name, h)
		for (int m = 0; m < MODES; m++) {
			char path[4096];
			struct run r;
			struct ev *ev;

			snprintf(path, sizeof(path), "%s/%s", dir, name);
			ev = ev_open(path);
			run_audit(&r, ev, mode_name[m], NULL);
			bad += undeclared(&r.audit, name);
			run_free(&r);
			ev_free(ev);
		}
	json_decref(hosts);
	return bad;
}

/* The table check × result → fixture; a declared result without one is a defect. */
static int report(FILE *f)
{
	size_t n = 0;
	int missing = 0;

	fputs("check\tresult\tfixture\n", f);
	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++, n++) {
			const struct check *c = &check_groups[g]->check[i];

			for (int s = 0; s < STATUSES; s++) {
				if (!check_declares(c, (enum status)s))
					continue;
				fprintf(f, "%s\t%s\t%s\n", c->id, status_name[s], shown[n][s] ? shown[n][s] : "NONE");
				if (shown[n][s])
					continue;
				printf("no fixture shows %s of %s (%s)\n", status_name[s], c->id, c->title);
				missing++;
			}
		}
	return missing;
}

static void run_file(const char *dir, const char *file, size_t *n, size_t *bad)
{
	FILE *f = fopen(file, "r");
	char line[20000], path[4096];
	struct expect e = {.id = ""};
	struct ev *ev = NULL;
	unsigned no = 0;
	bool more = f != NULL;

	if (!f) {
		printf("%s: %s\n", file, strerror(errno));
		++*bad;
	}
	while (more) {
		more = fgets(line, sizeof(line), f) != NULL;
		no++;
		if (more) {
			line[strcspn(line, "\n")] = 0;
			if (!*line || *line == '#')
				continue;
		}
		if (more && isspace((unsigned char)*line)) {
			if (!ev || !edit(ev, line)) {
				printf("%s:%u: no edit: %s\n", file, no, line);
				++*bad;
			}
			continue;
		}
		if (ev) {
			*bad += !judge(ev, &e, file);
			++*n;
			show(e.id, status_named(e.result), "%s:%u (%s, edited)", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, e.line, e.host);
			ev_free(ev);
			ev_free(scratch);
			ev = NULL;
		}
		if (!more)
			break;
		memset(&e, 0, sizeof(e));
		e.line = no;
		if (sscanf(line, "%31s %15s %15s %63s %127s", e.id, e.result, e.mode, e.host, e.subject) < 4) {
			printf("%s:%u: no case: %s\n", file, no, line);
			++*bad;
			continue;
		}
		snprintf(path, sizeof(path), "%s/%s", dir, e.host);
		ev = ev_open(path);
		scratch = ev_open(path);
		relist(NULL, NULL, NULL, false);
		option.slow = HOST_INITRD;
		option.now = time(NULL);
		if (!ev) {
			printf("%s:%u: no host %s\n", file, no, e.host);
			++*bad;
			ev_free(scratch);
		}
	}
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	size_t n = 0, bad = 0;
	FILE *f = argc > 3 ? fopen(argv[2], "w") : NULL;
	int missing, odd;

	if (!f) {
		fprintf(stderr, "usage: cases HOSTDIR REPORT FILE…\n");
		return 2;
	}
	show_hosts(argv[1]);
	for (int i = 3; i < argc; i++)
		run_file(argv[1], argv[i], &n, &bad);
	odd = all_hosts(argv[1]);
	missing = report(f);
	fclose(f);
	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		for (int s = 0; s < STATUSES; s++)
			free(shown[i][s]);
	printf("%zu cases, %zu failed; %zu checks, %d declared result(s) without a fixture, %d undeclared; table in %s\n", n, bad, check_count(),
	       missing, odd, argv[2]);
	return bad || missing || odd || !n;
}
