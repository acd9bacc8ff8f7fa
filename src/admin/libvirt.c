/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan-vms: libvirt's machines beside ours, so that an administrator sees which are not registered. libvirt is
 * looked for when asked for: most hosts that share a GPU with containers have none. Its declarations are of
 * libvirt's stable API, which has been the same since 0.9.13.
 */
#include "admin/admin.h"
#include <dlfcn.h>
#include <string.h>

#define UUID_LEN 37

typedef void *handle;

static struct {
	handle (*virConnectOpenReadOnly)(const char *uri);
	int (*virConnectListAllDomains)(handle conn, handle **domains, unsigned flags);
	const char *(*virDomainGetName)(handle domain);
	int (*virDomainGetUUIDString)(handle domain, char *uuid);
	int (*virDomainIsActive)(handle domain);
	int (*virDomainFree)(handle domain);
	int (*virConnectClose)(handle conn);
	const char *(*virGetLastErrorMessage)(void);
	void (*virSetErrorFunc)(void *data, void (*fn)(void *data, void *error));
} vir;

static const struct {
	const char *name;
	void *at;
} symbols[] = {
	{"virConnectOpenReadOnly", &vir.virConnectOpenReadOnly},
	{"virConnectListAllDomains", &vir.virConnectListAllDomains},
	{"virDomainGetName", &vir.virDomainGetName},
	{"virDomainGetUUIDString", &vir.virDomainGetUUIDString},
	{"virDomainIsActive", &vir.virDomainIsActive},
	{"virDomainFree", &vir.virDomainFree},
	{"virConnectClose", &vir.virConnectClose},
	{"virGetLastErrorMessage", &vir.virGetLastErrorMessage},
	{"virSetErrorFunc", &vir.virSetErrorFunc},
};

/* We say what went wrong; libvirt need not. */
static void silent(void *data, void *error)
{
}

static struct vgpu_err *load(void)
{
	void *lib = dlopen("libvirt.so.0", RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return err_new("scan-vms: libvirt is not installed here (%s)", dlerror());
	for (unsigned i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *f = dlsym(lib, symbols[i].name);

		if (!f)
			return err_new("scan-vms: this libvirt has no %s", symbols[i].name);
		memcpy(symbols[i].at, &f, sizeof(f));
	}
	vir.virSetErrorFunc(NULL, silent);
	return NULL;
}

static json_t *find(json_t *vms, const char *name)
{
	size_t i;
	json_t *vm;

	json_array_foreach(vms, i, vm)
		if (!strcmp(json_string_value(json_object_get(vm, "name")), name))
			return vm;
	return NULL;
}

static json_t *describe(handle domain, json_t *vms)
{
	char uuid[UUID_LEN] = "";
	const char *name = vir.virDomainGetName(domain);
	json_t *vm = name ? find(vms, name) : NULL, *priority = vm ? json_object_get(vm, "priority") : NULL;

	vir.virDomainGetUUIDString(domain, uuid);
	return json_pack("{s:s, s:s, s:b, s:b, s:o}", "name", name ? name : "?", "uuid", uuid, "running",
			 vir.virDomainIsActive(domain) == 1, "registered", vm != NULL, "priority",
			 priority ? json_incref(priority) : json_null());
}

static struct vgpu_err *list_domains(json_t *vms, json_t *out)
{
	handle conn = vir.virConnectOpenReadOnly(NULL), *domains = NULL;
	int n = conn ? vir.virConnectListAllDomains(conn, &domains, 0) : -1;

	if (n < 0) {
		const char *why = vir.virGetLastErrorMessage();

		if (conn)
			vir.virConnectClose(conn);
		return err_new("scan-vms: libvirt: %s", why ? why : "no reason given");
	}
	for (int i = 0; i < n; i++) {
		json_array_append_new(out, describe(domains[i], vms));
		vir.virDomainFree(domains[i]);
	}
	free(domains);
	vir.virConnectClose(conn);
	return NULL;
}

int scan_vms_run(struct admin *a)
{
	json_t *vms = NULL, *out = json_array();
	int status = EXIT_UNREACHABLE;
	struct vgpu_err *e = load();
	struct link l = {.fd = -1};

	if (!e) {
		e = link_open(&l, a->run_dir, 0, &status);
		if (!e)
			e = link_ask(&l, a->query, &vms, &status);
		link_close(&l);
	}
	if (!e) {
		status = EXIT_REFUSED;
		e = list_domains(vms, out);
	}
	if (!e)
		view_print(stdout, out, view_scan, a->json ? VIEW_AS_JSON : VIEW_AS_TEXT);
	json_decref(vms);
	json_decref(out);
	return e ? fail(a, e, status) : EXIT_DONE;
}
