/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed messages of fixed size, with descriptors, over SOCK_SEQPACKET.
 *
 * Both ends share one table of rules: which type, its exact payload size and number of descriptors, who
 * may send it and in which states of the conversation. msg_recv() delivers only what the table allows;
 * anything else is -EPROTO and the caller ends that peer.
 */
#ifndef VGPU_BASE_MSG_H
#define VGPU_BASE_MSG_H
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#define MSG_PAYLOAD_MAX 2048u
#define MSG_FDS_MAX 72u /* a memfd and 33 + 33 eventfds, with room */

struct msg_rule {
	const char *name; /* NULL: no such message */
	uint16_t size;	  /* exact payload bytes */
	uint8_t fds_min, fds_max;
	uint8_t from;	/* bit mask of roles that may send it */
	uint8_t states; /* bit mask of the receiver's states in which it is allowed */
};

struct msg_table {
	const struct msg_rule *rules; /* indexed by type */
	uint16_t count;
};

struct msg {
	uint16_t type, n_fds;
	uint32_t size;
	union {
		uint8_t payload[MSG_PAYLOAD_MAX];
		uint64_t align;
	};
	int fds[MSG_FDS_MAX]; /* owned by the receiver until taken; see msg_take_fd */
};

/* One end. Outgoing messages wait in a bounded queue when the socket is full. */
struct msg_out;
struct msg_chan {
	int fd; /* owned, non-blocking */
	const struct msg_table *table;
	uint8_t peer;  /* role bit of the other side */
	uint8_t self;  /* own role bit */
	uint8_t state; /* state bit, set by the owner */
	struct msg_out *head, **tail;
	unsigned queued;
};

#define MSG_QUEUE_MAX 512u

void msg_chan_init(struct msg_chan *c, int fd, const struct msg_table *t, uint8_t self, uint8_t peer);
void msg_chan_fini(struct msg_chan *c);
/* Queue or send; descriptors are duplicated when queued, so the caller keeps its own. 0; -ENOBUFS with a
 * peer that does not read; -EPIPE/-ECONNRESET with a dead one. Sending what the table forbids aborts. */
int msg_send(struct msg_chan *c, uint16_t type, const void *payload, size_t size, const int *fds, unsigned n_fds);
/* 1: a message in *m; 0: nothing now; -ECONNRESET: peer gone; -EPROTO: not allowed, with the reason in
 * why[]; other -errno. */
int msg_recv(struct msg_chan *c, struct msg *m, char *why, size_t why_len);
/* Send what is queued. 0 or -errno. msg_pending(): still something, poll for EPOLLOUT. */
int msg_flush(struct msg_chan *c);
static inline bool msg_pending(const struct msg_chan *c)
{
	return c->head != NULL;
}
/* The i-th descriptor now belongs to the caller. */
int msg_take_fd(struct msg *m, unsigned i);
/* Close what was not taken. */
void msg_done(struct msg *m);
#endif
