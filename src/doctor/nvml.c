/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml.h"
#include "nvml/call.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_MS 5000
#define ANSWER_MAX  (256u << 10)

/* ---- the child ---- */

static void put_text(json_t *o, struct nv *nv, void *dev, enum nv_fn fn, const char *key)
{
	char buf[NV_TEXT];

	if (nv_text(nv, fn, dev, buf, sizeof(buf)))
		json_object_set_new(o, key, json_string(buf));
}

static void put_int(json_t *o, struct nv *nv, void *dev, enum nv_fn fn, const char *key)
{
	unsigned v;

	if (nv_u32(nv, fn, dev, &v))
		json_object_set_new(o, key, json_integer(v));
}

static void put_pair(json_t *o, struct nv *nv, void *dev, enum nv_fn fn, const char *a, const char *b)
{
	unsigned x, y;

	if (nv_pair(nv, fn, dev, &x, &y)) {
		json_object_set_new(o, a, json_integer(x));
		json_object_set_new(o, b, json_integer(y));
	}
}

static void put_links(json_t *o, struct nv *nv, void *dev)
{
	int links = 0, up = 0;

	for (unsigned i = 0; i < NV_LINKS_MAX; i++) {
		unsigned on;

		if (!nv_at(nv, NV_DeviceGetNvLinkState, dev, i, &on))
			continue;
		links++;
		up += on != 0;
	}
	json_object_set_new(o, "links", json_integer(links));
	json_object_set_new(o, "links_up", json_integer(up));
}

struct licence {
	unsigned char licensed;
	struct {
		unsigned year;
		unsigned short month, day, hour, min, sec;
		unsigned char status;
	} expiry;
	unsigned state;
};

static void put_licence(json_t *o, struct nv *nv, unsigned id)
{
	struct licence l = {0};
	unsigned licensed = 0;

	if (nv_id_struct(nv, NV_VgpuInstanceGetLicenseInfo_v2, id, &l))
		json_object_set_new(o, "licensed", json_integer(l.licensed != 0));
	else if (nv_id_struct(nv, NV_VgpuInstanceGetLicenseStatus, id, &licensed))
		json_object_set_new(o, "licensed", json_integer(licensed != 0));
}

static void put_vgpus(json_t *o, struct nv *nv, void *dev)
{
	unsigned id[NVML_VGPUS] = {0}, n = NVML_VGPUS;
	json_t *list;

	if (!nv_list(nv, NV_DeviceGetActiveVgpus, dev, &n, id) || !n)
		return;
	list = json_array();
	for (unsigned i = 0; i < n; i++) {
		json_t *v = json_pack("{s:i}", "id", (int)id[i]);
		char buf[NV_TEXT];

		if (nv_id_text(nv, NV_VgpuInstanceGetVmDriverVersion, id[i], buf, sizeof(buf)))
			json_object_set_new(v, "driver", json_string(buf));
		put_licence(v, nv, id[i]);
		json_array_append_new(list, v);
	}
	json_object_set_new(o, "vgpus", list);
}

static void put_memory(json_t *o, struct nv *nv, void *dev)
{
	struct nv_memory mem = {.version = sizeof(mem) | 2u << 24};
	struct nv_bar1 bar = {0};

	if (nv_struct(nv, NV_DeviceGetMemoryInfo_v2, dev, &mem)) {
		json_object_set_new(o, "memory", json_integer((json_int_t)mem.total));
		json_object_set_new(o, "reserved", json_integer((json_int_t)mem.reserved));
		json_object_set_new(o, "used", json_integer((json_int_t)mem.used));
	}
	if (nv_struct(nv, NV_DeviceGetBAR1MemoryInfo, dev, &bar))
		json_object_set_new(o, "bar1", json_integer((json_int_t)bar.total));
}

static json_t *one_gpu(struct nv *nv, void *dev)
{
	json_t *o = json_object();
	struct nv_pci pci = {0};
	struct nv_fabric fab = {0};

	if (nv_struct(nv, NV_DeviceGetPciInfo_v3, dev, &pci)) {
		pci.bus_id[sizeof(pci.bus_id) - 1] = 0;
		json_object_set_new(o, "bus_id", json_string(pci.bus_id));
	}
	put_memory(o, nv, dev);
	if (nv_struct(nv, NV_DeviceGetGpuFabricInfo, dev, &fab)) {
		json_object_set_new(o, "fabric_state", json_integer(fab.state));
		json_object_set_new(o, "fabric_status", json_integer(fab.status));
	}
	put_text(o, nv, dev, NV_DeviceGetName, "name");
	put_text(o, nv, dev, NV_DeviceGetUUID, "uuid");
	put_text(o, nv, dev, NV_DeviceGetVbiosVersion, "vbios");
	put_text(o, nv, dev, NV_DeviceGetSerial, "serial");
	put_text(o, nv, dev, NV_DeviceGetBoardPartNumber, "part");
	put_text(o, nv, dev, NV_DeviceGetInforomImageVersion, "inforom");
	put_int(o, nv, dev, NV_DeviceGetModuleId, "module");
	put_pair(o, nv, dev, NV_DeviceGetMigMode, "mig", "mig_pending");
	put_pair(o, nv, dev, NV_DeviceGetEccMode, "ecc", "ecc_pending");
	put_int(o, nv, dev, NV_DeviceGetPersistenceMode, "persistence");
	put_int(o, nv, dev, NV_DeviceGetVirtualizationMode, "virt_mode");
	put_links(o, nv, dev);
	put_vgpus(o, nv, dev);
	return o;
}

static void put_system(json_t *o, struct nv *nv)
{
	struct {
		unsigned environment, feature, devtools;
	} cc = {0};
	char buf[NV_TEXT];

	if (nv_system_text(nv, NV_SystemGetDriverVersion, buf, sizeof(buf)))
		json_object_set_new(o, "driver", json_string(buf));
	if (nv_system_text(nv, NV_SystemGetNVMLVersion, buf, sizeof(buf)))
		json_object_set_new(o, "nvml", json_string(buf));
	if (nv_system_struct(nv, NV_SystemGetConfComputeState, &cc))
		json_object_set_new(o, "cc_feature", json_integer(cc.feature));
}

static json_t *ask(struct nv *nv, int rc)
{
	json_t *o = json_object(), *gpus = json_array();
	unsigned n = 0;
	void *dev;

	json_object_set_new(o, "init", json_integer(rc));
	json_object_set_new(o, "gpus", gpus);
	if (rc)
		return o;
	put_system(o, nv);
	nv_count(nv, NV_DeviceGetCount_v2, &n);
	for (unsigned i = 0; i < n && i < NVML_GPUS; i++)
		if (nv_handle(nv, i, &dev))
			json_array_append_new(gpus, one_gpu(nv, dev));
	return o;
}

static void child_main(int out)
{
	struct nv nv;
	int rc = nv_open(&nv);
	char *text = rc == -ENOENT ? strdup("absent") : json_dumps(ask(&nv, rc), JSON_SORT_KEYS);

	for (size_t at = 0, n = text ? strlen(text) : 0; at < n;) {
		ssize_t w = write(out, text + at, n - at);

		if (w <= 0)
			break;
		at += (size_t)w;
	}
	_exit(0);
}

/* ---- the parent ---- */

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* Until end of file or the deadline. */
static int read_answer(int fd, struct ev_item *item)
{
	char *buf = malloc(ANSWER_MAX);
	size_t len = 0;
	long long end = now_ms() + DEADLINE_MS, left;
	int err = buf ? ETIMEDOUT : ENOMEM;

	while (buf && (left = end - now_ms()) > 0 && len < ANSWER_MAX) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, (int)left) <= 0)
			continue;
		n = read(fd, buf + len, ANSWER_MAX - len);
		if (n <= 0) {
			err = n < 0 ? errno : len ? 0 : EIO;
			break;
		}
		len += (size_t)n;
	}
	if (!err)
		ev_set_data(item, buf, len);
	free(buf);
	return err;
}

static void derive(struct ev *ev, struct ev_item *item, void *arg)
{
	int fd[2], status;
	pid_t pid;

	(void)arg;
	if (!ev_is_live(ev)) { /* another host's library cannot be asked; a recorded answer will do */
		const struct ev_item *rec = ev_get(ev, EV_READ, "/var/lib/vgpu-doctor/nvml.json");

		item->err = rec->err;
		ev_set_data(item, rec->data, rec->len);
		return;
	}
	if (pipe(fd)) {
		item->err = errno;
		return;
	}
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		child_main(fd[1]);
	}
	close(fd[1]);
	item->err = pid < 0 ? errno : read_answer(fd[0], item);
	close(fd[0]);
	if (!item->err && item->len == 6 && !memcmp(item->data, "absent", 6)) {
		item->err = ENOENT;
		ev_set_data(item, NULL, 0);
	}
	if (pid > 0) {
		kill(pid, SIGKILL);
		/* A child stuck in the driver cannot be reaped; it is left to init. */
		for (int i = 0; i < 50 && waitpid(pid, &status, WNOHANG) == 0; i++)
			poll(NULL, 0, 2);
	}
}

static void take_text(const json_t *o, const char *key, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(o, key));

	snprintf(out, size, "%s", s ? s : "");
}

static int64_t take_int(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? json_integer_value(v) : -1;
}

/* "00000000:1B:00.0" is sysfs' "0000:1b:00.0": the domain has at least four digits there. */
static void sysfs_bdf(const char *bus_id, char *out, size_t size)
{
	size_t zeros = 0, digits = strcspn(bus_id, ":");

	while (digits - zeros > 4 && bus_id[zeros] == '0')
		zeros++;
	snprintf(out, size, "%s", bus_id + zeros);
	for (; *out; out++)
		*out = (char)tolower((unsigned char)*out);
}

static void take_gpu(struct nvml_gpu *g, const json_t *o)
{
	char bus[32];

	take_text(o, "bus_id", bus, sizeof(bus));
	sysfs_bdf(bus, g->bdf, sizeof(g->bdf));
	take_text(o, "name", g->name, sizeof(g->name));
	take_text(o, "uuid", g->uuid, sizeof(g->uuid));
	take_text(o, "vbios", g->vbios, sizeof(g->vbios));
	g->memory = take_int(o, "memory");
	g->reserved = take_int(o, "reserved");
	g->used = take_int(o, "used");
	g->bar1 = take_int(o, "bar1");
	g->mig = (int)take_int(o, "mig");
	g->mig_pending = (int)take_int(o, "mig_pending");
	g->instances = (int)take_int(o, "instances");
	g->ecc = (int)take_int(o, "ecc");
	g->persistence = (int)take_int(o, "persistence");
	g->virt_mode = (int)take_int(o, "virt_mode");
	g->links = (int)take_int(o, "links");
	g->links_up = (int)take_int(o, "links_up");
	g->fabric_state = (int)take_int(o, "fabric_state");
	g->fabric_status = (int)take_int(o, "fabric_status");
	g->module = (int)take_int(o, "module");
	take_text(o, "serial", g->serial, sizeof(g->serial));
	take_text(o, "part", g->part, sizeof(g->part));
	take_text(o, "inforom", g->inforom, sizeof(g->inforom));
}

static void take_vgpus(struct nvml *n, int gpu, const json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
	{
		struct nvml_vgpu *v = &n->vgpu[n->nvgpu];

		if (n->nvgpu == NVML_VGPUS)
			return;
		n->nvgpu++;
		v->gpu = gpu;
		v->id = (unsigned)take_int(o, "id");
		v->licensed = (int)take_int(o, "licensed");
		take_text(o, "driver", v->driver, sizeof(v->driver));
		if (v->driver[0] < '0' || v->driver[0] > '9')
			v->driver[0] = 0; /* "N/A" while no driver runs in the guest */
	}
}

bool nvml_parse(struct nvml *n, const char *text, size_t len)
{
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *gpus, *g;
	size_t i;

	n->valid = false;
	n->n = n->nvgpu = 0;
	gpus = json_object_get(o, "gpus");
	if (!o || take_int(o, "init") != 0 || !json_is_array(gpus)) {
		json_decref(o);
		return false;
	}
	take_text(o, "driver", n->driver, sizeof(n->driver));
	take_text(o, "nvml", n->library, sizeof(n->library));
	n->cc_feature = (int)take_int(o, "cc_feature");
	json_array_foreach(gpus, i, g)
		if (n->n < NVML_GPUS) {
			take_gpu(&n->gpu[n->n++], g);
			take_vgpus(n, (int)n->n - 1, json_object_get(g, "vgpus"));
		}
	json_decref(o);
	n->valid = true;
	return true;
}

void nvml_collect(struct nvml *n, struct ev *ev)
{
	n->src = ev_derive(ev, "nvml:", derive, NULL);
	if (n->src->text)
		nvml_parse(n, n->src->data, n->src->len);
}

void nvml_free(struct nvml *n)
{
	(void)n;
}

const struct nvml_gpu *nvml_find(const struct nvml *n, const char *bdf)
{
	for (size_t i = 0; i < n->n; i++)
		if (!strcmp(n->gpu[i].bdf, bdf))
			return &n->gpu[i];
	return NULL;
}
