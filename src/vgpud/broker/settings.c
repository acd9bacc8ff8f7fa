/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/settings.h"
#include "vgpud/config.h"
#include "wire/layout.h"
#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(struct vm_settings, field)
#define TIMEOUT_MIN 100000000ull
#define FAULT_WINDOW_MIN 1000000000ull
#define TIMEOUT_MAX 86400000000000ull

const struct setting vm_setting[] = {
	{"priority", AT(priority), .initial = 2, .words = true},
	{"weight", AT(weight), 1, 100, 50},
	{"quota", AT(quota), 1, 1ull << 50, 0},
	{"job_timeout_ns", AT(job_timeout_ns), TIMEOUT_MIN, TIMEOUT_MAX, 0, .zero_too = true},
	{"hard_timeout_ns", AT(hard_timeout_ns), TIMEOUT_MIN, TIMEOUT_MAX, 0, .zero_too = true},
	{"bar_size", AT(bar_size), VGPU_BAR_MIN, VGPU_BAR_MAX, 0, .down = true},
	{"uid", AT(uid), 0, UINT32_MAX, UINT32_MAX},
	{"cap", AT(cap), 1, 100, 0, .zero_too = true},
	{"reservation", AT(reservation), 1, 100, 0, .zero_too = true},
	{"max_launches_per_second", AT(max_launches_per_second), 1, 1000000000, 0, .zero_too = true},
	{"max_bytes_per_second", AT(max_bytes_per_second), 1, 1ull << 50, 0, .zero_too = true},
	{"queue_depth", AT(queue_depth), 1, 1024, 0, .zero_too = true},
	{"numa_node", AT(numa_node), 0, UINT32_MAX, UINT32_MAX},
	{"fault_limit", AT(fault_limit), 1, CONFIG_FAULTS_MAX, 0, .zero_too = true},
	{"fault_window_ns", AT(fault_window_ns), FAULT_WINDOW_MIN, TIMEOUT_MAX, 0, .zero_too = true},
	{NULL},
};

static const struct {
	const char *name;
	uint64_t value;
} priorities[] = {{"high", 4}, {"medium", 2}, {"low", 1}};
#define PRIORITIES (sizeof(priorities) / sizeof(priorities[0]))

uint64_t setting_get(const struct setting *k, const struct vm_settings *s)
{
	uint64_t v;

	memcpy(&v, (const char *)s + k->at, sizeof(v));
	return v;
}

void setting_put(const struct setting *k, struct vm_settings *s, uint64_t v)
{
	memcpy((char *)s + k->at, &v, sizeof(v));
}

void settings_initial(struct vm_settings *s)
{
	memset(s, 0, sizeof(*s));
	for (const struct setting *k = vm_setting; k->key; k++)
		setting_put(k, s, k->initial);
}

const char *priority_name(uint64_t p)
{
	for (unsigned i = 0; i < PRIORITIES; i++)
		if (priorities[i].value == p)
			return priorities[i].name;
	return "?";
}

bool setting_fits(const struct setting *k, uint64_t v)
{
	for (unsigned i = 0; k->words && i < PRIORITIES; i++)
		if (priorities[i].value == v)
			return true;
	return !k->words && ((v >= k->min && v <= k->max) || (v == 0 && k->zero_too));
}

uint64_t priority_value(const char *name)
{
	for (unsigned i = 0; i < PRIORITIES; i++)
		if (!strcmp(name, priorities[i].name))
			return priorities[i].value;
	return 0;
}

static struct vgpu_err *read_word(const struct setting *k, json_t *v, struct vm_settings *s)
{
	uint64_t p = json_is_string(v) ? priority_value(json_string_value(v)) : 0;

	if (!p)
		return err_new("%s: must be high, medium or low", k->key);
	setting_put(k, s, p);
	return NULL;
}

static struct vgpu_err *read_one(const struct setting *k, json_t *v, struct vm_settings *s)
{
	uint64_t n;

	if (k->words)
		return read_word(k, v, s);
	n = json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : UINT64_MAX;
	if (!setting_fits(k, n))
		return err_new("%s: not a whole number from %llu to %llu%s", k->key, (unsigned long long)k->min,
			       (unsigned long long)k->max, k->zero_too ? ", or 0" : "");
	setting_put(k, s, n);
	return NULL;
}

static const struct setting *find(const char *key)
{
	for (const struct setting *k = vm_setting; k->key; k++)
		if (!strcmp(k->key, key))
			return k;
	return NULL;
}

struct vgpu_err *settings_read(json_t *q, const char *also, struct vm_settings *s)
{
	struct vgpu_err *e = NULL;
	const char *key;
	json_t *v;

	json_object_foreach(q, key, v) {
		const struct setting *k = find(key);

		if (k)
			e = read_one(k, v, s);
		else if (strcmp(key, "cmd") && strcmp(key, "name") && (!also || strcmp(key, also)))
			e = err_new("%.32s: no such setting", key);
		if (e)
			return e;
	}
	if (s->bar_size & (s->bar_size - 1))
		return err_new("bar_size: must be a power of two, as PCI BARs are");
	if (s->cap && s->reservation > s->cap)
		return err_new("reservation: %llu %% is more than the cap of %llu %%",
			       (unsigned long long)s->reservation, (unsigned long long)s->cap);
	return NULL;
}

void settings_difference(const struct vm_settings *old, const struct vm_settings *new, char *out, size_t n)
{
	size_t at = 0;

	out[0] = 0;
	for (const struct setting *k = vm_setting; k->key; k++) {
		uint64_t a = setting_get(k, old), b = setting_get(k, new);

		if (a == b || at >= n)
			continue;
		at += (size_t)(k->words ? snprintf(out + at, n - at, "%s%s %s -> %s", at ? ", " : "", k->key,
						   priority_name(a), priority_name(b))
					: snprintf(out + at, n - at, "%s%s %llu -> %llu", at ? ", " : "", k->key,
						   (unsigned long long)a, (unsigned long long)b));
	}
}
