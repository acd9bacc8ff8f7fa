/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/json.h"
#include <stdio.h>

static void put_text(json_t *o, const char *key, const char *text)
{
	if (*text)
		json_object_set_new(o, key, json_string(text));
}

static void put_number(json_t *o, const char *key, int64_t n)
{
	if (n >= 0)
		json_object_set_new(o, key, json_integer(n));
}

static void put_value(json_t *o, const struct gpu *g, unsigned v)
{
	double unit = gpu_values[v].unit;
	int64_t n = g->value[v];

	if (n >= 0)
		json_object_set_new(o, gpu_values[v].key, unit < 1 ? json_real((double)n * unit) : json_integer(n * (int64_t)unit));
}

static json_t *instance(const struct gpu_instance *i)
{
	json_t *o = json_object();

	put_text(o, "uuid", i->uuid);
	put_text(o, "name", i->name);
	put_number(o, "gpu_instance", i->gpu_instance);
	put_number(o, "compute_instance", i->compute_instance);
	put_number(o, "memory_bytes", i->memory);
	put_number(o, "memory_used_bytes", i->used);
	return o;
}

static json_t *process(const struct gpu_process *p)
{
	json_t *o = json_object();

	put_number(o, "pid", p->pid);
	put_number(o, "memory_used_bytes", p->memory);
	put_number(o, "gpu_instance", p->gpu_instance);
	put_number(o, "compute_instance", p->compute_instance);
	return o;
}

static json_t *gpu(const struct gpu *g, unsigned index)
{
	json_t *o = json_pack("{s:i}", "index", (int)index), *list;

	put_text(o, "name", g->name);
	put_text(o, "uuid", g->uuid);
	put_text(o, "bus_id", g->bus_id);
	put_text(o, "serial", g->serial);
	for (unsigned v = 0; v < GPU_VALUES; v++)
		put_value(o, g, v);
	json_object_set_new(o, "mig", list = json_array());
	for (unsigned i = 0; i < g->instances; i++)
		json_array_append_new(list, instance(&g->instance[i]));
	json_object_set_new(o, "programs", list = json_array());
	for (unsigned i = 0; i < g->processes; i++)
		json_array_append_new(list, process(&g->process[i]));
	return o;
}

json_t *gpus_json(const struct gpu_sample *s)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < s->gpus; i++)
		json_array_append_new(all, gpu(&s->gpu[i], i));
	return all;
}

void gpus_problems(const struct gpu_sample *s, json_t *problems)
{
	for (unsigned i = 0; i < s->gpus; i++) {
		const char *text;
		char what[64];

		snprintf(what, sizeof(what), "GPU %u%s%s", i, s->gpu[i].bus_id[0] ? " at " : "", s->gpu[i].bus_id);
		for (unsigned k = 0; (text = gpu_problem(&s->gpu[i], k)); k++)
			json_array_append_new(problems, json_pack("{s:s, s:s}", "what", what, "text", text));
	}
}
