/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/transports/transport.h"
#include "vgpud/transports/unix_proto.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int unix_handover(int sock, const struct transport_memory *mem, uint32_t status, const char *text)
{
	struct vgpu_unix_reply reply = {.magic = VGPU_UNIX_MAGIC, .version = VGPU_UNIX_VERSION,
					.status = status, .vectors = VGPU_UNIX_VECTORS};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * VGPU_UNIX_FDS)];
	} ctl;
	struct iovec iov = {&reply, sizeof(reply)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	snprintf(reply.text, sizeof(reply.text), "%s", text);
	if (mem) {
		int fds[VGPU_UNIX_FDS] = {mem->memfd, mem->bells[0], mem->bells[1], mem->irqs[0], mem->irqs[1]};
		struct cmsghdr *c;

		reply.bar_size = mem->bar_size;
		memset(&ctl, 0, sizeof(ctl));
		mh.msg_control = ctl.room;
		mh.msg_controllen = sizeof(ctl.room);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
	}
	do
		n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
