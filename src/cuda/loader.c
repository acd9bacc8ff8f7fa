// SPDX-License-Identifier: Apache-2.0
#include "cuda/loader.h"
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct slot {
	const char *name;
	size_t at;
	bool required;
} slots[] = {
#define F(name) { #name, offsetof(struct cuda_driver, name), true },
	CUDA_REQUIRED(F)
#undef F
#define F(name) { #name, offsetof(struct cuda_driver, name), false },
	CUDA_OPTIONAL(F)
#undef F
};

static int fill(struct cuda_driver *d, const char *path, char *err, size_t err_len)
{
	for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
		void *p = dlsym(d->handle, slots[i].name);
		if (!p && slots[i].required) {
			snprintf(err, err_len, "%s: lacks %s; is it a CUDA driver library of version 11.2 or later?", path, slots[i].name);
			return -1;
		}
		if (!p && !d->missing++)
			snprintf(d->first_missing, sizeof d->first_missing, "%s", slots[i].name);
		memcpy((char *)d + slots[i].at, &p, sizeof p);
	}
	return 0;
}

int cuda_driver_open(struct cuda_driver *d, const char *path, char *err, size_t err_len)
{
	memset(d, 0, sizeof *d);
	if (!path)
		path = getenv("VGPU_DRIVER");
	if (!path || !*path)
		path = "libcuda.so.1";
	d->path = path;
	d->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!d->handle) {
		snprintf(err, err_len, "%s: %s; set VGPU_DRIVER to the driver library's path", path, dlerror());
		return -1;
	}
	if (fill(d, path, err, err_len)) {
		cuda_driver_close(d);
		return -1;
	}
	return 0;
}

void cuda_driver_close(struct cuda_driver *d)
{
	if (d->handle)
		dlclose(d->handle);
	memset(d, 0, sizeof *d);
}
