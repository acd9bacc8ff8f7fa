/* SPDX-License-Identifier: Apache-2.0 */
/* What a well-behaved guest would have: the material attacks begin with, and what they may legally touch. */
#ifndef VGPU_TESTS_THINGS_H
#define VGPU_TESTS_THINGS_H
#include "door.h"

#define BUFFER (256u << 10) /* bytes of each device buffer */
#define ARRAY_WIDTH 64u	    /* texels of 4 bytes */
#define ARRAY_HEIGHT 32u
#define STREAMS 3u
#define EVENTS 3u
#define KERNELS 5u

/* spin(loops): computes. peek(out): local and shared memory nobody wrote. load(at, out): a word of any address.
 * deep(out): 64 KiB of local memory in each thread. fill(at, words, value). */
enum kernel { K_SPIN, K_PEEK, K_LOAD, K_DEEP, K_FILL };

struct things {
	uint32_t ctx, module, func[KERNELS], stream[STREAMS], event[EVENTS], array;
	uint64_t buffer[2];
	uint64_t host_va; /* the extents, mapped in the executor as well */
};

/* Makes them; 0, or the result of the call that failed. */
int things_make(struct door *d, struct things *t, bool with_kernels);
/* One launch of `grid` blocks of `block` threads; its result once complete. */
int things_launch(struct door *d, const struct things *t, enum kernel k, uint32_t grid, uint32_t block, const uint64_t *args,
		  unsigned nargs);
/* Bytes of the device into the bounce area at `at`. */
int things_fetch(struct door *d, const struct things *t, uint64_t dptr, uint32_t at, uint32_t len);
#endif
