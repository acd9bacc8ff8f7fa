/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ivshmem-doorbell server: QEMU's docs/specs/ivshmem-spec. Each message is a little-endian int64,
 * optionally with one descriptor. Peer 0 is this host (its eventfds are the doorbells), peer 1 the guest.
 */
#include "vgpud/transports/transport.h"
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define IVSHMEM_VERSION 0
#define HOST_PEER 0
#define GUEST_PEER 1
#define SHARED_MEMORY (-1)
#define SEND_ROOM (256 << 10) /* all 69 messages at once: some 1 KiB of accounting each */

static int send_one(int sock, int64_t value, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ctl;
	uint64_t le = htole64((uint64_t)value);
	struct iovec iov = {&le, sizeof(le)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		mh.msg_control = ctl.room;
		mh.msg_controllen = sizeof(ctl.room);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do
		n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == sizeof(le) ? 0 : -EIO;
}

int ivshmem_handover(int sock, const struct transport_memory *mem)
{
	int room = SEND_ROOM, rc;

	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	rc = send_one(sock, IVSHMEM_VERSION, -1);
	if (!rc)
		rc = send_one(sock, GUEST_PEER, -1);
	if (!rc)
		rc = send_one(sock, SHARED_MEMORY, mem->memfd);
	for (unsigned i = 0; !rc && i < mem->vectors; i++)
		rc = send_one(sock, HOST_PEER, mem->bells[i]);
	for (unsigned i = 0; !rc && i < mem->vectors; i++)
		rc = send_one(sock, GUEST_PEER, mem->irqs[i]);
	return rc;
}
