/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"
#include "base/buf.h"
#include "base/units.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONF_FILE_MAX (64u << 10)
#define CONF_LINE_MAX 1024u
#define CONF_KEYS_MAX 64u

static char *trim(char *s)
{
	char *e;

	while (isspace((unsigned char)*s))
		s++;
	e = s + strlen(s);
	while (e > s && isspace((unsigned char)e[-1]))
		*--e = 0;
	return s;
}

static int key_index(const struct conf_key *keys, const char *name)
{
	for (int i = 0; keys[i].name; i++)
		if (!strcmp(keys[i].name, name))
			return i;
	return -1;
}

static struct vgpu_err *bad_number(const struct conf_key *k, const char *v, int rc, const char *form)
{
	if (rc == -ERANGE)
		return err_new("\"%s\" is outside %llu to %llu", v, (unsigned long long)k->min,
			       (unsigned long long)k->max);
	return err_new("\"%s\" is not %s", v, form);
}

static struct vgpu_err *set_quantity(const struct conf_key *k, const char *v, uint64_t *out)
{
	static const struct {
		int (*parse)(const char *, uint64_t *);
		const char *form;
	} kinds[] = {
		[CONF_SIZE] = {units_size, "a size such as 512M or 2G"},
		[CONF_DURATION] = {units_duration, "a duration such as 2ms or 30s"},
	};
	uint64_t n;
	int rc = kinds[k->kind].parse(v, &n);

	if (!rc && (n < k->min || n > k->max))
		rc = -ERANGE;
	if (rc)
		return bad_number(k, v, rc, kinds[k->kind].form);
	*out = n;
	return NULL;
}

static struct vgpu_err *set_range(const struct conf_key *k, const char *v, uint64_t *out)
{
	char first[32], *dash;
	uint64_t a, b;

	snprintf(first, sizeof(first), "%s", v);
	dash = strchr(first, '-');
	if (!dash)
		return err_new("\"%s\" is not a range such as 100-199", v);
	*dash++ = 0;
	if (units_number(first, k->min, k->max, &a) || units_number(dash, a, k->max, &b))
		return err_new("\"%s\" is not a range within %llu-%llu", v, (unsigned long long)k->min,
			       (unsigned long long)k->max);
	out[0] = a;
	out[1] = b;
	return NULL;
}

static struct vgpu_err *set_choice(const struct conf_key *k, const char *v, unsigned *out)
{
	char all[200] = "";

	for (unsigned i = 0; k->choices[i]; i++) {
		size_t n = strlen(all);

		if (!strcmp(v, k->choices[i])) {
			*out = i;
			return NULL;
		}
		snprintf(all + n, sizeof(all) - n, "%s%s", i ? ", " : "", k->choices[i]);
	}
	return err_new("\"%s\" is none of: %s", v, all);
}

static struct vgpu_err *set_value(const struct conf_key *k, const char *v, void *base)
{
	void *out = (char *)base + k->offset;
	int rc;

	switch (k->kind) {
	case CONF_TEXT:
		if (strlen(v) >= k->len)
			return err_new("longer than %zu characters", k->len - 1);
		strcpy(out, v);
		return NULL;
	case CONF_SIZE:
	case CONF_DURATION:
		return set_quantity(k, v, out);
	case CONF_NUMBER:
		rc = units_number(v, k->min, k->max, out);
		return rc ? bad_number(k, v, rc, "a number") : NULL;
	case CONF_CHOICE:
		return set_choice(k, v, out);
	case CONF_RANGE:
		return set_range(k, v, out);
	}
	return err_new("unhandled kind of key");
}

/* line is modified. *index: which key was set, for the check against repetition. */
static struct vgpu_err *assign(const char *where, char *line, const struct conf_key *keys, void *out, int *index)
{
	cleanup_err struct vgpu_err *e = NULL;
	char *eq = strchr(line, '='), *key, *value;

	if (!eq)
		return err_new("%s: no '=': expected key = value", where);
	*eq = 0;
	key = trim(line);
	value = trim(eq + 1);
	*index = key_index(keys, key);
	if (*index < 0)
		return err_new("%s: %s: no such key", where, key);
	if (!*value)
		return err_new("%s: %s: no value", where, key);
	e = set_value(&keys[*index], value, out);
	return e ? err_new("%s: %s: %s", where, key, e->text) : NULL;
}

struct vgpu_err *conf_set(const char *where, const char *assignment, const struct conf_key *keys, void *out)
{
	char line[CONF_LINE_MAX];
	int index;

	if (strlen(assignment) >= sizeof(line))
		return err_new("%s: longer than %u characters", where, CONF_LINE_MAX - 1);
	strcpy(line, assignment);
	return assign(where, line, keys, out, &index);
}

struct vgpu_err *conf_parse(const char *file, const char *text, const struct conf_key *keys, void *out)
{
	unsigned seen[CONF_KEYS_MAX] = {0};
	char line[CONF_LINE_MAX], where[300];
	unsigned no = 0;

	while (*text) {
		size_t n = strcspn(text, "\n");
		int index;
		struct vgpu_err *e;
		char *s;

		snprintf(where, sizeof(where), "%s:%u", file, ++no);
		if (n >= sizeof(line))
			return err_new("%s: line longer than %u characters", where, CONF_LINE_MAX - 1);
		memcpy(line, text, n);
		line[n] = 0;
		text += n + (text[n] == '\n');
		line[strcspn(line, "#")] = 0;
		s = trim(line);
		if (!*s)
			continue;
		e = assign(where, s, keys, out, &index);
		if (e)
			return e;
		if (seen[index])
			return err_new("%s: %s: already set in line %u", where, keys[index].name, seen[index]);
		seen[index] = no;
	}
	return NULL;
}

static uint64_t quantity(const void *at)
{
	uint64_t n;

	memcpy(&n, at, sizeof(n));
	return n;
}

int conf_print(FILE *out, const struct conf_key *keys, const void *values)
{
	for (const struct conf_key *k = keys; k->name; k++) {
		const char *at = (const char *)values + k->offset;
		unsigned choice;

		if (k->kind == CONF_TEXT && !*at)
			continue;
		fprintf(out, "%s = ", k->name);
		if (k->kind == CONF_TEXT) {
			fputs(at, out);
		} else if (k->kind == CONF_CHOICE) {
			memcpy(&choice, at, sizeof(choice));
			fputs(k->choices[choice], out);
		} else {
			fprintf(out, "%llu", (unsigned long long)quantity(at));
		}
		if (k->kind == CONF_RANGE)
			fprintf(out, "-%llu", (unsigned long long)quantity(at + sizeof(uint64_t)));
		fputs(k->kind == CONF_DURATION ? "ns\n" : "\n", out);
	}
	return fflush(out) ? -errno : 0;
}

struct vgpu_err *conf_read(const char *path, char **text)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct buf b;
	long n;

	if (fd < 0)
		return err_sys(errno, "%s", path);
	buf_init(&b, CONF_FILE_MAX);
	do
		n = buf_read(&b, fd);
	while (n > 0);
	if (n == 0 && b.data && memchr(b.data, 0, b.len))
		n = -EILSEQ;
	if (n < 0) {
		buf_free(&b);
		return n == -ENOBUFS ? err_new("%s: larger than %u bytes", path, CONF_FILE_MAX)
		       : n == -EILSEQ ? err_new("%s: holds a NUL byte", path)
				      : err_sys((int)-n, "%s", path);
	}
	*text = b.data;
	return NULL;
}
