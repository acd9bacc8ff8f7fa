/* SPDX-License-Identifier: Apache-2.0 */
/* Each NAME.in is parsed; what comes out (values, or the one error) must be NAME.ok.
 * Breaks if a wrong line is accepted, or its error lacks file, line, key or reason. */
#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/conf.h"

struct out {
	char name[12];
	uint64_t size, time, number, range[2];
	unsigned choice;
};

static const char *const choices[] = {"red", "green", NULL};
static const struct conf_key keys[] = {
	{"name", CONF_TEXT, offsetof(struct out, name), 12, 0, 0, NULL},
	{"size", CONF_SIZE, offsetof(struct out, size), 0, 1024, 1ull << 40, NULL},
	{"time", CONF_DURATION, offsetof(struct out, time), 0, 0, 3600000000000, NULL},
	{"number", CONF_NUMBER, offsetof(struct out, number), 0, 1, 100, NULL},
	{"range", CONF_RANGE, offsetof(struct out, range), 0, 10, 99, NULL},
	{"choice", CONF_CHOICE, offsetof(struct out, choice), 0, 0, 0, choices},
	{NULL},
};

static void parse(const char *dir, const char *base, struct buf *b)
{
	cleanup_err struct vgpu_err *e = NULL;
	cleanup_mem char *text = NULL;
	struct out o = {.name = "-"};
	char path[600], file[300];

	snprintf(file, sizeof(file), "%s.in", base);
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	e = conf_read(path, &text);
	if (!e)
		e = conf_parse(file, text ? text : "", keys, &o);
	if (e)
		buf_printf(b, "%s\n", e->text);
	else
		buf_printf(b, "name=%s size=%llu time=%llu number=%llu range=%llu-%llu choice=%u\n", o.name,
			   (unsigned long long)o.size, (unsigned long long)o.time, (unsigned long long)o.number,
			   (unsigned long long)o.range[0], (unsigned long long)o.range[1], o.choice);
}

static int check(const char *dir, const char *in)
{
	cleanup_err struct vgpu_err *e = NULL;
	cleanup_mem char *want = NULL;
	char base[256], path[600];
	struct buf got;
	int bad;

	snprintf(base, sizeof(base), "%.*s", (int)strlen(in) - 3, in);
	snprintf(path, sizeof(path), "%s/%s.ok", dir, base);
	buf_init(&got, 4096);
	parse(dir, base, &got);
	e = conf_read(path, &want);
	bad = e || strcmp(got.data, want);
	if (bad)
		printf("not ok %s\n  got:  %s  want: %s", base, got.data, e ? e->text : want);
	buf_free(&got);
	return bad;
}

int main(int argc, char **argv)
{
	struct dirent *d;
	DIR *dir = opendir(argv[1]);
	unsigned n = 0, bad = 0;

	while (dir && (d = readdir(dir))) {
		size_t len = strlen(d->d_name);

		if (len > 3 && !strcmp(d->d_name + len - 3, ".in")) {
			bad += (unsigned)check(argv[1], d->d_name);
			n++;
		}
	}
	if (dir)
		closedir(dir);
	printf("%u configurations, %u wrong\n", n, bad);
	return n == 0 || bad;
}
