/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "guest/ports.h"
#include "wire/ring.h"

#define DEFAULT_DEVICE "/dev/vgpu0"
#define DEFAULT_SOCKET "/run/openvgpu/guest.sock"

int vgpu_port_open(struct vgpu_port **out, char *err, unsigned err_len)
{
	const char *socket = getenv("VGPU_SOCKET"), *tenant = getenv("VGPU_TENANT");

	if (!socket && access(DEFAULT_DEVICE, F_OK) == 0)
		return vgpu_port_open_dev(out, DEFAULT_DEVICE, err, err_len);
	return vgpu_port_open_unix(out, socket ? socket : DEFAULT_SOCKET, tenant ? tenant : "", err, err_len);
}

int vgpu_port_await_run(struct vgpu_port *p, int timeout_ms, uint32_t *error)
{
	const volatile struct vgpu_channel_status *ch = &p->header->channel[p->channel];
	uint64_t until = vgpu_now_ns() + (uint64_t)timeout_ms * 1000000u;

	for (;;) {
		uint32_t state = ch->state;
		int rc;

		vgpu_fence();
		if (ch->generation == p->generation && state == VGPU_CH_RUN)
			return 0;
		if (ch->generation == p->generation && state == VGPU_CH_DEAD) {
			*error = ch->error ? ch->error : VGPU_ERR_SPAWN;
			return 0;
		}
		if (vgpu_now_ns() > until)
			return -ETIMEDOUT;
		rc = p->ops->wait(p, VGPU_RECHECK_MS);
		if (rc < 0 && rc != -EINTR)
			return rc;
	}
}
