/* SPDX-License-Identifier: Apache-2.0 */
#include "base/where.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Relative to the program's folder. First as installed (programs lie in bin, sbin or
 * libexec/openvgpu), then as built. */
static const char *const places[][5] = {
	[WHERE_VGPUD] = {"../sbin/vgpud", "../vgpud/vgpud", NULL},
	[WHERE_BROKER] = {"../libexec/openvgpu/vgpu-broker", "vgpu-broker", "../vgpud/vgpu-broker", NULL},
	[WHERE_EXECUTOR] = {"../libexec/openvgpu/vgpu-executor", "../executor/vgpu-executor", NULL},
	[WHERE_SOFTCUDA] = {"../lib/openvgpu/softcuda/libcuda.so.1", "../../lib/openvgpu/softcuda/libcuda.so.1",
			    "../softcuda/libcuda.so.1", NULL},
	[WHERE_GUEST] = {"../lib/openvgpu/guest/libcuda.so.1", "../../lib/openvgpu/guest/libcuda.so.1",
			 "../guest/libcuda.so.1", NULL},
};

int where_is(enum where_what what, char *out, size_t len)
{
	char self[PATH_MAX], path[PATH_MAX + 64], real[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return -errno;
	self[n] = 0;
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	*slash = 0;
	for (unsigned i = 0; places[what][i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", self, places[what][i]);
		/* The folder is made canonical, the name is kept: libcuda.so.1 may be a link. */
		slash = strrchr(path, '/');
		*slash = 0;
		if (!realpath(path, real))
			continue;
		if ((size_t)snprintf(out, len, "%s/%s", real, slash + 1) < len && !access(out, R_OK))
			return 0;
	}
	return -ENOENT;
}
