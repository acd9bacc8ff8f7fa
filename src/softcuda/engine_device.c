/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing devices, and their memory accounts. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "softcuda/device.h"
#include "softcuda/engine_pool.h"

enum { MAX_THREADS = 256 };

struct sc_device *sc_device_open(const struct sc_device_config *cfg)
{
	if (sc_mem_start())
		return NULL;
	struct sc_device *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->account.total = cfg->memory;
	d->ordinal = cfg->ordinal;
	d->threads = cfg->threads;
	if (d->threads == 0) {
		long n = sysconf(_SC_NPROCESSORS_ONLN);
		d->threads = n > 0 ? (unsigned)n : 1;
	}
	if (d->threads > MAX_THREADS)
		d->threads = MAX_THREADS;
	snprintf(d->name, sizeof(d->name), "%s", cfg->name ? cfg->name : "softcuda");
	d->pool = sc_pool_new(d->threads);
	d->workers = sc_workers_new(d->threads);
	if (!d->pool || !d->workers) {
		sc_pool_free(d->pool);
		sc_workers_free(d->workers);
		free(d);
		return NULL;
	}
	return d;
}

void sc_device_close(struct sc_device *d)
{
	if (!d)
		return;
	sc_pool_free(d->pool);
	sc_workers_free(d->workers);
	sc_mem_account_close(&d->account);
	free(d);
}

int sc_mem_alloc(struct sc_device *d, uint64_t bytes, uint64_t align, uint64_t *va)
{
	return sc_mem_alloc_account(&d->account, bytes, align, va);
}

int sc_mem_free(struct sc_device *d, uint64_t va)
{
	return sc_mem_free_account(&d->account, va);
}

void sc_mem_info(struct sc_device *d, uint64_t *free_bytes, uint64_t *total)
{
	sc_mem_account_info(&d->account, free_bytes, total);
}
