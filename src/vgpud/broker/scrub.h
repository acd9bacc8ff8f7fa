/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emptying memory that guests have used, a piece at a time.
 *
 * Punching a hole costs some 0.4 ms per MiB that was touched, and the one thread that does it is also the
 * one that hands leases over. So memory is emptied by jobs: between two looks at its events the broker calls
 * scrub_step() once, which punches at most SCRUB_PIECE bytes. Jobs take turns, and while another owner
 * waits none has two turns running: who returns much delays its own next channel, nobody else's.
 *
 * Most of a BAR was never touched. A job whose range is the whole of its memfd skips what is not there; before
 * it ends it looks whether the memfd is empty, as memory a guest reserved with fallocate(2) is not seen as data.
 *
 * A job lies in its owner and is on the list from scrub_add() until done() is called or scrub_drop().
 */
#ifndef VGPUD_SCRUB_H
#define VGPUD_SCRUB_H
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"

#define SCRUB_PIECE (128u << 10) /* some 55 us of 4 KiB pages, measured; 1 to 3 us when nothing is there */

struct scrub_job {
	struct list node;
	const void *owner; /* compared, to take turns */
	int fd;		   /* memfd, not owned */
	uint64_t at, end;  /* bytes of fd that are yet to be emptied */
	bool skip_holes;   /* the range is all of fd, from 0; cleared when that was not enough */
	/* [at, end) is empty: set the next range, which may be an empty one. false: there is none. Bounded work. */
	bool (*next)(struct scrub_job *j);
	/* The job is over. 0: everything is zero; -errno: something is not, and nobody may get it. */
	void (*done)(struct scrub_job *j, int rc);
};

struct scrub {
	struct list jobs;
	const void *last; /* owner of the latest turn */
	uint64_t bytes;	  /* punched, holes included */
	uint64_t failures;
};

void scrub_init(struct scrub *s);
void scrub_add(struct scrub *s, struct scrub_job *j);
void scrub_drop(struct scrub_job *j); /* not on the list: nothing happens */
/* One turn of one job: one piece, or one call of next(). true: there is more to do. */
bool scrub_step(struct scrub *s);
#endif
