/* SPDX-License-Identifier: Apache-2.0 */
#include "containers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES (4u << 20)

static bool is_dev(const char *path)
{
	return !strcmp(path, "/dev") || !strcmp(path, "/dev/");
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

void container_docker(const json_t *o, struct container *c)
{
	json_t *v;
	size_t i;

	c->privileged = json_is_true(json_object_get(o, "Privileged"));
	c->gpu = !strcmp(text(o, "Runtime"), "nvidia") || json_array_size(json_object_get(o, "DeviceRequests"));
	json_array_foreach(json_object_get(o, "Devices"), i, v)
		c->gpu |= !strncmp(text(v, "PathOnHost"), "/dev/nvidia", 11);
	json_array_foreach(json_object_get(o, "Binds"), i, v)
	{
		const char *bind = json_string_value(v);
		char source[16] = "";

		if (bind)
			snprintf(source, sizeof(source), "%.*s", (int)strcspn(bind, ":"), bind);
		c->dev |= is_dev(source);
	}
	json_array_foreach(json_object_get(o, "Mounts"), i, v)
		c->dev |= is_dev(text(v, "Source"));
}

static bool env_asks_gpu(const json_t *env)
{
	static const char key[] = "NVIDIA_VISIBLE_DEVICES=";
	json_t *v;
	size_t i;

	json_array_foreach(env, i, v)
	{
		const char *s = json_string_value(v);

		if (s && !strncmp(s, key, sizeof(key) - 1) && s[sizeof(key) - 1] && strcmp(s + sizeof(key) - 1, "void") &&
		    strcmp(s + sizeof(key) - 1, "none"))
			return true;
	}
	return false;
}

void container_oci(const json_t *o, struct container *c)
{
	const json_t *process = json_object_get(o, "process"), *os = json_object_get(o, "linux");
	bool admin = false, all_devices = false;
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(process, "capabilities"), "effective"), i, v)
		admin |= json_string_value(v) && !strcmp(json_string_value(v), "CAP_SYS_ADMIN");
	/* A rule without type, major and minor is about every device. */
	json_array_foreach(json_object_get(json_object_get(os, "resources"), "devices"), i, v)
		if (!json_object_get(v, "major") && (!*text(v, "type") || !strcmp(text(v, "type"), "a")))
			all_devices = json_is_true(json_object_get(v, "allow"));
	c->privileged = admin && all_devices;
	c->gpu = env_asks_gpu(json_object_get(process, "env"));
	json_array_foreach(json_object_get(os, "devices"), i, v)
		c->gpu |= !strncmp(text(v, "path"), "/dev/nvidia", 11);
	json_array_foreach(json_object_get(o, "mounts"), i, v)
	{
		c->gpu |= !strncmp(text(v, "destination"), "/dev/nvidia", 11);
		c->dev |= is_dev(text(v, "source"));
	}
}

static const struct {
	const char *dir, *file; /* DIR/ID/FILE, with one more level where nested */
	bool nested;
	void (*parse)(const json_t *, struct container *);
} stores[] = {
	{"/var/lib/docker/containers", "hostconfig.json", false, container_docker},
	{"/run/containerd/io.containerd.runtime.v2.task", "config.json", true, container_oci},
	{"/run/containers/storage/overlay-containers", "userdata/config.json", false, container_oci},
	{"/var/lib/containers/storage/overlay-containers", "userdata/config.json", false, container_oci},
};

struct digest {
	struct ev *ev;
	FILE *out;
	int err; /* the first that hid something */
};

static void hide(struct digest *d, int err)
{
	if (!d->err && err != ENOENT && err != ENOTDIR)
		d->err = err;
}

static void one(struct digest *d, const char *path, const char *id, void (*parse)(const json_t *, struct container *))
{
	int fd = ev_fd(d->ev, path);
	struct container c = {.id = ""};
	struct stat st;
	json_t *o;

	if (fd < 0) { /* a container without this file has ended */
		hide(d, -fd);
		return;
	}
	o = fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX_BYTES ? NULL : json_loadfd(fd, 0, NULL);
	close(fd);
	if (!json_is_object(o)) {
		hide(d, EBADMSG);
		json_decref(o);
		return;
	}
	parse(o, &c);
	fprintf(d->out, "%.12s privileged=%d gpu=%d dev=%d\n", id, c.privileged, c.gpu, c.dev);
	json_decref(o);
}

static void below(struct digest *d, const char *dir, const char *file, bool nested, void (*parse)(const json_t *, struct container *))
{
	const struct ev_item *list = ev_get(d->ev, EV_LIST, dir);

	hide(d, list->err);
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		char path[1024];

		if (strpbrk(n, " \n") || snprintf(path, sizeof(path), "%s/%s", dir, n) >= (int)sizeof(path) - 64)
			continue;
		if (nested) {
			below(d, path, file, false, parse);
		} else {
			strcat(strcat(path, "/"), file);
			one(d, path, n, parse);
		}
	}
}

static void derive(struct ev *ev, struct ev_item *item, void *arg)
{
	struct digest d = {.ev = ev};
	char *out = NULL;
	size_t len = 0;

	(void)arg;
	d.out = open_memstream(&out, &len);
	if (!d.out)
		abort();
	for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++)
		below(&d, stores[i].dir, stores[i].file, stores[i].nested, stores[i].parse);
	fclose(d.out);
	/* What could be seen stays evidence of what it shows; the error says that there is more. */
	item->cut = d.err != 0;
	ev_set_data(item, out, len);
	free(out);
}

const struct ev_item *containers_digest(struct ev *ev)
{
	return ev_derive(ev, "containers:", derive, NULL);
}

bool container_next(const char **text, struct container *c)
{
	int p, g, d, used = 0;

	if (sscanf(*text, "%15s privileged=%1d gpu=%1d dev=%1d%n", c->id, &p, &g, &d, &used) != 4 || !used)
		return false;
	c->privileged = p;
	c->gpu = g;
	c->dev = d;
	*text += used;
	return true;
}
