/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One channel as a hostile guest holds it: the wire's headers and a port, none of the guest's library.
 *
 * Over a unix socket the whole BAR2 is the guest's, as a hostile guest kernel would have it; behind
 * /dev/vgpu0 only what the driver maps for one program.
 */
#ifndef VGPU_TESTS_DOOR_H
#define VGPU_TESTS_DOOR_H
#include <stdbool.h>
#include "guest/port.h"
#include "rng.h"
#include "wire/ops.h"

#define ANSWER_MS 30000 /* a call without an answer for so long, executor alive: it hangs */
#define EXTENTS 2u

/* What door_call() returns besides a CUresult. */
enum { DOOR_DEAD = -1, DOOR_SILENT = -2 };

struct door {
	struct vgpu_port *port;
	char *ch;	 /* the channel, VGPU_CHANNEL_STRIDE bytes */
	uint8_t *extents; /* EXTENTS of them, mapped */
	uint32_t first_extent;
	uint8_t *bar; /* the whole of BAR2; NULL in a VM */
	uint64_t bar_size;
	uint64_t work, ctl, cpl; /* indexes of ours */
	uint64_t calls;		 /* made */
	uint32_t error;		 /* enum vgpu_error of one that did not start */
};

/* Opened, started, extents taken. 0; -1 and *why: no channel; 1: DEAD at once, d->error. */
int door_open(struct door *d, char *why, unsigned len);
bool door_alive(const struct door *d);
/* Of a channel that is DEAD. */
uint32_t door_error(const struct door *d);
/* Waits until the channel is DEAD; false: not within so many ms. */
bool door_await_death(struct door *d, int ms);
void door_close(struct door *d);

/* An entry as op_info wants it, with a body of in_size bytes and a payload, and a reply to be had. */
struct vgpu_entry door_entry(struct door *d, unsigned op, uint32_t ctx, const void *body, const void *payload,
			     uint32_t payload_len);
/* Published; rings. */
void door_put(struct door *d, const struct vgpu_entry *e);
/* Takes a completion, if there is one. */
bool door_take(struct door *d, struct vgpu_completion *c);
/* One call and its answer: CUresult, or DOOR_*. out: out_size bytes, or NULL. */
int door_call(struct door *d, unsigned op, uint32_t ctx, const void *body, const void *payload, uint32_t payload_len,
	      void *out);
#define CALL(d, op, ctx, body, out) door_call(d, op, ctx, body, NULL, 0, out)
#endif
