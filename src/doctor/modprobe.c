/* SPDX-License-Identifier: Apache-2.0 */
#include "modprobe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const verb_word[] = {
	[MOD_BLACKLIST] = "blacklist", [MOD_OPTIONS] = "options", [MOD_INSTALL] = "install",
	[MOD_REMOVE] = "remove", [MOD_SOFTDEP] = "softdep", [MOD_ALIAS] = "alias"};

static char *word(const char **s)
{
	size_t n;
	char *w;

	*s += strspn(*s, " \t");
	n = strcspn(*s, " \t");
	w = strndup(*s, n);
	if (!w)
		abort();
	*s += n;
	return w;
}

static void underscores(char *s)
{
	for (; *s; s++)
		if (*s == '-')
			*s = '_';
}

static void push(struct modconf *m, struct mod_line l)
{
	if (!(m->n & (m->n + 1))) {
		m->l = realloc(m->l, (2 * m->n + 2) * sizeof(l));
		if (!m->l)
			abort();
	}
	underscores(l.module);
	m->l[m->n++] = l;
}

static void parse_line(struct modconf *m, struct mod_line l, const char *s)
{
	char *verb = word(&s);

	for (size_t v = 0; v < sizeof(verb_word) / sizeof(*verb_word); v++) {
		if (strcmp(verb, verb_word[v]))
			continue;
		char *first = word(&s), *second = v == MOD_ALIAS ? word(&s) : NULL;

		l.verb = (enum mod_verb)v;
		l.module = second ? second : first;
		s += strspn(s, " \t");
		l.rest = second ? first : strdup(s);
		if (!l.rest)
			abort();
		push(m, l);
		break;
	}
	free(verb);
}

/* Joins lines that end in a backslash; '#' starts a comment only at a line's start. */
void modconf_parse(struct modconf *m, const struct ev_item *src, const char *text, bool initramfs)
{
	char *buf = malloc(strlen(text) + 1);
	unsigned line = 0;

	if (!buf)
		abort();
	while (*text) {
		size_t n = 0;
		unsigned first = ++line;

		for (; *text && *text != '\n'; text++) {
			if (*text == '\\' && text[1] == '\n') {
				text++;
				line++;
				buf[n++] = ' ';
			} else {
				buf[n++] = *text == '\r' ? ' ' : *text;
			}
		}
		text += *text == '\n';
		buf[n] = 0;
		if (buf[strspn(buf, " \t")] != '#')
			parse_line(m, (struct mod_line){.src = src, .line = first, .initramfs = initramfs},
				   buf);
	}
	free(buf);
}

static void source(struct modconf *m, const struct ev_item *it)
{
	if (m->nsource < MOD_SOURCES)
		m->source[m->nsource++] = it;
}

static bool ends(const char *s, const char *tail)
{
	size_t n = strlen(s), t = strlen(tail);

	return n >= t && !strcmp(s + n - t, tail);
}

struct seen {
	const char *name[MOD_SOURCES];
	size_t n;
};

static bool seen_before(struct seen *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->name[i], name))
			return true;
	if (s->n < MOD_SOURCES)
		s->name[s->n++] = name;
	return false;
}

static void modprobe_file(struct modconf *m, struct ev *ev, const char *dir, const char *name,
			  struct seen *seen)
{
	const struct ev_item *it;

	if (!ends(name, ".conf")) {
		it = ev_getf(ev, EV_READ, "%s/%s", dir, name);
		if (it->text && (strstr(it->data, "blacklist") || strstr(it->data, "options")) &&
		    m->nignored < 16)
			m->ignored[m->nignored++] = it;
		return;
	}
	if (seen_before(seen, name))
		return;
	it = ev_getf(ev, EV_READ, "%s/%s", dir, name);
	source(m, it);
	if (it->text)
		modconf_parse(m, it, it->data, false);
}

/* One module name per line; initramfs-tools and modules-load.d allow options behind it. */
static void load_list(struct modconf *m, const struct ev_item *it)
{
	unsigned line = 0;

	for (const char *p = it->data; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		size_t n;

		line++;
		p += strspn(p, " \t");
		n = strcspn(p, " \t\n\r");
		if (!n || *p == '#' || *p == ';')
			continue;
		push(m, (struct mod_line){.verb = MOD_LOAD, .module = strndup(p, n), .rest = strdup(""),
					  .src = it, .line = line});
	}
}

/* MODULES=(a b), add_drivers+=" a b ": every word in the value is a module. */
static void assigned_list(struct modconf *m, const struct ev_item *it, const char *var)
{
	unsigned line = 0;

	for (const char *p = it->data; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		size_t n = strlen(var);

		line++;
		p += strspn(p, " \t");
		if (strncmp(p, var, n) || !(p[n] == '=' || (p[n] == '+' && p[n + 1] == '=')))
			continue;
		for (p += n + strspn(p + n, "+=(\"' \t"); *p && !strchr("\n)\"'", *p);) {
			size_t w = strcspn(p, " \t\n)\"'");

			push(m, (struct mod_line){.verb = MOD_LOAD, .module = strndup(p, w),
						  .rest = strdup(""), .src = it, .line = line});
			p += w;
			p += strspn(p, " \t");
		}
	}
}

static void load_file(struct modconf *m, struct ev *ev, const char *path, const char *var)
{
	const struct ev_item *it = ev_get(ev, EV_READ, path);

	source(m, it);
	if (it->text && var)
		assigned_list(m, it, var);
	else if (it->text)
		load_list(m, it);
}

static void load_dir(struct modconf *m, struct ev *ev, const char *dir, const char *var,
		     struct seen *seen)
{
	const struct ev_item *list = ev_get(ev, EV_LIST, dir);

	source(m, list);
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		char path[512];

		if (!ends(n, ".conf") || seen_before(seen, n))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, n);
		load_file(m, ev, path, var);
	}
}

void modconf_collect(struct modconf *m, struct ev *ev)
{
	/* /lib is /usr/lib on merged systems: its files are then the same names, already seen. */
	static const char *const dirs[] = {"/etc/modprobe.d", "/run/modprobe.d",
					   "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d",
					   "/lib/modprobe.d"};
	static const char *const loads[] = {"/etc/modules-load.d", "/run/modules-load.d",
					    "/usr/lib/modules-load.d"};
	struct seen seen = {0}, load = {0}, dracut = {0}, mkinit = {0};

	for (size_t i = 0; i < 5; i++) {
		const struct ev_item *list = ev_get(ev, EV_LIST, dirs[i]);

		source(m, list);
		for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n))
			modprobe_file(m, ev, dirs[i], n, &seen);
	}
	for (size_t i = 0; i < 3; i++)
		load_dir(m, ev, loads[i], NULL, &load);
	load_file(m, ev, "/etc/modules", NULL);
	load_file(m, ev, "/etc/initramfs-tools/modules", NULL);
	load_file(m, ev, "/etc/mkinitcpio.conf", "MODULES");
	load_dir(m, ev, "/etc/mkinitcpio.conf.d", "MODULES", &mkinit);
	load_file(m, ev, "/etc/dracut.conf", "add_drivers");
	load_file(m, ev, "/etc/dracut.conf", "force_drivers");
	load_dir(m, ev, "/etc/dracut.conf.d", "add_drivers", &dracut);
	dracut.n = 0;
	load_dir(m, ev, "/etc/dracut.conf.d", "force_drivers", &dracut);
}

void modconf_free(struct modconf *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->l[i].module);
		free(m->l[i].rest);
	}
	free(m->l);
}

const struct mod_line *modconf_find(const struct modconf *m, enum mod_verb v, const char *module,
				    const struct mod_line *after)
{
	for (size_t i = after ? (size_t)(after - m->l) + 1 : 0; i < m->n; i++)
		if (m->l[i].verb == v && !m->l[i].initramfs && !strcmp(m->l[i].module, module))
			return &m->l[i];
	return NULL;
}

const char *mod_option(const char *options, const char *key, size_t *n)
{
	size_t k = strlen(key);
	const char *found = NULL;

	while (*options) {
		size_t w = strcspn(options, " \t");

		if (!strncmp(options, key, k) && options[k] == '=') { /* the last one wins */
			found = options + k + 1;
			*n = w - k - 1;
		}
		options += w;
		options += strspn(options, " \t");
	}
	return found;
}
