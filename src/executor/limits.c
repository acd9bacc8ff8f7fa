/* SPDX-License-Identifier: Apache-2.0 */
/* The executor's side of the limits in lease_page.h. */
#include "executor/process.h"

static uint64_t used(const struct lease_page *g, unsigned k)
{
	return atomic_load_explicit(k == LEASE_LAUNCHES ? &g->launches : &g->bytes, memory_order_relaxed);
}

static uint64_t room(struct process *p, unsigned k)
{
	uint64_t allowed = atomic_load_explicit(&p->page->allowed[k], memory_order_relaxed), have;

	if (allowed == LEASE_NO_LIMIT)
		return UINT64_MAX;
	have = used(p->page, k);
	if (have < allowed)
		return allowed - have;
	if (p->told[k] != allowed + 1) { /* 0: never told */
		p->told[k] = allowed + 1;
		lease_kick(p);
	}
	return 0;
}

uint64_t limits_room(void *ctx, enum exec_limit what)
{
	struct process *p = ctx;
	uint32_t depth;

	if (what == EXEC_DEPTH) {
		depth = atomic_load_explicit(&p->page->queue_depth, memory_order_relaxed);
		return depth ? depth : UINT64_MAX;
	}
	return room(p, what == EXEC_LAUNCHES ? LEASE_LAUNCHES : LEASE_BYTES);
}
