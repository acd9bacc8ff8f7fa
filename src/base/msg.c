/* SPDX-License-Identifier: Apache-2.0 */
#include "base/msg.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct wire_head {
	uint16_t type, n_fds;
	uint32_t size;
};

struct msg_out {
	struct msg_out *next;
	struct wire_head head;
	int fds[MSG_FDS_MAX];
	uint8_t payload[];
};

void msg_chan_init(struct msg_chan *c, int fd, const struct msg_table *t, uint8_t self, uint8_t peer)
{
	*c = (struct msg_chan){.fd = fd, .table = t, .self = self, .peer = peer, .state = 1};
	c->tail = &c->head;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void out_free(struct msg_out *o)
{
	for (unsigned i = 0; i < o->head.n_fds; i++)
		close(o->fds[i]);
	free(o);
}

static void out_pop(struct msg_chan *c)
{
	struct msg_out *o = c->head;

	c->head = o->next;
	if (!c->head)
		c->tail = &c->head;
	c->queued--;
	out_free(o);
}

void msg_chan_fini(struct msg_chan *c)
{
	while (c->head)
		out_pop(c);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static int send_now(int fd, const struct wire_head *h, const void *payload, const int *fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * MSG_FDS_MAX)];
	} ctl;
	struct iovec iov[2] = {{(void *)h, sizeof(*h)}, {(void *)payload, h->size}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;

	if (h->n_fds) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		mh.msg_control = ctl.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * h->n_fds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * h->n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * h->n_fds);
	}
	do
		n = sendmsg(fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int enqueue(struct msg_chan *c, const struct wire_head *h, const void *payload, const int *fds)
{
	struct msg_out *o;

	if (c->queued >= MSG_QUEUE_MAX)
		return -ENOBUFS;
	o = calloc(1, sizeof(*o) + h->size);
	if (!o)
		return -ENOMEM;
	o->head = *h;
	o->head.n_fds = 0;
	if (h->size)
		memcpy(o->payload, payload, h->size);
	for (unsigned i = 0; i < h->n_fds; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0) {
			int rc = -errno;

			out_free(o);
			return rc;
		}
		o->fds[o->head.n_fds++] = fd;
	}
	*c->tail = o;
	c->tail = &o->next;
	c->queued++;
	return 0;
}

static const struct msg_rule *rule_of(const struct msg_table *t, uint16_t type)
{
	return type < t->count && t->rules[type].name ? &t->rules[type] : NULL;
}

int msg_send(struct msg_chan *c, uint16_t type, const void *payload, size_t size, const int *fds, unsigned n_fds)
{
	const struct msg_rule *r = rule_of(c->table, type);
	struct wire_head h = {type, (uint16_t)n_fds, (uint32_t)size};
	int rc;

	if (!r || r->size != size || n_fds < r->fds_min || n_fds > r->fds_max || !(r->from & c->self))
		abort();
	if (c->head)
		return enqueue(c, &h, payload, fds);
	rc = send_now(c->fd, &h, payload, fds);
	return rc == -EAGAIN ? enqueue(c, &h, payload, fds) : rc;
}

int msg_flush(struct msg_chan *c)
{
	while (c->head) {
		int rc = send_now(c->fd, &c->head->head, c->head->payload, c->head->fds);

		if (rc == -EAGAIN)
			return 0;
		if (rc)
			return rc;
		out_pop(c);
	}
	return 0;
}

static void take_fds(struct msghdr *mh, struct msg *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (m->n_fds < MSG_FDS_MAX)
				m->fds[m->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

static const char *refused(const struct msg_chan *c, const struct msg *m, const struct wire_head *h,
			   size_t got, int flags)
{
	const struct msg_rule *r = rule_of(c->table, m->type);

	if (flags & (MSG_TRUNC | MSG_CTRUNC))
		return "truncated";
	if (!r)
		return "unknown type";
	if (!(r->from & c->peer))
		return "not from this peer";
	if (!(r->states & c->state))
		return "not in this state";
	if (got != r->size || h->size != r->size)
		return "wrong size";
	if (m->n_fds != h->n_fds || m->n_fds < r->fds_min || m->n_fds > r->fds_max)
		return "wrong number of descriptors";
	return NULL;
}

int msg_recv(struct msg_chan *c, struct msg *m, char *why, size_t why_len)
{
	char ctl[CMSG_SPACE(sizeof(int) * MSG_FDS_MAX)] __attribute__((aligned(8)));
	struct wire_head h = {0};
	struct iovec iov[2] = {{&h, sizeof(h)}, {m->payload, sizeof(m->payload)}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	const char *bad;
	ssize_t n;

	m->type = m->n_fds = 0;
	m->size = 0;
	do
		n = recvmsg(c->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	take_fds(&mh, m);
	m->type = h.type;
	bad = (size_t)n < sizeof(h) ? "too short" : refused(c, m, &h, (size_t)n - sizeof(h), mh.msg_flags);
	if (bad) {
		snprintf(why, why_len, "message %u: %s", m->type, bad);
		msg_done(m);
		return -EPROTO;
	}
	m->size = h.size;
	return 1;
}

int msg_take_fd(struct msg *m, unsigned i)
{
	int fd = i < m->n_fds ? m->fds[i] : -1;

	if (fd >= 0)
		m->fds[i] = -1;
	return fd;
}

void msg_done(struct msg *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->n_fds = 0;
}
