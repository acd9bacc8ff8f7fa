/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan-gpus, and assign-gpu by what it shows: the machine's GPUs as NVML tells them, in a process of its own, and then
 * what only PCI shows: GPUs that another driver has, or all of them where there is no NVML. A row is an object
 *
 *   index      "0", of a MIG device "0:1"; null where NVML does not know it
 *   uuid, model, bus, numa_node, memory (bytes), driver: null: not known
 *   nvlink     indices of the GPUs that NVLink joins to it; peers: their UUIDs; null: not known
 *   assigned   vgpud's device; "": none; null: vgpud cannot be asked
 *   note       why it cannot be assigned; "": it can
 */
#include "admin/admin.h"
#include "base/log.h"
#include "nvml/child.h"
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NVML_PATIENCE_MS 5000
#define NVIDIA 0x10de
#define CLASS_DISPLAY 0x03 /* VGA controllers and those without a screen */
#define BUS_LEN 24

/* ---- PCI ---- */

/* As the kernel spells it, from NVML's "00000000:83:00.0", "83:00.0" or the kernel's own; false: it is none of them. */
static bool bus_of(const char *s, char out[BUS_LEN])
{
	unsigned domain = 0, bus, dev, fn;
	int n = 0;

	if (strlen(s) >= BUS_LEN)
		return false;
	if (sscanf(s, "%x:%x:%x.%x%n", &domain, &bus, &dev, &fn, &n) != 4) {
		domain = 0;
		if (sscanf(s, "%x:%x.%x%n", &bus, &dev, &fn, &n) != 3)
			return false;
	}
	if (s[n] || bus > 0xff || dev > 0x1f || fn > 7)
		return false;
	snprintf(out, BUS_LEN, "%04x:%02x:%02x.%x", domain, bus, dev, fn);
	return true;
}

/* A number in a file of a PCI function, or none. */
static bool pci_number(const char *sys, const char *bus, const char *file, long *out)
{
	char path[PATH_MAX];
	bool ok;
	FILE *f;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", sys, bus, file);
	f = fopen(path, "re");
	ok = f && fscanf(f, "%li", out) == 1;
	if (f)
		fclose(f);
	return ok;
}

static json_t *pci_driver(const char *sys, const char *bus)
{
	char path[PATH_MAX], to[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/driver", sys, bus);
	n = readlink(path, to, sizeof(to) - 1);
	if (n < 0)
		return json_null();
	to[n] = 0;
	return json_string(strrchr(to, '/') ? strrchr(to, '/') + 1 : to);
}

static json_t *numa_node(const char *sys, const char *bus)
{
	long node;

	return pci_number(sys, bus, "numa_node", &node) && node >= 0 ? json_integer(node) : json_null();
}

/* ---- rows ---- */

static json_t *known(const char *s)
{
	return s && *s ? json_string(s) : json_null();
}

static const char *get(json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s ? s : "";
}

static json_t *add_row(json_t *rows, const char *sys, const char *index, const char *uuid, const char *model, const char *bus,
		       int64_t memory, const char *note)
{
	json_t *row = json_pack("{s:o, s:o, s:o, s:o, s:o, s:n, s:n, s:o, s:o, s:n, s:s}", "index", known(index), "uuid",
		known(uuid), "model", known(model), "bus", known(bus), "numa_node", numa_node(sys, bus), "nvlink", "peers", "memory",
		memory >= 0 ? json_integer(memory) : json_null(), "driver", pci_driver(sys, bus), "assigned", "note", note);

	json_array_append_new(rows, row);
	return row;
}

/* One whose UUID is not known cannot be assigned, so nobody need know that it is a peer. */
static void add_peers(json_t *row, const struct gpu_sample *s, unsigned i)
{
	json_t *nvlink = json_array(), *peers = json_array();
	char index[16];

	for (unsigned k = 0; k < s->gpus; k++) {
		if (!(s->gpu[i].peers >> k & 1) || !s->gpu[k].uuid[0])
			continue;
		snprintf(index, sizeof(index), "%u", k);
		json_array_append_new(nvlink, json_string(index));
		json_array_append_new(peers, json_string(s->gpu[k].uuid));
	}
	json_object_set_new(row, "nvlink", nvlink);
	json_object_set_new(row, "peers", peers);
}

static void add_gpu(json_t *rows, const char *sys, const struct gpu_sample *s, unsigned i)
{
	const struct gpu *g = &s->gpu[i];
	const char *note = g->value[GPU_LOST] == 1   ? "it does not answer"
			   : g->value[GPU_MIG] == 1  ? "divided into MIG devices: assign one of these"
			   : !g->uuid[0]	     ? "NVML does not tell its UUID" : "";
	char index[24], bus[BUS_LEN] = "";
	json_t *row;

	bus_of(g->bus_id, bus);
	snprintf(index, sizeof(index), "%u", i);
	row = add_row(rows, sys, index, g->uuid, g->name, bus, g->value[GPU_MEMORY], note);
	if (g->peers >= 0)
		add_peers(row, s, i);
	for (unsigned k = 0; k < g->instances; k++) {
		const struct gpu_instance *m = &g->instance[k];

		snprintf(index, sizeof(index), "%u:%u", i, k);
		add_row(rows, sys, index, m->uuid, m->name, bus, m->memory, m->uuid[0] ? "" : "NVML does not tell its UUID");
	}
}

static bool has_bus(json_t *rows, const char *bus)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
		if (!strcmp(get(row, "bus"), bus))
			return true;
	return false;
}

/* What NVML has not shown. */
static void add_pci(json_t *rows, const char *sys)
{
	struct dirent **found;
	char path[PATH_MAX], bus[BUS_LEN], model[32];
	long vendor, device, class;
	int n;

	snprintf(path, sizeof(path), "%s/bus/pci/devices", sys);
	n = scandir(path, &found, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		bool gpu = bus_of(found[i]->d_name, bus) && !has_bus(rows, bus) && pci_number(sys, bus, "vendor", &vendor) &&
			   vendor == NVIDIA && pci_number(sys, bus, "class", &class) && class >> 16 == CLASS_DISPLAY;

		if (gpu && pci_number(sys, bus, "device", &device)) {
			snprintf(model, sizeof(model), "PCI device 10de:%04lx", device & 0xffff);
			add_row(rows, sys, NULL, NULL, model, bus, -1, "NVIDIA's driver does not show it, so its UUID is not known");
		}
		free(found[i]);
	}
	if (n >= 0)
		free(found);
}

/* {source, gpus}; *source_rc: why NVML is not the source. */
static json_t *scan(const char *sys, int *source_rc)
{
	static struct gpu_sample s;
	char source[160];
	json_t *rows = json_array();

	gpu_sample_once(&s, NVML_PATIENCE_MS);
	*source_rc = s.rc;
	for (unsigned i = 0; !s.rc && i < s.gpus; i++)
		add_gpu(rows, sys, &s, i);
	add_pci(rows, sys);
	if (s.rc)
		snprintf(source, sizeof(source), "PCI (%s)", gpu_error_text(s.rc));
	else
		snprintf(source, sizeof(source), "NVML of driver %s", s.driver[0] ? s.driver : "(version not known)");
	return json_pack("{s:s, s:o}", "source", source, "gpus", rows);
}

/* ---- commands ---- */

/* Where sysfs is; the query forgets it, for vgpud does not know it. The caller frees it. */
static char *take_sys(struct admin *a)
{
	const char *sys = json_string_value(json_object_get(a->query, "sys"));
	char *copy = strdup(sys ? sys : "/sys");

	json_object_del(a->query, "sys");
	return copy;
}

/* Those of vgpud.conf have no UUID that somebody gave them, but a place, which MIG devices share. */
static bool is_device(json_t *row, json_t *d)
{
	if (get(d, "uuid")[0])
		return !strcmp(get(d, "uuid"), get(row, "uuid"));
	return get(d, "pci")[0] && !strcmp(get(d, "pci"), get(row, "bus")) && !strchr(get(row, "index"), ':');
}

static void mark_assigned(json_t *rows, json_t *devices)
{
	json_t *row, *d;
	size_t i, k;

	json_array_foreach(rows, i, row) {
		const char *name = "";

		json_array_foreach(devices, k, d)
			if (is_device(row, d))
				name = get(d, "name");
		json_object_set_new(row, "assigned", json_string(name));
	}
}

/* It is of use before vgpud runs, too. */
int scan_gpus_run(struct admin *a)
{
	char *sys = take_sys(a);
	json_t *devices = NULL, *found;
	struct link l = {.fd = -1};
	struct vgpu_err *e;
	int status, rc;

	found = sys ? scan(sys, &rc) : NULL;
	free(sys);
	if (!found)
		return fail(a, err_new("out of memory"), EXIT_REFUSED);
	e = link_open(&l, a->run_dir, 0, &status);
	if (!e)
		e = link_ask(&l, a->query, &devices, &status);
	link_close(&l);
	if (e)
		log_warning("what is assigned is not known: %s", e->text);
	else
		mark_assigned(json_object_get(found, "gpus"), devices);
	free(e);
	view_print(stdout, found, a->command->view, a->json ? VIEW_AS_JSON : VIEW_AS_TEXT);
	json_decref(devices);
	json_decref(found);
	return fflush(stdout) ? EXIT_REFUSED : EXIT_DONE;
}

/* The row an administrator means: by UUID or index, or a GPU by its PCI address. */
static json_t *find(json_t *rows, const char *what)
{
	char bus[BUS_LEN];
	bool is_bus = bus_of(what, bus);
	json_t *row;
	size_t i;

	if (!*what)
		return NULL; /* rows have empty texts for what is not known */
	json_array_foreach(rows, i, row)
		if (!strcmp(get(row, "uuid"), what) || !strcmp(get(row, "index"), what) || (is_bus && !strcmp(get(row, "bus"), bus)))
			return row;
	return NULL;
}

static bool is_uuid(const char *s)
{
	return !strncmp(s, "GPU-", 4) || !strncmp(s, "MIG-", 4);
}

/* The query's "uuid" is what was typed. A UUID that nobody here knows is sent all the same: vgpud tries it. */
static struct vgpu_err *resolve(json_t *query, json_t *found, int source_rc)
{
	const char *what = json_string_value(json_object_get(query, "uuid"));
	json_t *row = find(json_object_get(found, "gpus"), what);

	if (!row && is_uuid(what))
		return NULL;
	if (!row)
		return err_new("assign-gpu: %s: no such GPU here%s%s: vgpu-admin scan-gpus", what, source_rc ? "; " : "",
			       source_rc ? gpu_error_text(source_rc) : "");
	if (get(row, "note")[0])
		return err_new("assign-gpu: %s: %s%s%s", what, get(row, "note"), source_rc ? "; " : "",
			       source_rc ? gpu_error_text(source_rc) : "");
	if (get(row, "bus")[0])
		json_object_set(query, "pci", json_object_get(row, "bus"));
	if (json_is_integer(json_object_get(row, "numa_node")))
		json_object_set(query, "numa_node", json_object_get(row, "numa_node"));
	if (json_is_array(json_object_get(row, "peers")))
		json_object_set(query, "peers", json_object_get(row, "peers"));
	json_object_set(query, "uuid", json_object_get(row, "uuid"));
	return NULL;
}

int assign_gpu_run(struct admin *a)
{
	char *sys = take_sys(a);
	struct vgpu_err *e;
	json_t *found;
	int rc = 0;

	found = sys ? scan(sys, &rc) : NULL;
	free(sys);
	e = found ? resolve(a->query, found, rc) : err_new("out of memory");
	json_decref(found);
	return e ? fail(a, e, EXIT_REFUSED) : ask_and_show(a);
}
