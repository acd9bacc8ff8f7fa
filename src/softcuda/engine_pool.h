/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helper threads of a device, started on first use. The caller of a launch is always worker 0;
 * helpers are workers 1 .. threads - 1. Where no thread can be started (a jail), the caller works
 * alone: results are the same.
 */
#ifndef SOFTCUDA_ENGINE_POOL_H
#define SOFTCUDA_ENGINE_POOL_H
#include <stdbool.h>

struct sc_pool;
typedef void (*sc_pool_fn)(void *arg, unsigned worker);

struct sc_pool *sc_pool_new(unsigned threads);
void sc_pool_free(struct sc_pool *p);
/* One caller at a time. Every helper calls fn(arg, worker) once; returns without waiting.
 * false: there are no helpers. */
bool sc_pool_start(struct sc_pool *p, sc_pool_fn fn, void *arg);
/* Waits until every helper has returned from what sc_pool_start began. */
void sc_pool_wait(struct sc_pool *p);
#endif
