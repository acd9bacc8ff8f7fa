/* SPDX-License-Identifier: Apache-2.0 */
/* A second thread that writes into shared memory while the host reads it. */
#ifndef VGPU_TESTS_SCRIBBLE_H
#define VGPU_TESTS_SCRIBBLE_H
#include <pthread.h>
#include <stdatomic.h>
#include "door.h"

enum scribble {
	SCRIBBLE_NOISE,	  /* anything, anywhere the guest can write; over unix also header and wish page */
	SCRIBBLE_SLOTS,	  /* fields of entries that were just published */
	SCRIBBLE_INDEXES, /* heads and tails, by little and by much */
	SCRIBBLE_PAYLOAD, /* parameters, names, images, staged bytes, extents */
	SCRIBBLE_SWAP,	  /* whole valid entries over one another */
	SCRIBBLE_WISHES,  /* owners of extents, generations of other channels: over unix only */
	SCRIBBLE_ANSWERS, /* what only the host writes: its words, completions, the header */
};

struct scribbler {
	pthread_t thread;
	struct door *d;
	enum scribble kind;
	struct rng rng;
	atomic_bool stop;
	uint64_t writes;
};

void scribble_start(struct scribbler *s, struct door *d, enum scribble kind, struct rng rng);
void scribble_stop(struct scribbler *s);
#endif
