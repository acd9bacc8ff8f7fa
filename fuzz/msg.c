/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed messages from a peer that sends what it likes: any datagram, any number of descriptors, into
 * any end of any conversation. What is delivered is what the table allows, judged here anew; what is
 * refused says why and leaves no descriptor open.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vgpud/ipc.h"
#include "fuzz.h"

#define FDS_SENT_MAX 96u

struct head {
	uint16_t type, n_fds;
	uint32_t size;
};

static int lowest_free(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static bool allowed(const struct msg_chan *c, const struct head *h, size_t len, unsigned fds)
{
	const struct msg_rule *r = h->type < IPC_TYPES ? &ipc_table.rules[h->type] : NULL;

	return len >= sizeof(*h) && r && r->name && (r->from & c->peer) && (r->states & c->state) && h->size == r->size &&
	       len - sizeof(*h) == r->size && fds == h->n_fds && fds >= r->fds_min && fds <= r->fds_max;
}

/* One datagram of the input's making; its length, 0: it could not be sent. */
static size_t send_one(int to, struct choices *in, struct head *h, unsigned *fds)
{
	static uint8_t room[MSG_PAYLOAD_MAX + 64];
	int fd[FDS_SENT_MAX];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(fd))];
	} ctl = { 0 };
	struct iovec iov = { room, 0 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint8_t how = choose(in);

	h->type = choose(in) % (IPC_TYPES + 2);
	h->size = h->type < IPC_TYPES ? ipc_table.rules[h->type].size : 0;
	h->n_fds = h->type < IPC_TYPES ? ipc_table.rules[h->type].fds_min : 0;
	if (how & 1)
		h->n_fds = choose(in);
	*fds = how & 2 ? choose(in) % FDS_SENT_MAX : h->n_fds % FDS_SENT_MAX;
	iov.iov_len = sizeof(*h) + h->size;
	if (how & 4)
		h->size = (uint32_t)choose_bytes(in, 4);
	if (how & 8)
		iov.iov_len = choose_bytes(in, 2) % sizeof(room);
	memset(room, how, sizeof(room));
	memcpy(room, h, sizeof(*h));
	if (*fds) {
		struct cmsghdr *c = (struct cmsghdr *)ctl.room;

		for (unsigned i = 0; i < *fds; i++)
			fd[i] = 0;
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(int) * *fds), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), fd, sizeof(int) * *fds);
		mh.msg_control = ctl.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * *fds);
	}
	return iov.iov_len && sendmsg(to, &mh, MSG_DONTWAIT) == (ssize_t)iov.iov_len ? iov.iov_len : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t roles[] = { IPC_KEEPER, IPC_BROKER, IPC_EXECUTOR }, states[] = { IPC_S_START, IPC_S_RUN, IPC_S_ADOPT };
	struct choices in = { data, len };
	struct msg_chan c;
	int pair[2], before;

	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	msg_chan_init(&c, pair[0], &ipc_table, roles[choose(&in) % 3], roles[choose(&in) % 3]);
	before = lowest_free();
	for (unsigned i = 0; i < 40 && in.left; i++) {
		struct head h;
		struct msg m;
		char why[128] = "";
		unsigned fds;
		size_t n;
		int rc;

		c.state = states[choose(&in) % 3];
		n = send_one(pair[1], &in, &h, &fds);
		if (!n)
			continue;
		rc = msg_recv(&c, &m, why, sizeof(why));
		MUST(rc == 1 || rc == -EPROTO);
		MUST((rc == 1) == allowed(&c, &h, n, fds));
		MUST((rc == 1) == !why[0]);
		if (rc == 1) {
			MUST(m.type == h.type && m.n_fds == fds && m.size == h.size);
			if (fds)
				close(msg_take_fd(&m, choose(&in) % fds));
			msg_done(&m);
		}
		MUST(lowest_free() == before);
	}
	close(pair[1]);
	msg_chan_fini(&c);
	return 0;
}
