/* SPDX-License-Identifier: Apache-2.0 */
/* cuInit, the process's one client, and fork. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "guest/guest.h"

enum { NEW, READY, FORKED };

struct vgpu_client *guest_client;
_Thread_local bool guest_in_callback;
struct vgpu_device_info guest_device;
static _Atomic int state = NEW;
static struct vgpu_port *port;
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

void guest_say(const char *text)
{
	fprintf(stderr, "libcuda (OpenVGPU): %s\n", text);
}

int guest_ready(void)
{
	if (atomic_load_explicit(&state, memory_order_acquire) != READY)
		return CUDA_ERROR_NOT_INITIALIZED;
	return guest_in_callback ? CUDA_ERROR_NOT_PERMITTED : 0;
}

/* The child shares nothing with the channel: its parent goes on using it. */
static void in_child(void)
{
	if (atomic_load(&state) != READY)
		return;
	atomic_store(&state, FORKED);
	port->ops->abandon(port);
	guest_client = NULL;
}

static int open_port(void)
{
	char err[256] = "";
	int rc = vgpu_port_open(&port, err, sizeof(err));

	if (rc) {
		guest_say(err[0] ? err : strerror(-rc));
		return CUDA_ERROR_NO_DEVICE;
	}
	memcpy(&guest_device, (const void *)&port->header->device, sizeof(guest_device));
	guest_device.name[sizeof(guest_device.name) - 1] = 0;
	if (guest_device.attr_count > VGPU_ATTR_MAX)
		guest_device.attr_count = VGPU_ATTR_MAX;
	pthread_atfork(NULL, NULL, in_child);
	atomic_store(&state, READY);
	return CUDA_SUCCESS;
}

CUresult cuInit(unsigned int flags)
{
	int rc = CUDA_SUCCESS;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (guest_in_callback)
		return CUDA_ERROR_NOT_PERMITTED;
	if (atomic_load(&state) == FORKED)
		return CUDA_ERROR_NOT_INITIALIZED;
	pthread_mutex_lock(&start_lock);
	if (atomic_load(&state) == NEW)
		rc = open_port();
	pthread_mutex_unlock(&start_lock);
	return rc;
}

int guest_start(void)
{
	struct vgpu_client *cl;
	static int failed;
	char err[256] = "";
	int rc = 0;

	pthread_mutex_lock(&start_lock);
	if (!guest_client && !failed) {
		cl = malloc(sizeof(*cl));
		rc = cl ? client_start(cl, port, err, sizeof(err)) : CUDA_ERROR_OUT_OF_MEMORY;
		if (rc) { /* a channel starts once: the process keeps this answer */
			if (err[0])
				guest_say(err);
			failed = rc;
		} else {
			guest_client = cl;
		}
	}
	rc = guest_client ? client_death(guest_client, false) : failed;
	pthread_mutex_unlock(&start_lock);
	return rc;
}
