/* SPDX-License-Identifier: Apache-2.0 */
/* A device as the engine sees it: a memory account, a name, and a pool of worker threads. */
#ifndef SOFTCUDA_DEVICE_H
#define SOFTCUDA_DEVICE_H
#include "softcuda/engine.h"
#include "softcuda/mem.h"

struct sc_workers; /* engine_launch.c: execution state per worker */
struct sc_workers *sc_workers_new(unsigned n);
void sc_workers_free(struct sc_workers *s);

struct sc_pool; /* engine_pool.c: threads and their execution state, made on first launch */

struct sc_device {
	struct sc_mem_account account;
	char name[64];
	unsigned threads, ordinal;
	struct sc_pool *pool;
	struct sc_workers *workers;
};
#endif
