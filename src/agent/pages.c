/* SPDX-License-Identifier: Apache-2.0 */
/* What each page says. Names and units of metrics: the views of vgpu-admin, and the tables here. */
#include "agent/agent.h"
#include "admin/views.h"
#include "agent/audit.h"
#include "agent/gpus.h"
#include "agent/requests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct view_column of_host[] = {
	{"bar_budget", "Shared memory for VMs and programs", VIEW_BYTES, NULL, "bar_budget_bytes"},
	{"bar_reserved", "Of it, what is reserved", VIEW_BYTES, NULL, "bar_reserved_bytes"},
	{"vms", "Registered VMs", VIEW_COUNT, NULL, "vms"},
	{"executors", "Running executors", VIEW_COUNT, NULL, "executors"},
	{NULL}};

static const struct view_column of_agent[] = {
	{"up", "1: vgpud answered the last look", VIEW_COUNT, NULL, "up"},
	{"healthy", "1: no trouble is known, of vgpud or of a GPU; else /healthz names it", VIEW_YES, NULL, "healthy"},
	{"looks", "Looks at vgpud", VIEW_COUNT, NULL, "agent_looks_total"},
	{"failures", "Looks that vgpud did not answer", VIEW_COUNT, NULL, "agent_look_failures_total"},
	{"seconds", "What the last look took", VIEW_SECONDS, NULL, "agent_look_seconds"},
	{"at", "When vgpud answered last, since 1970", VIEW_SECONDS, NULL, "agent_last_success_timestamp_seconds"},
	{NULL}};

/* The driver's version is the agent's to tell: vgpud asks no driver. */
static void add_driver_versions(json_t *devices, json_t *version)
{
	char driver[64];
	size_t i;
	json_t *row;

	gpus_driver(driver, sizeof(driver));
	json_array_foreach(devices, i, row) {
		const char *backend = json_string_value(json_object_get(row, "backend"));

		if (backend && !strcmp(backend, "softcuda"))
			json_object_set(row, "driver_version", version);
		else
			json_object_set_new(row, "driver_version", json_string(driver));
	}
}

static void print_versions(FILE *f, json_t *vgpud, bool open)
{
	json_t *rows = json_pack("[{s:s, s:s}]", "program", "vgpu-agent", "version", VGPU_VERSION_STRING);

	if (vgpud)
		json_array_append_new(rows, json_pack("{s:s, s:O}", "program", "vgpud", "version", vgpud));
	view_info_print(f, rows, &view_build_info, open);
	json_decref(rows);
}

static void print_faults(FILE *f, json_t *kinds, bool open)
{
	static const struct view_column columns[] = {
		{"faults", "Faults of all VMs since vgpud started", VIEW_COUNT, NULL, "faults_total"}, {NULL}};
	json_t *rows = json_array(), *n;
	const char *kind;

	json_object_foreach(kinds, kind, n)
		json_array_append_new(rows, json_pack("{s:s, s:O}", "name", kind, "faults", n));
	view_metrics_print(f, rows, columns, "kind", open);
	json_decref(rows);
}

static void print_vgpud(FILE *f, const struct state *s, bool open)
{
	json_t *devices = json_object_get(s->status, "devices");

	add_driver_versions(devices, json_object_get(s->status, "version"));
	view_metrics_print(f, s->status, of_host, NULL, open);
	print_faults(f, json_object_get(s->status, "faults"), open);
	view_info_print(f, devices, &view_device_info, open);
	view_metrics_print(f, devices, view_device_metrics, "device", open);
	view_info_print(f, s->vms, &view_vm_info, open);
	view_metrics_print(f, s->vms, view_metrics, "vm", open);
	view_histograms_print(f, s->histograms, open);
}

/* What is wrong: vgpud's own view, and the GPUs, which vgpud does not ask. */
static json_t *problems(const struct state *s)
{
	json_t *all = s->status ? json_deep_copy(json_object_get(s->health, "problems"))
				: json_pack("[{s:s, s:s}]", "what", "vgpud", "text", s->error);

	gpus_add_problems(all);
	return all;
}

static char *metrics(const struct state *s, size_t *len, bool open)
{
	json_t *trouble = problems(s);
	json_t *own = json_pack("{s:i, s:b, s:I, s:I, s:f, s:f}", "up", s->status != NULL, "healthy", json_array_size(trouble) == 0,
				"looks", (json_int_t)s->looks, "failures", (json_int_t)s->failures, "seconds", s->seconds, "at",
				(double)s->at_ms / 1e3);
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	json_decref(trouble);
	if (!f) {
		json_decref(own);
		return NULL;
	}
	view_metrics_print(f, own, of_agent, NULL, open);
	print_versions(f, json_object_get(s->status, "version"), open);
	if (s->status)
		print_vgpud(f, s, open);
	gpus_metrics(f, open);
	audit_metrics(f);
	requests_metrics(f, open);
	if (open)
		fputs("# EOF\n", f);
	json_decref(own);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

char *page_openmetrics(const struct state *s, size_t *len)
{
	return metrics(s, len, true);
}

char *page_text_metrics(const struct state *s, size_t *len)
{
	return metrics(s, len, false);
}

/* Takes the reference. */
static char *json_page(json_t *o, size_t *len)
{
	char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL, *line = NULL;

	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	*len = line ? strlen(line) : 0;
	free(text);
	json_decref(o);
	return line;
}

char *page_health(const struct state *s, size_t *len)
{
	json_t *all = problems(s);
	bool ok = json_array_size(all) == 0;

	return json_page(json_pack("{s:s, s:o}", "status", !s->status ? "down" : ok ? "ok" : "degraded", "problems", all), len);
}

/* The rows of vgpud with these keys only. */
static json_t *pick(json_t *rows, const char *const *keys)
{
	json_t *all = json_array(), *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		json_t *o = json_object();

		for (const char *const *k = keys; *k; k++)
			json_object_set(o, *k, json_object_get(row, *k));
		json_array_append_new(all, o);
	}
	return all;
}

static json_int_t number(json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Each device's own: a VM is on one, so what is free of several is no room for one. */
static json_t *capacities(json_t *devices, json_int_t *largest)
{
	static const char *const keys[] = {"name", "pool", "state", "memory", "memory_reserved", "reservation", NULL};
	json_t *rows = pick(devices, keys), *row;
	size_t i;

	*largest = 0;
	json_array_foreach(rows, i, row) {
		const char *state = json_string_value(json_object_get(row, "state"));
		json_int_t left = number(row, "memory") - number(row, "memory_reserved");

		json_object_set_new(row, "memory_free", json_integer(left));
		if (left > *largest && state && !strcmp(state, "up"))
			*largest = left;
	}
	return rows;
}

char *page_capacity(const struct state *s, size_t *len)
{
	json_t *o = json_object();
	json_int_t largest;
	static const char *const keys[] = {"device", "policy", "device_memory", "device_memory_reserved", "bar_budget",
					   "bar_reserved", "vms"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		json_object_set(o, keys[i], json_object_get(s->status, keys[i]));
	json_object_set_new(o, "device_memory_free",
			    json_integer(json_integer_value(json_object_get(s->status, "device_memory")) -
					 json_integer_value(json_object_get(s->status, "device_memory_reserved"))));
	json_object_set_new(o, "devices", capacities(json_object_get(s->status, "devices"), &largest));
	json_object_set_new(o, "largest_free", json_integer(largest));
	return json_page(o, len);
}

char *page_gpus(const struct state *s, size_t *len)
{
	return json_page(gpus_page(), len);
}

char *page_vms(const struct state *s, size_t *len)
{
	return json_page(json_incref(s->vms), len);
}

char *page_usage(const struct state *s, size_t *len)
{
	static const char *const keys[] = {
		"name", "device", "share", "device_seconds", "wait_seconds", "launches", "units", "bytes", "quota_used",
		"faults", "unsupported_calls", "queue_wait_p50_seconds", "queue_wait_p95_seconds", "queue_wait_p99_seconds",
		"execution_p50_seconds", "execution_p95_seconds", "execution_p99_seconds", "latency_p50_seconds",
		"latency_p95_seconds", "latency_p99_seconds", NULL};

	return json_page(pick(s->vms, keys), len);
}

char *page_assignments(const struct state *s, size_t *len)
{
	static const char *const keys[] = {"name", "id", "pool", "device", "priority", "weight", "share", "quota", "status", NULL};

	return json_page(pick(s->vms, keys), len);
}

char *page_connections(const struct state *s, size_t *len)
{
	return json_page(json_incref(s->connections), len);
}
