/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit sizes[] = {
	{"", 1}, {"K", 1ull << 10}, {"KiB", 1ull << 10}, {"M", 1ull << 20}, {"MiB", 1ull << 20},
	{"G", 1ull << 30}, {"GiB", 1ull << 30}, {"T", 1ull << 40}, {"TiB", 1ull << 40}, {NULL, 0},
};

static const struct unit durations[] = {
	{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000},
	{"min", 60000000000}, {"h", 3600000000000}, {NULL, 0},
};

static int parse_digits(const char **s, uint64_t *out)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	*s = p;
	*out = v;
	return 0;
}

static int parse_unit(const char *s, const struct unit *table, uint64_t *out)
{
	uint64_t v;
	int rc = parse_digits(&s, &v);

	if (rc)
		return rc;
	while (*s == ' ')
		s++;
	if (v == 0 && !*s) {
		*out = 0;
		return 0;
	}
	for (; table->name; table++)
		if (!strcmp(s, table->name))
			return __builtin_mul_overflow(v, table->factor, out) ? -ERANGE : 0;
	return -EINVAL;
}

int units_size(const char *s, uint64_t *bytes)
{
	return parse_unit(s, sizes, bytes);
}

int units_duration(const char *s, uint64_t *ns)
{
	return parse_unit(s, durations, ns);
}

int units_number(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v;
	int rc = parse_digits(&s, &v);

	if (!rc && *s)
		rc = -EINVAL;
	if (!rc && (v < min || v > max))
		rc = -ERANGE;
	if (!rc)
		*out = v;
	return rc;
}

const char *units_size_text(uint64_t bytes, char *out, size_t n)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes;
	unsigned i = 0;

	while (v >= 1024 && i < 4) {
		v /= 1024;
		i++;
	}
	snprintf(out, n, v == (double)(uint64_t)v ? "%.0f %s" : "%.1f %s", v, names[i]);
	return out;
}
